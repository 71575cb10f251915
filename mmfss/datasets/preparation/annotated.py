# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotations of any tool to class folders (``CLASS/NAME.jpg`` with ``CLASS/NAME.png``) or to index masks."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mmfss.datasets.annotations import AnnotationError
from mmfss.datasets.annotations.objects import IGNORE
from mmfss.datasets.image_files import read_rgb
from mmfss.datasets.image_headers import CorruptFileError
from mmfss.utils.files import atomic_path, atomic_write_text
from mmfss.utils.wording import listed
from mmfss.utils.workers import WorkerDied, run_in_workers

from .files import PreparationError, need_space, save_index_png
from .sources import AnnotatedFile, match_images, read_sources

LAYOUTS = ('folders', 'masks')
MAX_LABELS = 254
BYTES_PER_FILE = 8192
BACKGROUND = 'background'
JPEG = ('.jpg', '.jpeg')
_UNSAFE = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


@dataclass
class Prepared:
    """What was written.

    Args:
        images (dict[str, int]): Images of each label that it was found in.
        notes (list[str]): What a user should know: what was left out, filled or converted.
    """

    images: dict[str, int]
    notes: list[str] = field(default_factory=list)


def prepare_annotations(
    source: Path,
    out: Path,
    *,
    images: Path | None = None,
    layout: str = 'folders',
    labels: Sequence[str] | None = None,
    skip: bool = False,
    workers: int | None = None,
) -> Prepared:
    """Read every annotation at ``source`` and write ``out``, which is there as a whole or not at all.

    Args:
        source (Path): An annotation file, or a folder of them.
        out (Path): Folder to make. 'folders': ``CLASS/NAME.jpg`` and ``CLASS/NAME.png`` (0 and 255). 'masks':
            ``NAME.png`` of indices below ``masks``, and ``classes.txt``, whose n-th line names the index n from 0, the
            background.
        images (Path, optional): Folder of the images; by default ``source``, or the folder it lies in.
        layout (str): 'folders' or 'masks'.
        labels (Sequence[str], optional): Those to take, in this order; None takes all.
        skip (bool): Leave out images that are missing, do not fit, or whose objects cannot be read, instead of refusing
            all.
        workers (int, optional): Processes, None for one a core, 0 for this process alone.

    Raises:
        PreparationError: When something cannot be read, found or painted; ``out`` is not made then.
    """
    source, out = Path(source), Path(out)
    if layout not in LAYOUTS:
        raise PreparationError(f'`layout` is {layout!r}; it must be one of {LAYOUTS}.')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PreparationError(f'{out} exists and is not empty. Choose another folder, or remove it.')
    files, others = read_sources(source, images)
    folder = Path(images) if images is not None else source if source.is_dir() else source.parent
    items, left_out = match_images(files, folder, skip)
    known = tuple(dict.fromkeys(name for file in files for name in (*file.names, *file.labels)))
    found = {label for item in items for label in item.image.labels}
    chosen = _choose(tuple(name for name in known if name in found), labels, layout, source)
    folders = _folder_names(chosen, source) if layout == 'folders' else {}
    _no_twice(items, layout)
    need_space(out, BYTES_PER_FILE * len(items) + sum(i.path.stat().st_size for i in items) * (layout == 'folders'))
    half = out.with_name(f'.{out.name}.{os.getpid()}.half')
    try:
        work = partial(_write_folders, half, folders) if layout == 'folders' else partial(_write_mask, half, chosen)
        results = list(run_in_workers(partial(_try, work), items, workers, lambda item: str(item.path)))
        failed = [result for result in results if isinstance(result, str)]
        if failed and not skip:
            raise PreparationError(
                f'{len(failed)} of {len(items)} images cannot be converted, the first: {failed[0]} Correct that, or '
                'leave such images out with `--skip`.'
            )
        counts = Counter(label for result in results if isinstance(result, list) for label in result)
        if not counts:
            raise PreparationError(f'{source} has no object of {listed(chosen)}: nothing would be written.')
        if layout == 'masks':
            atomic_write_text(''.join(f'{name}\n' for name in (BACKGROUND, *chosen)), half / 'classes.txt')
        if out.exists():
            out.rmdir()
        half.rename(out)
    except WorkerDied as error:
        raise PreparationError(f'{error} Nothing was written.') from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    prepared = Prepared({label: counts.get(label, 0) for label in chosen})
    prepared.notes = _notes(items, results, [*left_out, *failed], others, chosen, layout)
    return prepared


def _choose(there: tuple[str, ...], wanted: Sequence[str] | None, layout: str, source: Path) -> tuple[str, ...]:
    missing = [label for label in wanted or () if label not in there]
    if missing or not there:
        what = f'the label {missing[0]!r}' if missing else 'any object'
        raise PreparationError(f'{source} has not {what}; its labels are {listed(there) or "none"}.')
    chosen = tuple(dict.fromkeys(wanted)) if wanted else there
    if layout == 'masks' and len(chosen) > MAX_LABELS:
        raise PreparationError(
            f'{len(chosen)} labels: masks of 8 bits hold {MAX_LABELS}. Name those you need (--labels), or make class '
            'folders.'
        )
    return chosen


def _folder_names(labels: Sequence[str], source: Path) -> dict[str, str]:
    """The folder of each label: its name without what no file system takes."""
    folders = {label: _UNSAFE.sub('_', label).strip(' .') for label in labels}
    for label, folder in folders.items():
        same = [other for other in labels if folders[other].lower() == folder.lower()]
        if not folder or folder == BACKGROUND or len(same) > 1:
            why = (
                f'it and {same[1 - same.index(label)]!r} need the same folder'
                if len(same) > 1
                else 'no folder can be called so'
            )
            raise PreparationError(
                f'{source}: the label {label!r} cannot be a class folder: {why}. Rename it in the annotations.'
            )
    return folders


def _file_name(item: AnnotatedFile, layout: str) -> str:
    return item.name.replace('/', '_') if layout == 'folders' else item.name


def _no_twice(items: Sequence[AnnotatedFile], layout: str) -> None:
    names = Counter(_file_name(item, layout) for item in items)
    twice = [item.path for item in items if names[_file_name(item, layout)] > 1]
    if twice:
        raise PreparationError(f'{twice[0]} and {twice[1]} would have one name. Rename one of them.')


def _try(work, item: AnnotatedFile) -> list[str] | str:
    """The labels that were written, or why the image was not."""
    try:
        return work(item)
    except (AnnotationError, CorruptFileError) as error:
        return str(error)
    except (OSError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk, not the image
            raise
        return f'the image {item.path} cannot be decoded ({error}). Fetch or save it again.'


def _write_folders(root: Path, folders: dict[str, str], item: AnnotatedFile) -> list[str]:
    """Image and mask in the folder of each label that the image shows."""
    masks = {
        label: item.image.mask(label, item.image.size, item.source) == 1
        for label in item.image.labels
        if label in folders
    }
    masks = {label: mask for label, mask in masks.items() if mask.any()}
    name = _file_name(item, 'folders')
    for label, mask in masks.items():
        with atomic_path(root / folders[label] / f'{name}.jpg', sync=False) as half:
            if item.path.suffix.lower() in JPEG:
                shutil.copyfile(item.path, half)
            else:
                Image.fromarray(read_rgb(item.path)).save(half, 'JPEG', quality=95, subsampling=0)
        with atomic_path(root / folders[label] / f'{name}.png', sync=False) as half:
            Image.fromarray(mask.astype(np.uint8) * 255).save(half, 'PNG')
    return list(masks)


def _write_mask(root: Path, labels: Sequence[str], item: AnnotatedFile) -> list[str]:
    """One mask of indices; of overlapping objects the one of fewest pixels is on top, as COCO's masks here."""
    size = item.image.size
    result, painted = np.zeros(size, np.uint8), []
    for thing in item.image.objects:
        if thing.label is None or thing.label in labels:
            try:
                painted.append((thing, thing.paint(*size)))
            except AnnotationError as error:
                raise AnnotationError(f'{thing.name} (label {thing.label}) of {item.source}: {error}.') from error
    for thing, region in painted:
        if thing.value == IGNORE:
            result[region] = IGNORE
    solid = [(thing.label, region) for thing, region in painted if thing.value != IGNORE]
    for label, region in sorted(solid, key=lambda pair: -int(pair[1].sum())):
        result[region] = labels.index(label) + 1
    save_index_png(result, root / 'masks' / f'{item.name}.png')
    there = set(np.unique(result).tolist())
    return [label for index, label in enumerate(labels, 1) if index in there]


def _notes(items, results, failed, others, chosen, layout) -> list[str]:
    objects = [thing for item in items for thing in item.image.objects]
    empty = sum(result == [] for result in results)
    png = sum(item.path.suffix.lower() not in JPEG for item in items)
    left = {label for thing in objects if (label := thing.label) is not None} - set(chosen)
    lines = (
        (len(failed), f'images were left out, the first: {failed[0] if failed else ""}'),
        (
            empty,
            'images show none of the labels '
            + ('(their masks are background)' if layout == 'masks' else 'and were left out'),
        ),
        (sum(thing.is_box for thing in objects), 'objects have a box alone, which was filled'),
        (len(left), f'labels were not asked for: {listed(sorted(left))}'),
        (len(others), f'files are no annotations and were not read: {listed([p.name for p in others], 5)}'),
        (png if layout == 'folders' else 0, 'images were saved as JPEG, as class folders need them'),
        (
            sum(thing.value == IGNORE for thing in objects) if layout == 'folders' else 0,
            'regions are left out (crowds), which class folders cannot hold: they are background there',
        ),
    )
    return [f'{count} {text}' for count, text in lines if count]
