# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Boxes, polygons and points as people give them, to pixels; what cannot be meant is refused with the reason."""

import sys
from collections.abc import Sequence

import cv2
import numpy as np

from mmfss.utils.notices import tell

POINT_RADIUS = 0.02  # of the longer side: such a disc still covers several pixels of a network's small input
KINDS = ('box', 'polygon', 'points')
LARGEST = sys.float_info.max  # a whole number may be larger
FAR = 10  # times the longer side: what lies further outside is no slip of the hand
_LISTS = (list, tuple, np.ndarray)
_FROM_TOP = '. Coordinates are (x, y) from the top left.'
_FORMS = 'A box is (x1, y1, x2, y2), a polygon at least three (x, y), points are (x, y), in pixels of the image.'


def draw(annotation: dict, shape: tuple[int, int], image: str) -> np.ndarray:
    """Labels (H, W) uint8, 0 and 1, of a box, polygons or points.

    Args:
        annotation (dict): With one key of :data:`KINDS`, and ``radius`` beside 'points'.
        shape (tuple[int, int]): Height and width of the image.
        image (str): How messages name the image.

    Raises:
        ValueError: When it holds no pixel of the image, or cannot be meant in pixels.
    """
    kind = next(kind for kind in KINDS if kind in annotation)
    given = annotation[kind]
    name, (H, W) = f'the {kind} {_short(given)}', shape
    where = f'{image} ({W}x{H} pixels)'
    labels = np.zeros(shape, np.uint8)
    try:
        if kind == 'box':
            x1, y1, x2, y2 = pixels_of_box(numbers(given, 4), shape, f'{name} of {image}')
            labels[y1:y2, x1:x2] = 1
        elif kind == 'polygon':
            for corners in _polygons(given):
                _check_extent(corners, shape, f'{name} of {image}')
                cv2.fillPoly(labels, [np.rint(corners).astype(np.int32).reshape(-1, 1, 2)], 1)
        else:
            radius = _radius(annotation.get('radius'), shape)
            for x, y in _points(given, shape, f'{name} of {image}'):
                cv2.circle(labels, (round(x), round(y)), radius, 1, -1)
    except (TypeError, ValueError, IndexError) as error:
        if isinstance(error, _OutsideError):
            raise ValueError(f'{name} covers no pixel of {image}, which is {W}x{H} pixels{error}') from None
        raise ValueError(f'{name} of {where} cannot be drawn: {error}. {_FORMS}') from error
    if not labels.any():
        raise ValueError(f'{name} covers no pixel of {image}, which is {W}x{H} pixels{_FROM_TOP}')
    return labels


class _OutsideError(ValueError):
    """What is given holds no pixel; the message goes on after the size of the image."""


def numbers(values, count: int) -> list[float]:
    """So many finite numbers.

    Raises:
        ValueError: When there are more or fewer, or one is a text, None, bool, NaN or infinite.
    """
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, '__len__'):
        raise ValueError(f'{_short(values)} is no list of {count} numbers')
    if len(values) != count:
        raise ValueError(f'{_short(values)} has {len(values)} numbers, wanted are {count}')
    for value in values:
        if isinstance(value, str):
            raise ValueError(f'{value!r} is a text; give numbers, in pixels')
        real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not real or not -LARGEST <= value <= LARGEST:  # NaN is neither
            raise ValueError(f'{_short(value)} is no number of a pixel')
    return [float(value) for value in values]


def pixels_of_box(box: Sequence[float], shape: tuple[int, int], name: str) -> tuple[int, int, int, int]:
    """A box cut to the image, x2 and y2 exclusive; that it is cut is said.

    Args:
        box (Sequence[float]): x1, y1, x2, y2, finite.
        shape (tuple[int, int]): Height and width of the image.
        name (str): How messages name the box.

    Raises:
        ValueError: When it holds no pixel of the image, or its numbers are shares of the size.
    """
    H, W = shape
    x1, y1, x2, y2 = box
    refuse_shares(np.array(box), shape)
    if x2 < x1 or y2 < y1:
        corners = ', '.join(f'{v:g}' for v in (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
        raise _OutsideError(
            f': its corners are swapped. If they are two corners, give ({corners}); if the last two numbers are width '
            'and height, add them to the first two.'
        )
    cut = [round(min(max(v, 0), end)) for v, end in zip(box, (W, H, W, H), strict=True)]
    if cut[2] <= cut[0] or cut[3] <= cut[1]:
        if not (x2 - x1 >= 1 and y2 - y1 >= 1):
            raise _OutsideError(': it is less than a pixel wide or high.')
        raise _OutsideError(_swap_hint(np.reshape(box, (2, 2)), shape) or _FROM_TOP)
    _tell(np.reshape(box, (2, 2)), shape, name, ends=1)
    return tuple(cut)


def refuse_shares(values: np.ndarray, shape: tuple[int, int]) -> None:
    """Refuse coordinates that all lie within 0 to 1.

    Raises:
        ValueError: When they do, and the image is larger.
    """
    if max(shape) > 1 and values.size and values.min() >= 0 and values.max() <= 1:
        raise ValueError(
            'all coordinates lie within 0 to 1: pixels are wanted, these look like shares of the size. Multiply x by '
            f'{shape[1]} and y by {shape[0]}'
        )


def _tell(points: np.ndarray, shape: tuple[int, int], name: str, ends: int = 0) -> None:
    """Say what of points (M, 2) is outside of the image, and when they may be per cent."""
    H, W = shape
    frame = np.array([W - 1 + ends, H - 1 + ends])
    outside = (points < -0.5) | (points > frame + 0.5)
    if outside.any():
        hint = _swap_hint(points, shape)
        tell('coordinates', f'{name} reaches out of the image of {W}x{H} pixels: it is cut at its frame{hint or "."}')
    elif min(shape) > 200 and points.max() <= 100 and (points != np.rint(points)).any():
        tell(
            'coordinates',
            f'{name} lies within 0 to 100, in an image of {W}x{H} pixels: its numbers are taken as pixels. If they are '
            f'per cent, multiply x by {W / 100:g} and y by {H / 100:g}.',
        )


def _swap_hint(points: np.ndarray, shape: tuple[int, int]) -> str:
    """Whether points (M, 2) would lie inside if x and y changed places."""
    H, W = shape
    turned = points[:, ::-1]
    inside = (turned >= 0).all() and (turned[:, 0] <= W).all() and (turned[:, 1] <= H).all()
    return ': x and y look swapped, x comes first.' if inside and H != W else ''


def _check_extent(points: np.ndarray, shape: tuple[int, int], name: str) -> None:
    refuse_shares(points, shape)
    if np.abs(points).max() > FAR * max(shape):
        raise ValueError(f'{np.abs(points).max():g} lies far outside')
    if (points.max(axis=0) < -0.5).any() or (points.min(axis=0) > np.array(shape[::-1]) - 0.5).any():
        raise _OutsideError(_swap_hint(points, shape) or _FROM_TOP)
    if min(cv2.minAreaRect(points.astype(np.float32))[1]) < 0.5:
        raise ValueError('its corners lie on one line, it has no inside')
    _tell(points, shape, name)


def _polygons(given) -> list[np.ndarray]:
    """One polygon or a list of them to arrays (M, 2)."""
    if isinstance(given, np.ndarray):
        given = given.reshape(-1, 2) if given.ndim == 3 and given.shape[1] == 1 else given  # a contour of OpenCV
        given = given.tolist()
    if isinstance(given, (str, dict)) or not hasattr(given, '__len__'):
        raise ValueError(f'{_short(given)} is no list of corners')
    if not len(given):
        raise ValueError('it has no corners')
    first = given[0]
    if isinstance(first, (int, float, str, np.number)) or first is None:
        raise ValueError('it is a flat list; give pairs: [(x, y), (x, y), (x, y)]')
    several = isinstance(first, _LISTS) and len(first) > 0 and isinstance(first[0], _LISTS)
    polygons = []
    for polygon in given if several else [given]:
        corners = np.array([numbers(corner, 2) for corner in polygon]).reshape(-1, 2)
        if len(corners) < 3:
            raise ValueError('it has fewer than three corners')
        polygons.append(corners)
    return polygons


def _points(given, shape: tuple[int, int], name: str) -> list[tuple[float, float]]:
    if isinstance(given, (str, dict)) or not hasattr(given, '__len__'):
        raise ValueError(f'{_short(given)} is no list of points')
    if len(given) == 2 and all(isinstance(v, (int, float, np.number)) for v in given):
        raise ValueError('it is one pair; give a list of pairs: [(x, y)]')
    points = [numbers(point, 2) for point in given]
    values = np.array(points)
    if (values != np.rint(values)).any():  # a click on the pixel (1, 1) is possible
        refuse_shares(values, shape)
    H, W = shape
    for x, y in points:
        if not (0 <= x < W and 0 <= y < H):
            raise ValueError(f'({x:g}, {y:g}) lies outside{_swap_hint(np.array([[x, y]]), shape).rstrip(".")}')
    if len(points):
        _tell(values, shape, name)
    return points


def _radius(given, shape: tuple[int, int]) -> int:
    if given is None:
        return max(1, round(POINT_RADIUS * max(shape)))
    (radius,) = numbers([given], 1)
    if not 1 <= radius <= max(shape):
        share = ' It looks like a share of the size.' if 0 < radius < 1 else ''
        raise ValueError(f'the radius is {radius:g}; it is 1 to {max(shape)} pixels.{share}'.rstrip('.'))
    return int(radius)


def _short(value) -> str:
    text = str(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 120 else text[:100] + ' ...'
