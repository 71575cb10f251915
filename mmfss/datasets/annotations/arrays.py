# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Arrays (``.npy``) and index images as annotations: a value is a label."""

from pathlib import Path

import numpy as np
from PIL import Image

from mmfss.datasets.mask_files import read_mask, whole_numbers
from mmfss.datasets.pascal5i import Pascal5iDataset
from mmfss.datasets.synthetic.writer import voc_palette

from .errors import AnnotationError
from .loading import read_bytes
from .objects import IGNORE, AnnotatedImage, AnnotatedObject, AnnotationFile, equals

VOC_NAMES = Pascal5iDataset.METAINFO['classes']
MOST_VALUES = 256


def read_npy(path: str | Path) -> AnnotationFile:
    """An array (H, W) of bool, 0/1, 0/255 or class indices.

    Raises:
        AnnotationError: When it is cut off, holds Python objects (which could run code), or is no mask.
    """
    read_bytes(path)  # a pipe or a folder is refused
    try:
        _check_header(path)  # before it is mapped: numpy crashes on lengths below zero, and maps elements of no bytes
        # Mapped, so that a header which claims a huge array is compared with the file first.
        mapped = np.load(path, mmap_mode='r', allow_pickle=False)
    except AnnotationError:
        raise
    except Exception as error:  # of numpy, of the tokenizer that reads the header, of the system
        raise AnnotationError(
            f'{path} is cut off or no plain array ({error}). Save the mask with numpy.save as an '
            'array of integers or bool.'
        ) from error
    return array_file(np.array(mapped), str(path), '.npy')


def _check_header(path: str | Path) -> None:
    with open(path, 'rb') as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # (3, 0) is of arrays with named fields
            raise ValueError(f'its format is {version}')
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
    _check_type(kind, str(path))
    if any(length < 0 for length in shape):
        raise ValueError(f'its shape is {shape}')


def _check_type(kind: np.dtype, path: str) -> None:
    if kind.kind not in 'buif':
        raise AnnotationError(f'{path} is an array of {kind}; a mask is of integers or bool. Convert it.')


def array_file(values: np.ndarray, path: str, kind: str, names: tuple[str, ...] = ()) -> AnnotationFile:
    """Objects of an index array; 255 is left out where there are other values, else the object.

    Args:
        values (np.ndarray): (H, W); a further axis of length 1 is dropped.
        path (str): For errors.
        kind (str): Of the file.
        names (tuple[str, ...]): Class names by value.
    """
    shape = values.shape
    if values.ndim == 3 and 1 in (shape[0], shape[2]):
        values = values[0] if shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or not values.size:
        raise AnnotationError(
            f'{path} is an array of shape {shape}; a mask has height and width. Save one (H, W) array.'
        )
    _check_type(values.dtype, path)
    if values.dtype.kind == 'f':
        if not np.isfinite(values).all() or (values != np.floor(values)).any():
            raise AnnotationError(
                f'{path} holds values that are no whole numbers ({values.min():g} to {values.max():g}). Save the mask '
                'itself, such as (scores > 0.5).'
            )
        values = values.astype(np.int64)
    found = np.unique(values)
    if len(found) > MOST_VALUES or found[0] < -1:
        raise AnnotationError(
            f'{path} holds {len(found)} values from {found[0]} to {found[-1]}; a mask is 0 and 1, 0 and 255, or class '
            'indices from 0.'
        )
    solid = [int(v) for v in found if v not in (0, IGNORE, -1)] or [int(v) for v in found if v == IGNORE]
    objects = [AnnotatedObject(names[v] if v < len(names) else str(v), f'value {v}', equals(values, v)) for v in solid]
    objects += [
        AnnotatedObject(None, f'value {v}', equals(values, int(v)), IGNORE)
        for v in found
        if v in (IGNORE, -1) and int(v) not in solid
    ]
    return AnnotationFile(path, kind, (AnnotatedImage(None, values.shape, tuple(objects)),), names)


def is_voc_palette(path: str | Path) -> bool:
    """Whether an index image has the colours of Pascal VOC for the classes of VOC."""
    try:
        with Image.open(path) as image:
            palette = image.getpalette() if image.mode == 'P' else None
    except Exception:  # none, huge, cannot be decoded: said when it is read
        return False
    return palette is not None and palette[: 3 * len(VOC_NAMES)] == voc_palette()[: 3 * len(VOC_NAMES)]


def read_index_image(path: str | Path) -> AnnotationFile:
    """A PNG (or other lossless image) of class indices, or black and white; VOC's palette gives VOC's names.

    Raises:
        AnnotationError: When it is in colours, or cannot be read.
    """
    try:
        names = VOC_NAMES if is_voc_palette(path) else ()
        values = read_mask(path, f'The mask {path}')
    except (OSError, ValueError) as error:
        raise AnnotationError(f'{path} cannot be read as a mask ({error}). Save it as a PNG again.') from error
    return array_file(whole_numbers(values), str(path), 'index image', names)
