# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every format comes down to: images with objects, each of which has a label and can be painted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import cos, radians, sin

import numpy as np

from mmfss.datasets.mask_files import IGNORE
from mmfss.utils.wording import listed

from .errors import AnnotationError
from .segmentation import Segmentation, check_extent

POINT_RADIUS = 0.02  # of the longer side, as for points given on the command line

Painter = Callable[[int, int], np.ndarray]  # (height, width) -> (H, W) bool


@dataclass(frozen=True)
class AnnotatedObject:
    """One object of an image.

    Args:
        label (str, optional): Name of its class; None for pixels that are left out whatever the class.
        name (str): How errors call it, such as 'annotation 17'.
        paint (Painter): Its pixels (H, W) bool from height and width; raises :class:`AnnotationError`.
        value (int): 1, or 255 for what is left out.
        is_box (bool): A box stands for a region that the file does not have.
    """

    label: str | None
    name: str
    paint: Painter
    value: int = 1
    is_box: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """The objects of one image.

    Args:
        name (str, optional): File name as the file has it, with its folders; None where the format has none.
        size (tuple[int, int], optional): Height and width as the file has them; None where it has none.
        objects (tuple[AnnotatedObject, ...]): In the order of the file.
    """

    name: str | None
    size: tuple[int, int] | None
    objects: tuple[AnnotatedObject, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur, in the order of the file."""
        return tuple(dict.fromkeys(o.label for o in self.objects if o.label is not None))

    def mask(self, label: str, size: tuple[int, int], path: str) -> np.ndarray:
        """The union of the objects of a label, (H, W) uint8: 0, 1, and 255 where pixels are left out.

        Raises:
            AnnotationError: When an object cannot be painted (names it), or coordinates are shares of the size.
        """
        mask = np.zeros(size, np.uint8)
        for value in (IGNORE, 1):  # an object lies above what is left out
            for item in self.objects:
                if item.value != value or item.label not in (label, None):
                    continue
                try:
                    mask[item.paint(*size)] = value
                except AnnotationError as error:
                    raise AnnotationError(f'{item.name} (label {item.label}) of {path}: {error}.') from error
        if mask[0, 0] == 1 and (mask == 1).sum() == 1 and min(size) > 2:
            raise AnnotationError(
                f'{path} marks nothing with the label {label!r} but the upper left pixel: its coordinates are '
                'shares of the size, 0 to 1, where pixels are expected. Export it again with pixels.'
            )
        return mask


@dataclass(frozen=True)
class AnnotationFile:
    """A file of any format.

    Args:
        path (str): Of the file, or what it is called in errors.
        kind (str): Name of the format.
        images (tuple[AnnotatedImage, ...]): Those it knows, one or many.
        names (tuple[str, ...]): Class names by their index, where objects are written with numbers (YOLO, COCO); else
            empty.
    """

    path: str
    kind: str
    images: tuple[AnnotatedImage, ...]
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that occur, in the order of the classes where there is one, else sorted."""
        found = {label for image in self.images for label in image.labels}
        return tuple(name for name in self.names if name in found) + tuple(sorted(found - set(self.names)))


def paint_polygons(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Polygons (2N,) in pixels as (H, W) bool."""
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise AnnotationError('a polygon needs at least three points (x, y)')
    check_extent(polygons, height, width)
    return Segmentation(height, width, polygons=tuple(polygons)).mask()


def polygon(points: np.ndarray) -> Painter:
    """Painter of one polygon, x, y, x, y, ... in pixels."""
    return partial(paint_polygons, [np.asarray(points, float).reshape(-1)])


def box(x1: float, y1: float, x2: float, y2: float, degrees: float = 0) -> Painter:
    """Painter of a rectangle, turned around its centre."""
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if degrees:
        centre, a = corners.mean(0), radians(degrees)
        corners = (corners - centre) @ np.array([[cos(a), sin(a)], [-sin(a), cos(a)]]) + centre
    return partial(_paint_box, corners)


def _paint_box(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    if np.ptp(corners[:, 0]) == 0 or np.ptp(corners[:, 1]) == 0:
        raise AnnotationError('the rectangle has no area')
    return paint_polygons([corners.reshape(-1)], height, width)


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> Painter:
    """Painter of an ellipse or, with equal radii, a circle."""
    return partial(_paint_ellipse, (x, y, rx, ry, degrees))


def _paint_ellipse(numbers: tuple, height: int, width: int) -> np.ndarray:
    x, y, rx, ry, degrees = numbers
    if rx <= 0 or ry <= 0:
        raise AnnotationError('the circle or ellipse has no radius')
    check_extent([np.array([x - rx, y - ry, x + rx, y + ry])], height, width)
    a = radians(degrees)
    rows, columns = np.ogrid[:height, :width]
    dx, dy = columns + 0.5 - x, rows + 0.5 - y
    along, across = dx * cos(a) + dy * sin(a), dy * cos(a) - dx * sin(a)
    return (along / rx) ** 2 + (across / ry) ** 2 <= 1


def discs(points: np.ndarray) -> Painter:
    """Painter of discs around points (N, 2), as large as those of ``dict(points=...)``."""
    return partial(_paint_discs, np.asarray(points, float).reshape(-1, 2))


def _paint_discs(points: np.ndarray, height: int, width: int) -> np.ndarray:
    radius, mask = max(1.0, POINT_RADIUS * max(height, width)), np.zeros((height, width), bool)
    for x, y in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise AnnotationError(f'the point ({x:g}, {y:g}) lies outside of the image of {width}x{height} pixels')
        mask |= _paint_ellipse((x, y, radius, radius, 0), height, width)
    return mask


def pasted(patch: np.ndarray, left: int, top: int) -> Painter:
    """Painter of a small mask (h, w) bool whose upper left corner lies at (left, top)."""
    return partial(_paste, patch, left, top)


def _paste(patch: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    h, w = patch.shape
    if left < 0 or top < 0 or left + w > width or top + h > height:
        raise AnnotationError(
            f'its mask of {w}x{h} pixels at ({left}, {top}) reaches outside of the image of {width}x{height} pixels'
        )
    mask = np.zeros((height, width), bool)
    mask[top : top + h, left : left + w] = patch
    return mask


def no_area(what: str) -> Painter:
    """Painter of what has no area: says so when it is asked for."""
    return partial(_refuse, f'it is a {what}, which has no area. Draw a polygon, a box or a mask instead')


def _refuse(text: str, height: int, width: int) -> np.ndarray:
    raise AnnotationError(text)


def equals(values: np.ndarray, value: int) -> Painter:
    """Painter of one value of an index array (H, W)."""
    return partial(_paint_value, values, value)


def _paint_value(values: np.ndarray, value: int, height: int, width: int) -> np.ndarray:
    if values.shape != (height, width):
        raise AnnotationError(f'it has {values.shape} (h, w), the image {(height, width)}')
    return values == value


def choose_label(labels: tuple[str, ...], names: tuple[str, ...], label: str | None, what: str) -> str:
    """The label that is meant.

    Args:
        labels (tuple[str, ...]): That occur.
        names (tuple[str, ...]): Class names by their index, where there are such.
        label (str, optional): Asked for by name or index; None takes the only one.
        what (str): Names file and image in errors.

    Raises:
        AnnotationError: When there is none, several and none asked for, or not that one.
    """
    if not labels:
        raise AnnotationError(f'{what} has no object. Mark it, or leave this support out.')
    if label is None:
        if len(labels) > 1:
            raise AnnotationError(
                f'{what} has objects of {len(labels)} labels: {listed(labels)}. Say which one is meant: '
                'dict(mask=..., label=NAME), on the command line --label NAME.'
            )
        return labels[0]
    label = str(label).strip()
    if label not in labels and label.isdigit() and int(label) < len(names):
        label = names[int(label)]
    if label not in labels:
        raise AnnotationError(f'{what} has no object of the label {label!r}; it has {listed(labels)}.')
    return label
