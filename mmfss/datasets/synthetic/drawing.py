# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Poses, colours and anti-aliased painting of one object onto a canvas."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmfss.datasets.input_checks import IGNORE

from .silhouettes import Contours

SUBPIXEL_BITS = 4
# An edge pixel is void when neither side has three quarters of it, as the border in PASCAL VOC.
SURE = 0.75


@dataclass
class Canvas:
    """A picture being painted.

    Args:
        image (np.ndarray): (H, W, 3) float32, RGB, 0..1.
        label (np.ndarray): (H, W) uint8 class ids, 0 background, 255 void.
    """

    image: np.ndarray
    label: np.ndarray

    @property
    def size(self) -> int:
        return self.image.shape[0]


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour (3,) float32, RGB 0..1, of a hue in degrees."""
    k = (np.array([5.0, 3.0, 1.0]) + hue / 60.0) % 6.0
    return (value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))).astype(np.float32)


def luminance(colour: np.ndarray) -> float:
    return float(colour @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def two_colours(rng: np.random.Generator, hue: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Body and pattern colour, each (3,) float32, far enough apart for the pattern to show.

    Args:
        rng (np.random.Generator): Source of randomness.
        hue (float, optional): Degrees the body's hue scatters around (one draw in seven ignores it); ``None`` for
            any hue.
    """
    while True:
        free = hue is None or rng.random() < 0.15
        body = hsv(
            rng.uniform(0, 360) if free else rng.normal(hue, 24.0),
            rng.uniform(0.15, 0.85),
            rng.uniform(0.3, 1),
        )
        pattern = hsv(rng.uniform(0, 360), rng.uniform(0.0, 0.75), rng.uniform(0.1, 1.0))
        if 0.28 < abs(luminance(body) - luminance(pattern)) < 0.6:
            return body, pattern


def random_pose(rng: np.random.Generator, max_turn: float = 50.0) -> np.ndarray:
    """A turn, stretch, shear and tilt: homography (3, 3) from the unit plane (y up) to y down."""
    turn = np.deg2rad(rng.uniform(-max_turn, max_turn))
    stretch = np.exp(rng.uniform(-0.16, 0.16))
    affine = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    affine = affine @ [[stretch, rng.uniform(-0.22, 0.22)], [0, 1 / stretch]] @ np.diag([rng.choice([-1, 1]), -1])
    pose = np.eye(3)
    pose[:2, :2] = affine
    pose[2, :2] = rng.uniform(-0.2, 0.2, 2)
    return pose


def bend(rng: np.random.Generator, contours: Contours) -> Contours:
    """A gentle warp, so that no two objects of a class are equal up to a homography."""
    amplitude, phase = rng.uniform(0, 0.09, 2), rng.uniform(0, 2 * np.pi, 2)
    return [
        np.stack(
            [
                c[:, 0] + amplitude[0] * np.sin(2.5 * c[:, 1] + phase[0]),
                c[:, 1] + amplitude[1] * np.sin(2.5 * c[:, 0] + phase[1]),
            ],
            axis=1,
        )
        for c in contours
    ]


def project(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (N, 2) through a homography (3, 3): (N, 2)."""
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped[:, :2] / mapped[:, 2:]


def area(contours: Contours) -> float:
    """Area inside contours by the even-odd rule, for a first contour with holes."""
    areas = [abs(cv2.contourArea(c.astype(np.float32))) for c in contours]
    return areas[0] - sum(areas[1:])


def coverage(contours: Contours, size: int) -> np.ndarray:
    """Anti-aliased coverage (size, size) float32, 0..1, of contours in pixel coordinates."""
    fixed = [np.round(c * 2**SUBPIXEL_BITS).astype(np.int32) for c in contours]
    filled = np.zeros((size, size), dtype=np.uint8)
    cv2.fillPoly(filled, fixed, 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    return filled.astype(np.float32) / 255


def unit_coordinates(size: int, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit-plane coordinates u, v, each (size, size), of all pixels under a homography."""
    y, x = np.mgrid[:size, :size]
    points = project(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64), np.linalg.inv(matrix))
    return points[:, 0].reshape(size, size), points[:, 1].reshape(size, size)


def paint(canvas: Canvas, alpha: np.ndarray, colour: np.ndarray, label: int | None) -> None:
    """Lays a colour over the canvas, in place.

    Args:
        canvas (Canvas): Where to paint.
        alpha (np.ndarray): (H, W) float32 coverage, 0..1.
        colour (np.ndarray): (3,) or (H, W, 3) float32, RGB.
        label (int, optional): Class id the object leaves in the label map; 0 hides what lies below; ``None`` leaves
            labels alone.
    """
    canvas.image += alpha[..., None] * (colour - canvas.image)
    if label is None:
        return
    edge = (alpha > 1 - SURE) & (alpha < SURE)
    # An edge between two surfaces of the same label is no edge.
    canvas.label[edge & (canvas.label != label)] = IGNORE
    canvas.label[alpha >= SURE] = label


def cast_shadow(canvas: Canvas, alpha: np.ndarray, offset: tuple[float, float], strength: float) -> None:
    """Darkens the canvas, in place, ``offset`` (x, y) pixels from a coverage ``alpha`` (H, W)."""
    move = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], dtype=np.float32)
    shade = cv2.GaussianBlur(cv2.warpAffine(alpha, move, alpha.shape[::-1]), (0, 0), 0.012 * canvas.size + 0.5)
    canvas.image *= 1 - strength * shade[..., None]
