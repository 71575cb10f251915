# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Checks of a data set that run before any long work."""

import os
from collections.abc import Sequence

import numpy as np
from mmengine.fileio import list_from_file

from .class_index import UNREADABLE, ClassIndex, Entry

IGNORE = 255


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
        ValueError: When it is empty or holds a name twice.
    """
    if not ann_file:
        names = sorted(f[: -len(suffix)] for f in os.listdir(images) if f.endswith(suffix))
        source = f'the folder {images}'
    else:
        if not os.path.isfile(ann_file):
            raise FileNotFoundError(
                f'The image list {ann_file} (`ann_file`) does not exist. It holds one image name a '
                f'line; check the data root and `ann_file`. {hint}'.rstrip()
            )
        names = [line.strip() for line in list_from_file(ann_file) if line.strip()]
        source = f'the list {ann_file}'
    if not names:
        raise ValueError(f'There is no image (*{suffix}) in {source}.')
    seen = set()
    for name in names:
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
