# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Checks of a data set that run before any long work."""

import logging
import os
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log

from .class_index import UNREADABLE, ClassIndex, Entry
from .listings import HIDDEN, SHOWN, list_folder, read_lines, say_unused
from .mask_files import IGNORE


def check_choice(key: str, value, allowed: tuple) -> None:
    """Refuse a config value that is not among the allowed ones."""
    if value not in allowed:
        raise ValueError(f'`{key}` is {value!r}; it must be one of {allowed}.')


def check_folders(data_root: str | None, folders: dict[str, str]) -> None:
    """Refuse a missing data root, image folder or mask folder."""
    if not os.path.isdir(data_root or '.'):
        raise FileNotFoundError(
            f'The data root {data_root} does not exist. Set it with `--data-root PATH` or the variable MMFSS_DATA_ROOT.'
        )
    for key, folder in folders.items():
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f'The folder {folder} (`data_prefix.{key}`) does not exist. Check the data root and `data_prefix`.'
            )


def read_names(ann_file: str, images: str, suffix: str, hint: str = '') -> list[str]:
    """Image names of a list (one a line, without suffix), or of a folder sorted by name.

    Args:
        ann_file (str): The list; empty: the folder is listed.
        images (str): Folder of the images.
        suffix (str): Ending of their names.
        hint (str): Says in the error for a missing list where lists come from.

    Raises:
        FileNotFoundError: When there is no such list.
        ValueError: When it is empty, or holds a name twice or one that leads out of the folder.
    """
    if not ann_file:
        listing = list_folder(images, dict(image=suffix), order=str)
        names = sorted(listing.files['image'])
        unused = {reason: files for reason, files in listing.unused.items() if reason != HIDDEN}
        if names and unused:
            print_log(
                f'{images}: {len(names)} images *{suffix}. Not used: {say_unused(unused)}.', 'current', logging.WARNING
            )
        source = f'the folder {images}'
    else:
        if not os.path.isfile(ann_file):
            raise FileNotFoundError(
                f'The image list {ann_file} (`ann_file`) does not exist. It holds one image name a '
                f'line; check the data root and `ann_file`. {hint}'.rstrip()
            )
        names = read_lines(ann_file)
        source = f'the list {ann_file}'
    if not names:
        raise ValueError(f'There is no image (*{suffix}) in {source}.')
    seen = set()
    for name in names:
        if os.path.isabs(name) or '..' in name.split('/') or '\0' in name:
            raise ValueError(f'{name!r} in {source} is no name below the folder {images}: correct the list.')
        if name in seen:
            raise ValueError(f'{name} occurs twice in {source}: leave every name once.')
        seen.add(name)
    return names


def check_masks(index: ClassIndex, files: Sequence[Entry], num_classes: int) -> None:
    """Refuse masks with labels outside the classes or of another size than their image.

    Args:
        index (ClassIndex): Label counts and sizes of the list.
        files (Sequence[Entry]): (name, image path, mask path) of each entry of the list.
        num_classes (int): Number of classes with background; 255 is allowed besides.
    """
    values = np.unique(index.labels)
    strange = values[(values >= num_classes) & (values != IGNORE)]
    if len(strange):
        rows = np.unique(index.rows[np.isin(index.labels, strange)])
        held = np.intersect1d(index.labels_of(rows[0]), strange).tolist()
        raise ValueError(
            f'{len(rows)} masks hold labels outside the classes 0 to {num_classes - 1} (and 255), '
            f'the first is {files[rows[0]][2]} with {held}. Convert the masks to class indices, or '
            'name all classes in `metainfo.classes`.'
        )
    readable = (index.image_sizes != UNREADABLE).all(axis=1)
    other = np.flatnonzero(readable & (index.image_sizes != index.mask_sizes).any(axis=1))
    if len(other):
        _, image, mask = files[other[0]]
        raise ValueError(
            f'{len(other)} masks differ from their image in size, the first is {mask} with '
            f'{tuple(index.mask_sizes[other[0]].tolist())} (h, w) for {image} with '
            f'{tuple(index.image_sizes[other[0]].tolist())}. Create them again from the same images.'
        )


def tell_empty(index: ClassIndex, files: Sequence[Entry]) -> None:
    """Warn of index masks that hold nothing but background and 255: black and white ones, perhaps.

    Args:
        index (ClassIndex): Label counts of the list.
        files (Sequence[Entry]): (name, image path, mask path) of each entry of the list.
    """
    classes = (index.labels != 0) & (index.labels != IGNORE)
    void = np.setdiff1d(index.rows[index.labels == IGNORE], index.rows[classes])
    if len(void):
        print_log(
            f'{len(void)} of {len(files)} masks hold 0 and 255 only, where 255 is left out, so they show no class: '
            f'{_first([files[row][2] for row in void])}. If 255 is an object there, save it as the index of its class.',
            'current',
            logging.WARNING,
        )


def check_brightness(index: ClassIndex, files: Sequence[Entry], threshold: int) -> None:
    """Say which black and white masks hold no object, and refuse those of 0 and 1 that are read as empty.

    Args:
        index (ClassIndex): Counts of the values 0 to 255 of each mask.
        files (Sequence[Entry]): (name, image path, mask path) of each entry of the list.
        threshold (int): Values from here on are the object.

    Raises:
        ValueError: When masks hold values that are all below ``threshold``; names them.
    """
    black, dark, small = [], [], []
    for row, (_, _, path) in enumerate(files):
        values = index.labels_of(row)
        if values[-1] == 0:
            black.append(path)
        elif values[-1] < threshold:
            dark.append(path)
        elif threshold > 1 and set(values.tolist()) <= {0, 1, IGNORE} and 1 in values:
            areas = index.counts[index.starts[row] : index.starts[row + 1]][-2:]  # of 1 and 255
            if areas[0] > areas[1]:
                small.append(path)
    if dark and len(dark) == len(files) - len(black):
        raise ValueError(
            f'The masks hold no value above {max(index.labels)}, but `threshold` is {threshold}: masks of 0 and 1 need '
            f'`threshold=1`. The first is {dark[0]}.'
        )
    if dark:
        raise ValueError(
            f'{len(dark)} of {len(files)} masks hold values, but none from `threshold` = {threshold} on, so that their '
            f'object would be lost: {_first(dark)}. Save them as 0 and 255 like the others; or take `threshold=1` if '
            'every value above 0 is the object in all masks (no grey edges).'
        )
    if small:
        raise ValueError(
            f'{len(small)} masks hold more pixels of 1 than of 255: {_first(small)}. Either 1 is the object and 255 is '
            f'left out, then save them as 0 and 255; or everything above 0 is the object, then take `threshold=1`.'
        )
    if black:
        print_log(
            f'{len(black)} of {len(files)} masks are all black and show no object: {_first(black)}. Their images are '
            'not used for the class of their folder.',
            'current',
            logging.WARNING,
        )


def _first(paths: Sequence[str]) -> str:
    return ', '.join(paths[:SHOWN]) + (', ...' if len(paths) > SHOWN else '')
