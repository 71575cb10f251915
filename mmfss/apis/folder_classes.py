# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A folder of classes, ``CLASS/K.jpg`` with ``CLASS/K.png``, as supports and queries of a benchmark."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmfss.datasets.folder import class_folders
from mmfss.datasets.image_headers import check_file
from mmfss.datasets.listings import list_pairs, say_unused
from mmfss.datasets.mask_files import bright_values, read_mask
from mmfss.datasets.protocols import KeyedRandom

Pair = tuple[Path, Path]  # an image and its mask
SUPPORTS, WRONG_CLASS = 0, 1  # purposes of the random numbers


def find_pairs(root: Path, image_suffix: str, mask_suffix: str) -> tuple[dict[str, list[Pair]], dict[str, list[str]]]:
    """Image and mask paths of each class, numbers in order, and what is not used, by reason.

    Raises:
        FileNotFoundError: When the folder or a mask is missing.
        ValueError: When there is no class folder with an image, or a file is there twice.
    """
    if not root.is_dir():
        raise FileNotFoundError(f'there is no folder {root}; set it with --data-root')
    found, unused = {}, {}
    for name in class_folders(str(root)):
        pairs, left = list_pairs(root / name, image_suffix, mask_suffix)
        for reason, files in left.items():
            unused.setdefault(reason, []).extend(f'{name}/{file}' for file in files)
        for image, mask in pairs.values():
            if not Path(mask).is_file():
                raise FileNotFoundError(f'the image {image} has no mask {mask}; see --mask-suffix')
        if pairs:
            found[name] = [(Path(image), Path(mask)) for image, mask in pairs.values()]
        else:
            unused.setdefault('class folders without an image', []).append(name)
    if not found:
        left = f'. They hold {say_unused(unused)}' if unused else ''
        raise ValueError(f'{root} has no folders with images *{image_suffix}; see --image-suffix{left}')
    return found, unused


def read_object(path: Path, threshold: int) -> np.ndarray:
    """(H, W) bool: where a mask is at least so bright."""
    return read_mask(path, f'the mask {path}', bright_values) >= threshold


def check_pairs(classes: dict[str, list[Pair]], threshold: int) -> None:
    """Read every mask and the start of every image before long work, and say which masks show nothing.

    Raises:
        ValueError: When a file cannot be read, or a mask holds values of which none is the object.
    """
    black, dark = [], []
    for image, mask in (pair for pairs in classes.values() for pair in pairs):
        check_file(image)
        top = int(read_mask(mask, f'the mask {mask}', bright_values).max())
        if top < threshold:
            (dark if top else black).append(str(mask))
    if dark:
        raise ValueError(
            f'{len(dark)} masks hold values, but none from --mask-threshold {threshold} on: {", ".join(dark[:3])}. '
            'Save them as 0 and 255; or take --mask-threshold 1 if every value above 0 is the object in all masks'
        )
    if black:
        print(f'{len(black)} masks are all black and count as images without the object: {", ".join(black[:3])}')


def draw_supports(name: str, pairs: Sequence[Pair], shots: int, number: int) -> tuple[list[Pair], list[Pair]]:
    """Supports of a class and its other images, the queries.

    Draw 0 takes the first images of the folder; the others are random and depend on the class's name and the number
    alone, so that fewer shots are a part of more.
    """
    if number == 0:
        return list(pairs[:shots]), list(pairs[shots:])
    order = KeyedRandom(zlib.crc32(name.encode()), number, purpose=SUPPORTS).sample(range(len(pairs)), len(pairs))
    chosen = order[:shots]
    return [pairs[i] for i in chosen], [pair for i, pair in enumerate(pairs) if i not in set(chosen)]


def wrong_class(name: str, names: Sequence[str], number: int) -> str:
    """Another class, whose supports take the place of the right ones in a control.

    Raises:
        ValueError: When there is no other class.
    """
    others = [other for other in names if other != name]
    if not others:
        raise ValueError(f'{name} is the only class: the control with wrong supports needs another one')
    return KeyedRandom(zlib.crc32(name.encode()), number, purpose=WRONG_CLASS).choice(others)
