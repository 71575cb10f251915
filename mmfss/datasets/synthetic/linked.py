# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A data set of any number of files in the layout and with the class frequencies of COCO, on little disk.

A pool of generated images and masks is written once; every further file is a hard link to one of them, so that 120,000
images take seconds and some megabytes. To a data set they are files like any others.
"""

import os
from pathlib import Path

import cv2
import numpy as np

NUM_CLASSES = 80
PERSON = 0.55  # share of images; of the other classes it falls from the first to the last of these
OFTEN, RARE = 0.12, 0.002
IMAGE_POOL, MASK_POOL = 64, 2000  # different contents
MAX_LINKS = 10_000  # of one file; ext4 takes 65,000


def class_frequencies(num_classes: int = NUM_CLASSES) -> np.ndarray:
    """(num_classes,) share of images that show each class; 2.9 classes an image, as in COCO."""
    others = np.geomspace(OFTEN, RARE, num_classes - 1)
    return np.concatenate([[PERSON], others])


def write_linked_coco(root: Path, images: int, size: tuple[int, int] = (480, 640), seed: int = 0) -> Path:
    """Write ``train2014/*.jpg`` and ``annotations/train2014/*.png``.

    Args:
        root (Path): Folder to make, on a file system with hard links.
        images (int): Their number.
        size (tuple[int, int]): Height and width of each.
        seed (int): Equal seeds, equal files.

    Returns:
        Path: ``root``.

    Raises:
        ValueError: When no number of images is asked for.
        FileExistsError: When the folder is there already.
    """
    if images < 1:
        raise ValueError(f'`images` is {images}; it must be at least 1.')
    rng = np.random.default_rng(seed)
    folders = [root / 'train2014', root / 'annotations' / 'train2014']
    for folder in (root, *folders):
        folder.mkdir(parents=True, exist_ok=folder == folders[1].parent)
    pools = []
    for folder, suffix, wanted in zip(folders, ('.jpg', '.png'), (IMAGE_POOL, MASK_POOL), strict=True):
        number = min(images, max(wanted, -(-images // MAX_LINKS)))
        draw = _image if suffix == '.jpg' else _mask
        pools.append([_write(draw(rng, size), folder / f'{_name(i)}{suffix}') for i in range(number)])
    for folder, suffix, pool in zip(folders, ('.jpg', '.png'), pools, strict=True):
        for i in range(len(pool), images):
            os.link(pool[i % len(pool)], folder / f'{_name(i)}{suffix}')
    return root


def _name(number: int) -> str:
    return f'COCO_train2014_{number:012d}'


def _write(picture: np.ndarray, path: Path) -> Path:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f'{path} could not be written.')
    return path


def _image(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: noise of three scales, so that JPEG finds as much to keep as in a photo."""
    height, width = size
    layers = [
        cv2.resize(rng.normal(0, strength, (max(1, height // step), max(1, width // step), 3)), (width, height))
        for step, strength in ((64, 60), (8, 15), (1, 12))
    ]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def _mask(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8: one to three ellipses of each class that is shown."""
    height, width = size
    mask = np.zeros(size, dtype=np.uint8)
    shown = 1 + np.flatnonzero(rng.random(NUM_CLASSES) < class_frequencies())
    for class_id in rng.permutation(shown).tolist():
        for _ in range(rng.integers(1, 4)):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = tuple(int(axis) for axis in np.exp(rng.uniform(np.log(8), np.log(min(size) / 3), 2)))
            cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, class_id, -1)
    return mask
