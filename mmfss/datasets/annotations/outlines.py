# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Outlines of a mask as polygons that an annotation tool can edit, holes included."""

import cv2
import numpy as np

from .objects import paint_polygons

SCALE = 4  # the mask is enlarged, so that an outline runs along the edges of pixels and not through their centres
SMOOTH = (1.0, 0.5, 0.0)  # pixels by which an outline may be off, the coarsest that is good enough is taken
GOOD = 0.97  # IoU of an object's outline with its mask
TINY = 16  # pixels; nothing is gained by fewer corners below


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons (N, 2) of x, y in pixels, one for each separate part of a mask.

    A hole is cut in by a pair of lines from the outline to it, since neither labelme nor YOLO knows holes: any way of
    filling polygons leaves it open.

    Args:
        mask (np.ndarray): (H, W) bool.

    Returns:
        list: Few corners where that is close, else the exact outline.
    """
    H, W = mask.shape
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    found = []
    for number in range(1, count):
        left, top, w, h, area = stats[number]
        part = parts[top : top + h, left : left + w] == number
        for tolerance in SMOOTH if area > TINY else (0.0,):
            outline = _outline(part, tolerance)
            if len(outline) < 3:
                continue
            painted = paint_polygons([(outline + 1).reshape(-1)], h + 2, w + 2)[1:-1, 1:-1]
            if tolerance == 0 or (painted & part).sum() >= GOOD * (painted | part).sum():
                break
        found.append(outline + (left, top))
    return [np.clip(outline, 0, (W, H)) for outline in found]


def _outline(part: np.ndarray, tolerance: float) -> np.ndarray:
    """One polygon (N, 2) of a connected mask (h, w), in its pixels."""
    large = np.kron(np.pad(part, 1), np.ones((SCALE, SCALE), bool)).astype(np.uint8)
    contours, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = []
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True):
        smooth = cv2.approxPolyDP(contour, tolerance * SCALE, True) if tolerance else contour
        ring = (smooth[:, 0].astype(float) + 0.5) / SCALE - 1
        if len(ring) >= 3:
            rings.append((parent >= 0, ring))
    outer = next((ring for is_hole, ring in rings if not is_hole), np.zeros((0, 2)))
    for is_hole, ring in sorted(rings, key=lambda item: item[1][:, 0].min()):
        if is_hole and len(outer):
            outer = _cut_in(outer, ring)
    return outer


def _cut_in(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The outline with a hole, reached from its nearest corner and left the same way."""
    distances = ((outer[:, None] - hole[None]) ** 2).sum(-1)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    around = np.concatenate([hole[j:], hole[: j + 1]])
    return np.concatenate([outer[: i + 1], around, outer[i:]])
