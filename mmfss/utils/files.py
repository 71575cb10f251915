# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Writing files so that a full disk or a kill never costs what is already there.

Every writer of mmfss goes through here: a hidden file in the same folder takes the content and is then renamed, so a
file is either the old one or the whole new one.
"""

import errno
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend

AGAIN = 'Free some space and run the same again.'
RESUME = 'Free some space, then go on with --resume'  # for what is written while training


@contextmanager
def atomic_path(path: str | Path, cure: str = AGAIN, *, sync: bool = True, keep_suffix: bool = False) -> Iterator[Path]:
    """A path to write to instead of ``path``, for writers that take no stream; it is renamed at the end.

    Args:
        path (str | Path): Where the file is to be; missing folders are made.
        cure (str): Last sentence of the error: what the user can do.
        sync (bool): Wait until the bytes have reached the disk, so that a power cut does no harm either. Leave it out
            where thousands of small files are written that can be made again. Defaults to True.
        keep_suffix (bool): Let the path end like ``path``, for writers that go by that. Defaults to False.

    Raises:
        OSError: When it cannot be written (disk full, quota, rights). The message names the path and the bytes free;
            an earlier file at ``path`` is untouched. An OSError without a number is passed on as it is.
    """
    path = Path(path)
    # Several processes may write the same file at once: each has a hidden file of its own.
    name = f'.{path.stem}.{os.getpid()}.half{path.suffix}' if keep_suffix else f'.{path.name}.{os.getpid()}.half'
    half = path.with_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield half
        if sync:
            with open(half, 'rb+') as stream:
                os.fsync(stream.fileno())
        os.replace(half, path)
    except BaseException as error:
        message = explain_write_error(error, path, cure) if isinstance(error, OSError) and error.errno else None
        with suppress(OSError):
            half.unlink(missing_ok=True)
        if message is None:
            raise
        raise OSError(error.errno, message, str(path)) from error


@contextmanager
def atomic_open(path: str | Path, cure: str = AGAIN, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A stream to write ``path`` with, piece by piece; see :func:`atomic_path` for arguments and errors."""
    with atomic_path(path, cure, sync=sync) as half, open(half, 'wb') as stream:
        yield stream


def atomic_write(data: bytes, path: str | Path, cure: str = AGAIN) -> None:
    """Write bytes, see :func:`atomic_path`.

    Args:
        data (bytes): The file's whole content.
        path (str | Path): Where to write; missing folders are made.
        cure (str): Last sentence of the error: what the user can do.

    Raises:
        OSError: When the bytes cannot be written; an earlier file at ``path`` is untouched.
    """
    with atomic_open(path, cure) as stream:
        stream.write(data)


def atomic_write_text(text: str, path: str | Path, cure: str = AGAIN) -> None:
    """Write a text as UTF-8, see :func:`atomic_write`."""
    atomic_write(text.encode(), path, cure)


def atomic_write_json(value: Any, path: str | Path, cure: str = AGAIN) -> None:
    """Write plain Python values as readable JSON, see :func:`atomic_write`."""
    atomic_write_text(json.dumps(value, indent=1, ensure_ascii=False) + '\n', path, cure)


def atomic_savez(arrays: dict[str, np.ndarray], path: str | Path, cure: str = AGAIN) -> None:
    """Write named arrays as a compressed ``.npz``, see :func:`atomic_write`."""
    with atomic_open(path, cure) as stream:
        np.savez_compressed(stream, **arrays)


def atomic_torch_save(value: object, path: str | Path, cure: str = AGAIN) -> None:
    """``torch.save``, see :func:`atomic_write`."""
    buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError of its own when it writes the file itself
    torch.save(value, buffer)
    atomic_write(buffer.getvalue(), path, cure)


def check_writable(folder: str | Path) -> None:
    """Refuse a folder for results that cannot be written, before long work; a missing one is not made.

    A file of a few bytes is written and removed: rights say nothing to root, nor about a read-only or full disk.

    Args:
        folder (str | Path): It, or the nearest folder above that is there, is tried.

    Raises:
        OSError: When it cannot be written; names the folder and the bytes free.
    """
    folder = Path(folder)
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    try:
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        probe = place / f'.probe.{os.getpid()}.half'
        try:
            probe.write_bytes(b'mmfss')
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    except OSError as error:
        free = shutil.disk_usage(place).free / 2**20
        message = f'it cannot be written ({error.strerror}: {place}; {free:.1f} MiB free). Choose another folder'
        raise OSError(error.errno, message, str(folder)) from error


def file_stem(path: str | Path) -> str:
    """File name without folder and extension, also of a path written on another system."""
    return str(path).replace('\\', '/').rsplit('/', 1)[-1].rsplit('.', 1)[0]


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden files that killed processes left in a folder, which nobody else may be writing to."""
    for half in folder.glob('.*.half'):
        half.unlink(missing_ok=True)


def explain_write_error(error: OSError, path: Path, cure: str = AGAIN) -> str:
    """What went wrong, how much space there is, and what to do about it."""
    folder = next((p for p in path.parents if p.is_dir()), Path('.'))
    free = shutil.disk_usage(folder).free
    kept = 'The file that was there before is untouched.' if path.exists() else 'Nothing was left.'
    return f'could not write it ({error.strerror}; {free / 2**20:.1f} MiB free in {folder}). {kept} {cure}'


@register_backend('mmfss.atomic', force=True)
class AtomicLocalBackend(LocalBackend):
    """MMEngine's local file backend whose ``put`` is atomic.

    MMEngine opens the target for writing, which truncates it first: a disk that fills up then has
    destroyed the older file too. ``backend_args=dict(backend='mmfss.atomic')`` chooses this one.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes atomically, see :func:`atomic_write`."""
        atomic_write(obj, filepath, RESUME)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text atomically, see :func:`atomic_write`."""
        atomic_write(obj.encode(encoding), filepath, RESUME)
