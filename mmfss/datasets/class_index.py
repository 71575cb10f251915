# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The class index: how many pixels each label covers in each mask of a list.

Every list of few-shot segmentation (training images, candidates, episodes) follows from these
counts. Counting reads every mask once, which takes minutes on COCO, so the result is kept in a
small file beside the data under a key made of the files' names, sizes and modification times: a
changed file gives another key and a new index.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from mmengine.logging import print_log
from PIL import Image
from rich.progress import track

from mmfss.utils.files import atomic_savez

from .file_kinds import kind_of
from .image_headers import is_turned, upright_size

FORMAT = 1  # raise it when the stored arrays change meaning: old files are then ignored
UNREADABLE = (-1, -1)
SHORT_LIST = 1000  # no progress bar below
TELL_AFTER, GIVE_UP_AFTER = 5, 1800  # seconds of waiting for another process that reads the masks

Entry = tuple[str, str, str]  # name, image path, mask path


@dataclass(frozen=True)
class ClassIndex:
    """Label counts of N masks in compressed rows, and the sizes of masks and images.

    Args:
        starts (np.ndarray): (N+1,), row i is ``labels[starts[i]:starts[i+1]]``.
        labels (np.ndarray): (M,), the labels that occur, ascending within a row.
        counts (np.ndarray): (M,), their pixels.
        mask_sizes (np.ndarray): (N, 2), height and width.
        image_sizes (np.ndarray): (N, 2), height and width as decoded (EXIF rotation applied),
            -1 if unreadable.
    """

    starts: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    mask_sizes: np.ndarray
    image_sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def areas(self, label: int) -> np.ndarray:
        """Pixels of ``label`` in each mask, (N,)."""
        areas = np.zeros(len(self), dtype=np.int64)
        hit = self.labels == label
        areas[self.rows[hit]] = self.counts[hit]
        return areas

    def labels_of(self, position: int) -> np.ndarray:
        """The labels that occur in one mask, ascending."""
        return self.labels[self.starts[position] : self.starts[position + 1]]

    @property
    def rows(self) -> np.ndarray:
        """(M,) the mask that each entry of ``labels`` belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def relabelled(self, labels: np.ndarray) -> 'ClassIndex':
        """The index with other labels (M,) in place of its own; equal ones are added up, negative ones left out."""
        kept = labels >= 0
        pairs, place = np.unique(np.stack([self.rows[kept], labels[kept]]), axis=1, return_inverse=True)
        counts = np.zeros(pairs.shape[1], dtype=np.int64)
        np.add.at(counts, place.reshape(-1), self.counts[kept])
        return replace(self, starts=np.searchsorted(pairs[0], np.arange(len(self) + 1)), labels=pairs[1], counts=counts)


def index_values(mask: Image.Image) -> np.ndarray:
    """(H, W) uint8 of an open mask, its indices as they are stored; 1 bit holds 0 and 1.

    Raises:
        ValueError: When it is no index image.
    """
    if mask.mode not in ('1', 'P', 'L'):
        raise ValueError(
            f'its mode is {mask.mode}; a mask must be an 8-bit palette or grey PNG '
            'whose pixels are class indices (turn colours into indices first)'
        )
    return np.asarray(mask).astype(np.uint8)


def index_histogram(mask: Image.Image) -> np.ndarray:
    """(256,) pixels of each index of an open mask, as :func:`index_values` reads it."""
    if mask.mode in ('P', 'L'):  # Pillow counts faster
        return np.array(mask.histogram(), dtype=np.int64)
    return np.bincount(index_values(mask).reshape(-1), minlength=256)


Histogram = Callable[[Image.Image], np.ndarray]


def load_class_index(
    files: Sequence[Entry], *, data_root: str | None, workers: int | None = None, histogram: Histogram = index_histogram
) -> ClassIndex:
    """Return the index of a list, from the cache where it is there, else by reading every mask.

    Several processes may call this at once: one reads, the others wait for it.

    Args:
        files (Sequence[Entry]): (name, image path, mask path) of each entry, in list order.
        data_root (str, optional): The index is kept in ``<data_root>/.mmfss_cache``, or in ``$MMFSS_CACHE``
            (default ``~/.cache/mmfss``) when the data root cannot be written.
        workers (int, optional): Reading threads. Defaults to twice the number of cores, at most 32.
        histogram (Histogram): A named function that counts the values of an open mask, (256,).

    Raises:
        FileNotFoundError: When an image or mask of the list is missing.
        ValueError: When a mask cannot be read as an index image.
    """
    key = content_key(files, histogram.__name__)
    places = [_user_cache()]
    if data_root is not None and _writable(Path(data_root)):
        places.insert(0, Path(data_root) / '.mmfss_cache')
    elif data_root is not None:  # written by somebody who could
        places.append(Path(data_root) / '.mmfss_cache')
    name = f'class_index-{key[:24]}.npz'

    def cached():
        found = (_load(place / name) for place in places if (place / name).is_file())
        return next((index for index in found if index is not None), None)

    index = cached()
    if index is not None:
        return index
    with _locked(places[0] / f'{name}.lock'):
        index = cached()  # another process may have written it while this one waited
        if index is None:
            index = read_class_index(files, workers=workers, histogram=histogram)
            _save(index, places[0] / name)
    return index


def content_key(files: Sequence[Entry], kind: str = index_histogram.__name__) -> str:
    """SHA-256 over names, file sizes and modification times of images and masks, in list order."""
    digest = hashlib.sha256(f'mmfss class index {FORMAT}'.encode())
    if kind != index_histogram.__name__:
        digest.update(kind.encode())
    missing = {'image': [], 'mask': []}
    for name, *paths in files:
        for kind, path in zip(missing, paths, strict=True):
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                missing[kind].append(path)
                continue
            if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for for ever
                missing[kind].append(path)
            else:
                digest.update(f'{name}\0{status.st_size}\0{status.st_mtime_ns}\n'.encode())
    for kind, paths in missing.items():
        if paths:
            raise FileNotFoundError(
                f'{len(paths)} of {len(files)} {kind} files are missing (or no files), the first is {paths[0]}. '
                'Complete the data set, take the names out of the list, or check `data_prefix` and '
                'the file suffixes.'
            )
    return digest.hexdigest()


def read_class_index(
    files: Sequence[Entry], *, workers: int | None = None, histogram: Histogram = index_histogram
) -> ClassIndex:
    """Read every mask (and every image's header) with a pool of threads, showing a progress bar."""
    workers = workers or min(32, 2 * (os.cpu_count() or 1))
    pool = ThreadPoolExecutor(workers)
    try:
        # Pillow decodes outside the interpreter lock, so threads are enough and start at once.
        rows = list(
            track(
                pool.map(partial(_read_entry, histogram), files),
                'Reading masks',
                total=len(files),
                disable=len(files) < SHORT_LIST,
            )
        )
    finally:  # else Ctrl-C would wait until the last mask is read
        pool.shutdown(cancel_futures=True)
    broken = [(entry[2], row) for entry, row in zip(files, rows, strict=True) if isinstance(row, str)]
    if broken:
        path, reason = broken[0]
        raise ValueError(f'{len(broken)} of {len(files)} masks cannot be used, the first is {path}: {reason}')
    histograms = [row[0] for row in rows]
    return ClassIndex(
        starts=np.cumsum([0, *(np.count_nonzero(h) for h in histograms)]),
        labels=np.concatenate([np.flatnonzero(h) for h in histograms]).astype(np.uint8),
        counts=np.concatenate([h[h > 0] for h in histograms]),
        mask_sizes=np.array([row[1] for row in rows], dtype=np.int32),
        image_sizes=np.array([row[2] for row in rows], dtype=np.int32),
    )


def _read_entry(histogram: Histogram, entry: Entry):
    """(histogram (256,), mask (h, w), image (h, w)), or why the mask is of no use."""
    _, image_path, mask_path = entry
    try:
        with Image.open(mask_path) as mask:
            counts = histogram(mask)
            # Index masks are taken as stored; those that go by brightness are turned upright.
            turned = histogram is not index_histogram and is_turned(mask)
            size = (mask.width, mask.height) if turned else (mask.height, mask.width)
    except ValueError as error:  # what `histogram` found
        return f'{error}.'
    except Exception as error:  # Pillow raises OSError, SyntaxError ...
        if (kind := kind_of(mask_path)) is not None:
            return f'it is no mask image but {kind[0]}. {kind[1]}'
        return f'{type(error).__name__}: {error}. Fetch or convert it again.'
    return counts, size, _image_size(image_path)


def _image_size(path: str) -> tuple[int, int]:
    """Height and width from the header alone, turned as the decoder will turn them."""
    try:
        return upright_size(path)
    except Exception:  # judged by the data set: an error in test, left out in training
        return UNREADABLE


def _user_cache() -> Path:
    return Path(os.environ.get('MMFSS_CACHE') or '~/.cache/mmfss').expanduser()


def _writable(folder: Path) -> bool:
    # Root may write anywhere; a folder without any write bit is still meant to stay as it is.
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


@contextmanager
def _locked(path: Path):
    """A lock between processes; none where the file system has none (writing is atomic)."""
    lock = FileLock(str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock)
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock) -> None:
    """Wait for the process that reads the masks, and say so; not for ever, since it may have been stopped.

    Raises:
        filelock.Timeout: When the lock was never free; it is an OSError.
    """
    try:
        lock.acquire(timeout=TELL_AFTER)
    except Timeout:
        print_log(
            f'Another process reads the masks (it holds {lock.lock_file}); waiting for it, for '
            f'{GIVE_UP_AFTER // 60} minutes at most.',
            'current',
            logging.WARNING,
        )
        lock.acquire(timeout=GIVE_UP_AFTER)


def _load(path: Path) -> ClassIndex | None:
    try:
        with np.load(path) as stored:
            return ClassIndex(**{field.name: stored[field.name] for field in fields(ClassIndex)})
    except Exception as error:  # of zip, zlib, numpy, the system
        print_log(f'The class index {path} cannot be read ({error}); it is rebuilt.', 'current', logging.WARNING)
        return None


def _save(index: ClassIndex, path: Path) -> None:
    """Keep an index; it is worth no more than a warning when that fails."""
    try:
        atomic_savez({field.name: getattr(index, field.name) for field in fields(index)}, path)
    except OSError as error:
        print_log(
            f'The class index could not be saved to {path} ({error.__cause__ or error}): it is rebuilt at each '
            'start. Free disk space or set MMFSS_CACHE to a folder that can be written.',
            'current',
            logging.WARNING,
        )
