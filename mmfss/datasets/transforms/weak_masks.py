# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Weak supports: what an annotator gives who has seconds, not minutes: boxes, scribbles, points.

All are made from the support's mask, of each connected component on its own, at the image's original size.
"""

import heapq
from collections.abc import Iterator

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmfss.registry import TRANSFORMS

from ..protocols import KeyedRandom

KINDS = ('mask', 'box', 'scribble', 'point')
_STROKE_SIDE = 48  # a stroke is planned on a component shrunk to so many pixels


def components(foreground: np.ndarray, min_share: float = 0) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Connected components (8 neighbours) of (h, w) bool: the box around each, and the component in it.

    Components below ``min_share`` of the largest one's area are passed over.
    """
    number, labels, stats, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8), connectivity=8)
    largest = stats[1:, cv2.CC_STAT_AREA].max(initial=0)
    for i in range(1, number):
        if stats[i, cv2.CC_STAT_AREA] < min_share * largest:
            continue
        x, y, w, h = (int(v) for v in stats[i, :4])
        box = (slice(y, y + h), slice(x, x + w))
        yield box, labels[box] == i


def draw_boxes(foreground: np.ndarray) -> np.ndarray:
    """The box of each component, filled: (h, w) bool. Source: BAM's support annotation 'bbox'."""
    drawn = np.zeros_like(foreground)
    for box, _ in components(foreground):
        drawn[box] = True
    return drawn


def draw_points(foreground: np.ndarray, draw: KeyedRandom, radius: int, min_share: float = 0) -> np.ndarray:
    """A click inside each component, a disc of ``radius`` pixels that stays in it: (h, w) bool."""
    drawn = np.zeros_like(foreground)
    for box, part in components(foreground, min_share):
        row, column = _inner_pixel(_depth(part), draw)
        disc = cv2.circle(np.zeros(part.shape, np.uint8), (column, row), radius, 1, -1)
        drawn[box] |= (disc == 1) & part
    return drawn


def draw_scribbles(foreground: np.ndarray, draw: KeyedRandom, width: int, min_share: float = 0) -> np.ndarray:
    """A stroke through each component, ``width`` pixels wide, that stays in it: (h, w) bool.

    It runs from a random place to the farthest one, along the middle of what it passes.
    """
    drawn = np.zeros_like(foreground)
    for box, part in components(foreground, min_share):
        scale = min(1.0, _STROKE_SIDE / max(part.shape))
        small = part
        if scale < 1:
            size = [max(1, round(side * scale)) for side in part.shape[::-1]]
            share = cv2.resize(part.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            small = share >= min(0.5, share.max())
        path = _middle_path(small, _inner_pixel(_depth(small), draw))
        ends = [
            ((c + 0.5) * part.shape[1] / small.shape[1], (r + 0.5) * part.shape[0] / small.shape[0]) for r, c in path
        ]
        line = cv2.polylines(
            np.zeros(part.shape, np.uint8), [np.array(ends, np.int32).reshape(-1, 1, 2)], False, 1, width
        )
        stroke = (line == 1) & part
        if not stroke.any():  # shrinking moved the path of a very thin component off it
            stroke[_inner_pixel(_depth(part), draw)] = True
        drawn[box] |= stroke
    return drawn


def _depth(part: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the outside of the component, pixels; the frame counts as outside."""
    return cv2.distanceTransform(np.pad(part.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]


def _inner_pixel(depth: np.ndarray, draw: KeyedRandom) -> tuple[int, int]:
    """A random pixel at least half as deep as the deepest one."""
    inside = np.flatnonzero(depth >= depth.max() / 2)
    row, column = divmod(int(inside[draw.index(len(inside))]), depth.shape[1])
    return row, column


def _middle_path(part: np.ndarray, start: tuple[int, int]) -> list[tuple[int, int]]:
    """The path from ``start`` to the farthest pixel reached that is not at the very edge.

    Dijkstra's, with steps that cost less the deeper they lie.
    """
    depth = _depth(part)
    best, origin, queue = {start: 0.0}, {}, [(0.0, 0, start)]
    steps = {start: 0}
    while queue:
        cost, length, (row, column) = heapq.heappop(queue)
        if cost > best[row, column]:
            continue
        for r, c in ((row + a, column + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b):
            if 0 <= r < part.shape[0] and 0 <= c < part.shape[1] and part[r, c]:
                further = cost + float(np.hypot(r - row, c - column)) / float(depth[r, c]) ** 2
                if further < best.get((r, c), np.inf):
                    best[r, c], origin[r, c], steps[r, c] = further, (row, column), length + 1
                    heapq.heappush(queue, (further, length + 1, (r, c)))
    middle = [pixel for pixel in best if depth[pixel] >= depth.max() / 3]
    path = [max(middle, key=lambda pixel: (steps[pixel], pixel))]
    while path[-1] != start:
        path.append(origin[path[-1]])
    return path


@TRANSFORMS.register_module()
class WeakAnnotation(BaseTransform):
    """Put a box, a scribble or a point in the place of a support's mask.

    Belongs right behind ``LoadFewShotAnnotations`` in a support pipeline; ``EpisodicDataset(support_annotation='box')``
    puts it there. Only label 1 of ``gt_seg_map`` changes: what the weak annotation does not cover becomes 0, what it
    covers besides the object 1, and 255 stays 255 (as BAM does with boxes).

    In an evaluation the strokes and clicks follow from the episode alone (key ``annotation_seed``, set by
    EpisodicDataset); in training they are drawn anew each time from NumPy's global state.

    Args:
        kind (str): 'mask' (no change), 'box', 'scribble' or 'point'.
        width (int): Width of a scribble in pixels of the original image. Defaults to 5.
        radius (int): Radius of a point in pixels of the original image. Defaults to 5.
        min_share (float): Scribbles and points pass over components below this share of the largest one's area: nobody
            clicks the specks that masks have beside their objects. Boxes are drawn of all. Defaults to 0.05.

    Raises:
        ValueError: When the kind is unknown, or the image is a query, whose mask is the ground truth.
    """

    def __init__(self, kind: str = 'box', width: int = 5, radius: int = 5, min_share: float = 0.05) -> None:
        if kind not in KINDS:
            raise ValueError(f'WeakAnnotation: `kind` is {kind!r}; it must be one of {KINDS}.')
        if width < 1 or radius < 0:
            raise ValueError(f'WeakAnnotation needs width >= 1 and radius >= 0; they are {width} and {radius}.')
        if not 0 <= min_share <= 1:
            raise ValueError(f'WeakAnnotation: `min_share` is a share, 0 to 1; it is {min_share}.')
        self.kind, self.width, self.radius, self.min_share = kind, width, radius, min_share

    def transform(self, results: dict) -> dict:
        if 'support_paths' in results:
            raise ValueError(
                "WeakAnnotation is for supports: a query's mask is what predictions are scored with. Take it out "
                'of `query_pipeline`.'
            )
        if self.kind == 'mask':
            return results
        seed = results.get('annotation_seed')
        draw = KeyedRandom(int(np.random.randint(2**31)) if seed is None else seed, purpose=3)
        labels = results['gt_seg_map']
        foreground = labels == 1
        if self.kind == 'box':
            weak = draw_boxes(foreground)
        elif self.kind == 'scribble':
            weak = draw_scribbles(foreground, draw, self.width, self.min_share)
        else:
            weak = draw_points(foreground, draw, self.radius, self.min_share)
        results['gt_seg_map'] = np.where(labels == 255, labels, weak).astype(labels.dtype)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(kind={self.kind!r}, width={self.width}, radius={self.radius})'
