# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Silhouettes: closed polygons in the unit plane (x right, y up, about -1..1), new at every draw.

Every function takes a ``numpy.random.Generator`` and returns a list of contours, each (N, 2)
float64, to be filled by the even-odd rule (a second contour inside the first is a hole).
"""

from collections.abc import Callable

import numpy as np

Contours = list[np.ndarray]


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _angles(count: int) -> np.ndarray:
    return np.linspace(0, 2 * np.pi, count, endpoint=False)


def _mirrored(right: list[tuple[float, float]]) -> np.ndarray:
    """Closes a right half outline, given from top to bottom, with its mirror image."""
    half = np.array(right, dtype=np.float64)
    return np.concatenate([half, half[::-1] * [-1, 1]])


def star(rng: np.random.Generator) -> Contours:
    points = int(rng.integers(5, 7))
    angle = _angles(2 * points) + np.pi / 2
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, rng.uniform(0.42, 0.58))
    return [_polar(radius, angle)]


def gear(rng: np.random.Generator) -> Contours:
    teeth, depth = int(rng.integers(7, 11)), rng.uniform(0.18, 0.28)
    angle = _angles(240)
    radius = 1 - depth * (0.5 - 0.5 * np.tanh(4 * np.sin(teeth * angle)))
    return [_polar(radius, angle), _polar(np.full(48, rng.uniform(0.2, 0.36)), _angles(48))]


def leaf(rng: np.random.Generator) -> Contours:
    y = np.linspace(1, -0.75, 40)
    width = rng.uniform(0.45, 0.65) * np.sin(np.pi * (1 - y) / 1.75) ** rng.uniform(0.7, 1.1)
    width *= 1 + rng.uniform(0.05, 0.13) * np.sign(np.sin(18 * y))  # serrated edge
    stem = [(0.07, -0.7), (0.06, -1.05)]
    return [_mirrored([*zip(width, y, strict=True)][:-1] + stem)]


def fish(rng: np.random.Generator) -> Contours:
    x = np.linspace(-0.95, 0.45, 30)
    upper = rng.uniform(0.42, 0.6) * np.sin(np.pi * (x + 0.95) / 1.55) ** 0.75
    tail = rng.uniform(0.4, 0.6)
    fin = upper + np.where(np.abs(x + 0.15) < 0.22, rng.uniform(0.1, 0.25), 0.0)
    top = [*zip(x, fin, strict=True)]
    bottom = [*zip(x[::-1], -upper[::-1], strict=True)]
    return [np.array([*top, (1.0, tail), (0.8, 0.0), (1.0, -tail), *bottom])]


def mushroom(rng: np.random.Generator) -> Contours:
    angle = np.linspace(np.pi / 2, 0, 20)
    height, stem = rng.uniform(0.8, 1.0), rng.uniform(0.22, 0.36)
    cap = [*zip(0.95 * np.cos(angle), height * np.sin(angle), strict=True)]
    return [_mirrored([*cap, (0.9, -0.12), (stem, -0.08), (stem * 1.25, -0.95)])]


def crescent(rng: np.random.Generator) -> Contours:
    opening = rng.uniform(0.75, 1.0)
    outer = _polar(np.ones(60), np.linspace(opening, 2 * np.pi - opening, 60))
    tip = outer[0]
    reach = rng.uniform(0.12, 0.34)  # x of the inner arc's left end is -reach
    radius = ((tip[0] + reach) ** 2 + tip[1] ** 2) / (2 * (tip[0] + reach))
    centre = radius - reach
    end = np.arctan2(tip[1], tip[0] - centre)
    inner = _polar(np.full(40, radius), np.linspace(2 * np.pi - end, end, 40)) + [centre, 0]
    return [np.concatenate([outer, inner]) + [0.2, 0]]


def heart(rng: np.random.Generator) -> Contours:
    t = _angles(90)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [np.stack([x / 16 * rng.uniform(0.85, 1.05), (y + 2.5) / 16], axis=1)]


def butterfly(rng: np.random.Generator) -> Contours:
    low = rng.uniform(0.5, 0.75)
    return [
        _mirrored(
            [
                (0.05, 0.45),
                (0.2, 0.5),
                (0.5, 0.85),
                (0.85, 0.95),
                (1.0, 0.7),
                (0.9, 0.35),
                (0.55, 0.08),
                (0.28, 0.0),
                (0.55, -0.08),
                (low + 0.1, -0.35),
                (low, -0.75),
                (0.42, -0.85),
                (0.2, -0.6),
                (0.07, -0.35),
                (0.05, -0.7),
            ]
        )
    ]


def pine(rng: np.random.Generator) -> Contours:
    tiers, outline = int(rng.integers(3, 5)), [(0.0, 1.0)]
    bottoms = np.linspace(1.0, -0.7, tiers + 1)[1:]
    for tier, y in enumerate(bottoms):
        width = 0.35 + 0.45 * (tier + 1) / tiers
        outline += [(width, y), (width * rng.uniform(0.4, 0.5), y + 0.04)]
    return [_mirrored([*outline, (0.14, -0.68), (0.14, -1.0)])]


def bottle(rng: np.random.Generator) -> Contours:
    body, neck, shoulder = rng.uniform(0.36, 0.5), rng.uniform(0.13, 0.2), rng.uniform(0.05, 0.35)
    return [
        _mirrored(
            [
                (neck * 1.3, 1.0),
                (neck * 1.3, 0.88),
                (neck, 0.86),
                (neck, shoulder + 0.3),
                (body * 0.8, shoulder + 0.12),
                (body, shoulder - 0.08),
                (body, -0.9),
                (body * 0.85, -1.0),
            ]
        )
    ]


def blob(rng: np.random.Generator) -> Contours:
    """No class: a smooth random closed curve, for clutter and decoys."""
    angle = _angles(72)
    radius = np.full(72, 0.75)
    for order in range(2, 6):
        radius += rng.uniform(0, 0.35 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return [_polar(radius, angle)]


def block(rng: np.random.Generator) -> Contours:
    """No class: a convex polygon with 3-6 corners, for clutter and decoys."""
    corners = int(rng.integers(3, 7))
    angle = _angles(corners) + rng.uniform(-0.25, 0.25, corners)
    return [_polar(rng.uniform(0.75, 1.0, corners), angle)]


SILHOUETTES: dict[str, Callable[[np.random.Generator], Contours]] = {
    f.__name__: f for f in (star, gear, leaf, fish, mushroom, crescent, heart, butterfly, pine, bottle)
}
NEUTRAL_SILHOUETTES: tuple[Callable[[np.random.Generator], Contours], ...] = (blob, block)
