# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What lies around and in front of the objects: noise, patterned areas, blobs, lines, occluders.

Colours come from the same ranges as the objects' and areas may carry the classes' patterns, so
neither a colour nor "there is a pattern" marks an object.
"""

import cv2
import numpy as np

from .drawing import (
    Canvas,
    coverage,
    hsv,
    paint,
    project,
    random_pose,
    two_colours,
    unit_coordinates,
)
from .patterns import PATTERNS
from .silhouettes import blob, block


def fractal_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise (size, size) float32, about 0..1, with a random share of coarse and fine grain."""
    roughness, total, weight = rng.uniform(0.45, 0.85), np.zeros((size, size), np.float32), 0.0
    for octave, cells in enumerate((3, 6, 12, 24, 48)):
        grid = rng.random((cells, cells), dtype=np.float32)
        total += roughness**octave * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        weight += roughness**octave
    return np.clip((total / weight - 0.5) * 2.2 + 0.5, 0, 1)


def paint_background(rng: np.random.Generator, canvas: Canvas) -> None:
    """Fills the canvas, in place."""
    size = canvas.size
    colours = [hsv(rng.uniform(0, 360), rng.uniform(0.05, 0.7), rng.uniform(0.25, 0.95)) for _ in range(3)]
    noise = fractal_noise(rng, size)[..., None]
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    gradient = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0, 1)[..., None]
    canvas.image[:] = (1 - noise) * colours[0] + noise * ((1 - gradient) * colours[1] + gradient * colours[2])
    for _ in range(rng.integers(1, 4)):
        _paint_area(rng, canvas)
    for _ in range(rng.integers(3, 9)):
        _paint_blob(rng, canvas, scale=rng.uniform(0.02, 0.08))
    for _ in range(rng.integers(2, 9)):
        _paint_line(rng, canvas, width=rng.uniform(0.005, 0.025))


def paint_occluders(rng: np.random.Generator, canvas: Canvas) -> None:
    """Puts up to three thin or small things in front; what they hide becomes background."""
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.4, 0.3, 0.2, 0.1])):
        if rng.random() < 0.5:
            _paint_line(rng, canvas, width=rng.uniform(0.015, 0.04), label=0)
        else:
            _paint_blob(rng, canvas, scale=rng.uniform(0.03, 0.07), label=0)


def _random_zoom(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Homography (3, 3): a random pose of ``scale`` image sides per unit anywhere in the image."""
    x, y = rng.uniform(0, size, 2)
    return np.array([[scale * size, 0, x], [0, scale * size, y], [0, 0, 1]]) @ random_pose(rng, 180)


def _paint_area(rng: np.random.Generator, canvas: Canvas) -> None:
    """A large half-transparent area, often with a pattern: cloth, wall, floor."""
    matrix = _random_zoom(rng, canvas.size, rng.uniform(0.25, 0.6))
    alpha = coverage([project(block(rng)[0], matrix)], canvas.size)
    colour, second = two_colours(rng)
    if rng.random() < 0.45:
        u, v = unit_coordinates(canvas.size, matrix)
        names = list(PATTERNS)
        field = PATTERNS[names[rng.integers(len(names))]](rng, u, v, rng.uniform(0.12, 0.4))
        colour = colour + rng.uniform(0.15, 0.5) * field[..., None].astype(np.float32) * (second - colour)
    paint(
        canvas,
        cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.3, 2.5)) * rng.uniform(0.4, 0.9),
        colour,
        None,
    )


def _paint_blob(rng: np.random.Generator, canvas: Canvas, scale: float, label: int | None = None) -> None:
    outline = (blob if rng.random() < 0.6 else block)(rng)[0]
    alpha = coverage([project(outline, _random_zoom(rng, canvas.size, scale))], canvas.size)
    paint(canvas, alpha, two_colours(rng)[0], label)


def _paint_line(rng: np.random.Generator, canvas: Canvas, width: float, label: int | None = None) -> None:
    """A slightly curved band across a part of the image; ``width`` in image sides."""
    start, end = rng.uniform(-0.1, 1.1, (2, 2)) * canvas.size
    t = np.linspace(0, 1, 12)[:, None]
    across = np.array([start[1] - end[1], end[0] - start[0]]) / (np.linalg.norm(end - start) + 1e-6)
    middle = start + t * (end - start) + rng.uniform(-0.12, 0.12) * canvas.size * np.sin(np.pi * t) * across
    half = 0.5 * max(width * canvas.size, 1.0) * across
    alpha = coverage([np.concatenate([middle + half, (middle - half)[::-1]])], canvas.size)
    paint(canvas, alpha, two_colours(rng)[0], label)
