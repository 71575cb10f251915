# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a user gives as the annotation of a support, to labels: 0 background, 1 object, 255 ignored."""

from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from mmfss.datasets.bit_depth import to_8_bit
from mmfss.datasets.image_headers import check_path
from mmfss.datasets.mask_files import IGNORE, grey, mask_values, read_mask, whole_numbers
from mmfss.utils.notices import tell
from mmfss.utils.wording import listed

from .coordinates import KINDS, draw
from .tool_annotations import tool_labels

STRAY = 20  # so many times more pixels of 255 than of 1 are no border that is left out
_FORMS = (
    'a path, an array, a PIL image, or dict(box=...), dict(polygon=...), dict(points=...), dict(mask=..., value=...)'
)


def support_mask(annotation, shape: tuple[int, int], image: str, path: str | None = None) -> np.ndarray:
    """Labels of one support.

    Args:
        annotation (str | Path | np.ndarray | Image | dict): One of

            - a mask: path of an image file, (H, W) array, PIL image. Either black and white (0 and 255), or indices
              (0 and 1), where 255 besides 1 is a pixel to leave out, as in VOC. A mask of 255 alone is all object;
            - ``dict(mask=..., value=7)``: a mask of several classes, of which 7 is the object and 255 left out;
            - ``dict(box=(x1, y1, x2, y2))``: everything from (x1, y1) to before (x2, y2);
            - ``dict(polygon=[(x, y), ...])``: its inside, or a list of polygons;
            - a file of an annotation tool, a COCO annotation or an RLE, see :func:`.tool_labels`; ``dict(mask=...,
              label='cat')`` where it has several labels;
            - ``dict(points=[(x, y), ...])``: a disc around each; ``radius=`` pixels, by default 2 % of the longer side.
        shape (tuple[int, int]): Height and width of the image, in whose pixels all coordinates are.
        image (str): How errors name the image.
        path (str, optional): The image's file, by whose name it is found in files of many images.

    Returns:
        np.ndarray: (H, W) uint8.

    Raises:
        FileNotFoundError: When there is no such mask.
        TypeError: When it is none of these.
        ValueError: When the mask is unreadable, of another size, empty, or of several values; or coordinates miss the
            image.
    """
    annotation = tool_labels(annotation, shape, path)
    if isinstance(annotation, dict) and 'mask' not in annotation:
        labels, name = _draw(annotation, shape, image), f'the annotation of {image}'
    else:
        value = None
        if isinstance(annotation, dict):
            if set(annotation) - {'mask', 'value'}:
                raise TypeError(f'the annotation of {image} is a dict of {sorted(annotation)}; give {_FORMS}')
            annotation, value = annotation['mask'], annotation.get('value')
            value = value if value is None else _number(value, f'the mask of {image}')
        values, name = _read(annotation, image, value)
        if values.shape != tuple(shape):
            turned = (
                ' Its sides are swapped: the camera noted a rotation (EXIF) that the mask does not have; turn '
                'the mask upright.'
                if values.shape == tuple(shape)[::-1] and shape[0] != shape[1]
                else ''
            )
            raise ValueError(
                f'{name} is {values.shape[1]}x{values.shape[0]} pixels, {image} is {shape[1]}x{shape[0]}. '
                f'Draw the mask on the image itself, at its full size.{turned}'
            )
        labels = _to_labels(values, value, name)
    if not (labels == 1).any():
        raise ValueError(f'{name} is empty: no pixel belongs to the object. Mark it, or leave this support out.')
    return labels


def _read(mask, image: str, value: int | None) -> tuple[np.ndarray, str]:
    """Mask values (H, W), and how errors name the mask; of palettes the indices where ``value`` is one of them."""
    if value is not None and not isinstance(mask, np.ndarray):
        values, name = _read_as(mask, image, partial(mask_values, indices=True))
        if value in values:
            return values, name
    return _read_as(mask, image, mask_values)


def _read_as(mask, image: str, reader: Callable) -> tuple[np.ndarray, str]:
    if isinstance(mask, (str, PathLike)):
        check_path(mask, 'mask')
        if not Path(mask).exists():
            raise FileNotFoundError(f'There is no mask {mask} (for {image}). Check the path.')
        return read_mask(mask, f'The mask {mask}', reader), f'The mask {mask}'
    name = f'the mask of {image}'
    if isinstance(mask, Image.Image):
        return reader(mask, name), name
    if not isinstance(mask, np.ndarray):
        raise TypeError(f'{name} is a {type(mask).__name__}; give {_FORMS}')
    values = mask
    if values.ndim == 3 and values.shape[2] in (2, 4):
        values = mask_values(Image.fromarray(np.ascontiguousarray(to_8_bit(values, name))), name)
    elif values.ndim == 3 and values.shape[2] in (1, 3):
        values = grey(values, name)
    if values.ndim != 2:
        raise ValueError(f'{name} is an array of shape {values.shape}; a mask has height and width.')
    return values, name


def _number(value, name: str) -> int:
    """The value that a user names as the object's."""
    known = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not known or not float(value).is_integer():
        raise TypeError(f'`value` of {name} is {value!r}; give the whole number of the object, such as value=3')
    return int(value)


def _to_labels(values: np.ndarray, value: int | None, name: str) -> np.ndarray:
    if values.dtype == bool:
        if value not in (None, 0, 1, IGNORE):
            raise ValueError(f'{name} is black and white: it holds no pixel of value {value}.')
        return (values == (value != 0)).astype(np.uint8)
    if value is None:
        values = whole_numbers(values)
    found, areas = np.unique(values, return_counts=True)
    if value is not None:
        if value not in found:
            raise ValueError(f'{name} holds no pixel of value {value}; it holds {listed(found, 8)}.')
        labels = (values == value).astype(np.uint8)
        labels[(values == IGNORE) & (value != IGNORE)] = IGNORE
        return labels
    strange = found[~np.isin(found, (0, 1, IGNORE))]
    if len(strange):
        grey_edges = ' Grey edges come from JPEG or smoothing: save it as PNG without.' if len(strange) > 8 else ''
        raise ValueError(
            f'{name} holds the values {listed(found, 8)}; a mask is 0 and 255, or 0 and 1 (then 255 is left '
            f'out). Say which value is the object: dict(mask=..., value={strange[0]}), on the command '
            f'line --mask-value {strange[0]}.{grey_edges}'
        )
    if 1 in found:
        area = dict(zip(found.tolist(), areas.tolist(), strict=True))
        if area.get(IGNORE, 0) > STRAY * area[1]:
            tell(
                'stray pixels',
                f'{name} holds {area[1]} pixels of 1 and {area[IGNORE]} of 255: 1 is taken as the object and 255 as '
                'left out. If 255 is the object, say so: dict(mask=..., value=255), on the command line '
                '--mask-value 255.',
            )
        return values.astype(np.uint8)
    return (values == IGNORE).astype(np.uint8)


def _draw(annotation: dict, shape: tuple[int, int], image: str) -> np.ndarray:
    """Labels (H, W) of a box, polygons or points."""
    kinds = [kind for kind in KINDS if kind in annotation]
    if len(kinds) != 1 or set(annotation) - {*kinds, *(['radius'] if kinds == ['points'] else [])}:
        raise TypeError(f'the annotation of {image} is a dict of {sorted(map(str, annotation))}; give {_FORMS}')
    return draw(annotation, shape, image)
