# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""labelme's JSON: one image, shapes with labels (github.com/wkentaro/labelme)."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from .errors import AnnotationError, finite_numbers
from .objects import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    Painter,
    box,
    discs,
    ellipse,
    no_area,
    pasted,
    polygon,
)
from .segmentation import MAX_PIXELS

_LINES = ('line', 'linestrip')


def read_labelme(content: dict, path: str) -> AnnotationFile:
    """Objects of a labelme file.

    Args:
        content (dict): The parsed JSON.
        path (str): Of the file, for errors.

    Raises:
        AnnotationError: When a shape has no label, no points, or a type that labelme does not have.
    """
    shapes = content.get('shapes')
    if not isinstance(shapes, list):
        raise AnnotationError(f'{path}: `shapes` is no list. Save it with labelme again.')
    objects = []
    for number, shape in enumerate(shapes, 1):
        name = f'shape {number}'
        try:
            if not isinstance(shape, dict) or not str(shape.get('label') or '').strip():
                raise AnnotationError('it has no label')
            objects.append(AnnotatedObject(str(shape['label']).strip(), name, _painter(shape)))
        except AnnotationError as error:
            raise AnnotationError(f'{name} of {path}: {error}. Correct it in labelme.') from error
    image = content.get('imagePath')
    return AnnotationFile(
        path, 'labelme', (AnnotatedImage(str(image) if image else None, _size(content, path), tuple(objects)),)
    )


def _size(content: dict, path: str) -> tuple[int, int] | None:
    given = [content.get('imageHeight'), content.get('imageWidth')]
    if given == [None, None]:
        return None
    try:
        height, width = finite_numbers(given, '`imageHeight`, `imageWidth`')
    except AnnotationError as error:
        raise AnnotationError(f'{path}: {error}. Save it with labelme again.') from error
    return int(height), int(width)


def _painter(shape: dict) -> Painter:
    kind = shape.get('shape_type') or 'polygon'  # early versions had polygons only
    points = shape.get('points')
    if not isinstance(points, list) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in points):
        raise AnnotationError('its points are no list of (x, y)')
    values = finite_numbers([value for point in points for value in point], f'the {kind}')
    if kind in _LINES:
        return no_area(kind)
    need = {'polygon': 3, 'rectangle': 2, 'circle': 2, 'point': 1, 'points': 1, 'mask': 2, 'rotation': 4}
    need['oriented_rectangle'] = 4
    if not isinstance(kind, str) or kind not in need:
        raise AnnotationError(f'its type is {kind!r}, which is none of {", ".join([*need, *_LINES])}')
    if len(points) < need[kind]:
        raise AnnotationError(f'it is a {kind} of {len(points)} points; {need[kind]} are needed')
    if kind == 'rectangle' and len(points) == 2:
        return box(*values)
    if kind == 'circle':
        x, y, x2, y2 = values[:4]
        radius = float(np.hypot(x2 - x, y2 - y))
        return ellipse(x, y, radius, radius)
    if kind in ('point', 'points'):
        return discs(values)
    if kind == 'mask':
        return _mask(shape.get('mask'), values)
    return polygon(values)


def _mask(text: Any, corners: np.ndarray) -> Painter:
    """A PNG as base64, of the pixels between two corners, both included."""
    if not isinstance(text, str):
        raise AnnotationError('it is of the type mask, but holds none')
    try:
        data = base64.b64decode(text.rsplit('base64,', 1)[-1], validate=False)
        with Image.open(io.BytesIO(data), formats=('PNG',)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError('it is huge')
            values = np.asarray(image.convert('L') if image.mode not in ('1', 'L', 'P') else image)
    except Exception as error:  # of base64, of Pillow's decoder
        raise AnnotationError(f'its mask is no PNG as base64 ({error})') from error
    x1, y1, x2, y2 = (int(round(v)) for v in corners[:4])
    wanted = (abs(y2 - y1) + 1, abs(x2 - x1) + 1)
    if values.shape != wanted:
        raise AnnotationError(
            f'its mask has {values.shape[1]}x{values.shape[0]} pixels, its corners say {wanted[1]}x{wanted[0]}'
        )
    return pasted(values > 0, min(x1, x2), min(y1, y2))
