# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""COCO's ways to write a region (polygons, RLE), checked before pycocotools sees them, and polygons of any origin.

pycocotools trusts its input: a coordinate that is NaN or far away lets it allocate without end, and runs that do not
add up to the image leave pixels as the memory happened to be. So everything is checked here, and only here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from .errors import AnnotationError, finite_numbers

MAX_PIXELS = 2**30  # of an image that a file claims to be of
SLACK = 1  # pixels: tools write a corner on the edge, or one beyond it
_WANTED = (
    'a segmentation is a list of polygons [[x, y, x, y, ...], ...] in pixels, or an RLE {"size": [height, width], '
    '"counts": ...}'
)


@dataclass(frozen=True)
class Segmentation:
    """A region that was checked and can be painted.

    Args:
        height (int): Of the image, pixels.
        width (int): Of the image, pixels.
        polygons (tuple[np.ndarray, ...]): (2N,) each: x, y, x, y, ...; at least three points.
        rles (tuple[Mapping, ...]): Runs (column after column, background first) of other parts.
        dropped (int): Polygons of fewer than three points, which cover nothing.
    """

    height: int
    width: int
    polygons: tuple[np.ndarray, ...] = ()
    rles: tuple[Mapping, ...] = ()
    dropped: int = 0

    def mask(self) -> np.ndarray:
        """The union of all parts, (height, width) bool."""
        parts = list(self.rles)
        if self.polygons:
            parts += coco_mask.frPyObjects([p.tolist() for p in self.polygons], self.height, self.width)
        if not parts:
            return np.zeros((self.height, self.width), bool)
        return coco_mask.decode(coco_mask.merge(parts)).astype(bool)

    @property
    def overhang(self) -> float:
        """By how many pixels the polygons reach outside of the image, where they are cut."""
        end = np.array([self.width, self.height])
        points = [p.reshape(-1, 2) for p in self.polygons]
        return max((float(max(-p.min(), (p - end).max(), 0)) for p in points), default=0.0)


def read_segmentation(segmentation: Any, height: int, width: int) -> Segmentation:
    """Check COCO's ``segmentation``.

    Args:
        segmentation (Any): Polygons, one flat polygon, an RLE (compressed or not), or a list of RLEs.
        height (int): Of the image.
        width (int): Of the image.

    Returns:
        Segmentation: Ready to be painted.

    Raises:
        AnnotationError: When it is something else, or its numbers cannot be those of an image of this size.
    """
    if isinstance(segmentation, Mapping):
        return Segmentation(height, width, rles=(read_rle(segmentation, height, width),))
    if not isinstance(segmentation, (list, tuple)) or not segmentation:
        raise AnnotationError(f'its segmentation is {_short(segmentation)}; {_WANTED}')
    parts = list(segmentation)
    if all(isinstance(part, Mapping) for part in parts):
        return Segmentation(height, width, rles=tuple(read_rle(part, height, width) for part in parts))
    if not any(isinstance(part, (list, tuple, Mapping)) for part in parts):
        parts = [parts]  # a single polygon without the list around it
    if not all(isinstance(part, (list, tuple)) for part in parts):
        raise AnnotationError(f'its segmentation is {_short(segmentation)}; {_WANTED}')
    if len(parts) >= 3 and all(len(part) == 2 for part in parts):
        parts = [parts]  # one polygon of pairs
    polygons = []
    for part in parts:
        if part and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in part):
            part = [value for pair in part for value in pair]
        polygons.append(finite_numbers(part, 'a polygon'))
        if len(part) % 2:
            raise AnnotationError('a polygon has an odd number of values; it is x, y, x, y, ...')
    # pycocotools takes four numbers for a box.
    whole = tuple(p for p in polygons if len(p) >= 6)
    check_extent(whole, height, width)
    return Segmentation(height, width, polygons=whole, dropped=len(polygons) - len(whole))


def looks_normalised(regions: Iterable[Segmentation]) -> bool:
    """Whether there are polygons and none reaches beyond 1: shares of the size that were taken for pixels."""
    polygons = [p for region in regions for p in region.polygons]
    return bool(polygons) and all(p.max() <= 1 for p in polygons)


def check_extent(polygons: Sequence[np.ndarray], height: int, width: int) -> None:
    """Refuse polygons (2N,) that cannot belong to an image of this size.

    Raises:
        AnnotationError: When a corner is further from the image than the image is large, or nothing lies inside.
    """
    if not polygons:
        return
    points = np.concatenate([p.reshape(-1, 2) for p in polygons])
    far = max(height, width)
    beyond = (points < -far).any(1) | (points > np.array([width, height]) + far).any(1)
    if beyond.any():
        x, y = points[beyond][0]
        raise AnnotationError(f'the corner ({x:g}, {y:g}) lies far outside of its image of {width}x{height} pixels')
    low, high = points.min(0), points.max(0)
    if (high < 0).any() or low[0] > width or low[1] > height:
        raise AnnotationError(
            f'it lies outside of its image of {width}x{height} pixels, at ({low[0]:g}, {low[1]:g}) to '
            f'({high[0]:g}, {high[1]:g})'
        )


def read_rle(rle: Mapping, height: int, width: int) -> dict:
    """Check an RLE and give it as pycocotools' own.

    Args:
        rle (Mapping): ``size`` (height, width) and ``counts``, a list of runs or COCO's compressed text.
        height (int): Of the image.
        width (int): Of the image.

    Returns:
        dict: Compressed, for pycocotools.

    Raises:
        AnnotationError: When its size is another one, or its runs are no runs of this image.
    """
    if 'size' not in rle or 'counts' not in rle:
        raise AnnotationError(f'its segmentation is a dict of {sorted(map(str, rle))}; {_WANTED}')
    size = finite_numbers(rle['size'], 'the size of its RLE').tolist()
    if size != [height, width]:
        swapped = '; height stands before width' if size == [width, height] else ''
        shown = [int(v) if v == int(v) else v for v in size]
        raise AnnotationError(f'its size is {shown}, the image has {[height, width]} (height, width){swapped}')
    counts = rle['counts']
    runs = _runs_of_text(counts) if isinstance(counts, (str, bytes)) else finite_numbers(counts, 'its RLE')
    if (runs < 0).any() or (runs != np.floor(runs)).any():
        bad = runs[(runs < 0) | (runs != np.floor(runs))][0]
        raise AnnotationError(f'its RLE holds a run of {bad:g} pixels; runs are whole numbers from 0')
    total = int(runs.sum())
    if total != height * width:
        raise AnnotationError(
            f'the runs of its RLE add up to {total} pixels, its image of {width}x{height} has {height * width}'
        )
    return coco_mask.frPyObjects(dict(size=[height, width], counts=runs.astype(int).tolist()), height, width)


def _runs_of_text(text: str | bytes) -> np.ndarray:
    """The runs of COCO's compressed text, (N,) float; pycocotools reads beyond the end of a text that is cut off."""
    data = text.encode('latin-1', 'replace') if isinstance(text, str) else bytes(text)
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48  # six bits a character
    if not len(codes) or codes.min() < 0 or codes.max() > 63:
        raise AnnotationError('the text of its RLE is not the one of COCO: it holds other characters, or none')
    last = (codes & 32) == 0  # bit 5: the number goes on
    if not last[-1]:
        raise AnnotationError('the text of its RLE is cut off')
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        raise AnnotationError('the text of its RLE holds a number that no image has pixels for')
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, 1 << (5 * lengths), 0)  # the sign
    for first in (1, 2):  # from the fourth run on, differences to the run before the last
        values[first::2] = np.cumsum(values[first::2])
    return values.astype(float)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
