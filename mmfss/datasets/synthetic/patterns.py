# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Surface patterns: scalar fields 0..1 over the unit plane, mixing a body and a pattern colour.

Every function takes a ``numpy.random.Generator``, the coordinates ``u`` and ``v`` (same shape) and
the ``period`` (in units of the plane), and returns an array of the coordinates' shape. Edges are
soft (about a seventh of a period).
"""

from collections.abc import Callable

import numpy as np

TAU = 2 * np.pi


def _soft(x: np.ndarray, gain: float = 3.0) -> np.ndarray:
    """Soft threshold at 0: 0 below, 1 above."""
    return 0.5 + 0.5 * np.tanh(gain * x)


def _line(x: np.ndarray, period: float, half_width: float) -> np.ndarray:
    """Closeness to the lines x = n * period: positive within ``half_width`` (in periods)."""
    return half_width - np.abs(x / period - np.round(x / period))


def striped(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    return _soft(np.sin(TAU * u / period) + rng.uniform(-0.3, 0.3))


def dotted(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    period = 1.15 * period
    return _soft(np.cos(TAU * u / period) + np.cos(TAU * v / period) - rng.uniform(0.35, 0.8))


def checkered(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    phase = rng.uniform(0, TAU, 2)
    side = 0.75 * period
    return _soft(4 * np.sin(np.pi * u / side + phase[0]) * np.sin(np.pi * v / side + phase[1]))


def ringed(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    return _soft(np.sin(TAU * np.hypot(u, v) / period + rng.uniform(0, TAU)))


def marbled(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    return _soft(1.5 * waves(rng, u, v, 1.9 * period) + rng.uniform(-0.3, 0.3))


def netted(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    period, width = 1.1 * period, rng.uniform(0.12, 0.17)
    closeness = np.maximum(_line(u + v, 1.41 * period, width), _line(u - v, 1.41 * period, width))
    return _soft(closeness, 14)


def zigzag(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    length = rng.uniform(1.6, 2.2) * period
    ramp = 2 * np.abs(u / length - np.round(u / length))  # 0..1..0 over one length
    return _soft(np.sin(TAU * (v / period + ramp)))


def rayed(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    count = int(np.clip(np.round(3.2 / period), 6, 11))
    return _soft(np.sin(count * np.arctan2(v, u) + rng.uniform(0, TAU)))


def swirled(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    arms, turn = int(rng.integers(3, 5)), rng.choice([-1, 1])
    return _soft(np.sin(arms * turn * np.arctan2(v, u) + TAU * np.hypot(u, v) / (1.6 * period)))


def scaly(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    disc, rim = (
        1.05 * period,
        rng.uniform(0.62, 0.74),
    )  # overlapping discs, every second row shifted by half a disc
    row = np.round(v / disc)
    distance = np.ones(u.shape)
    for step in (1, 0, -1):  # the front disc is laid last
        x = u / (2 * disc) + 0.5 * ((row + step) % 2)
        reach = np.hypot(2 * (x - np.round(x)), v / disc - (row + step)) / 1.05
        distance = np.where(reach < 1, reach, distance)
    return _soft(distance - rim, 8)


def waves(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, length: float, count: int = 7) -> np.ndarray:
    """Smooth isotropic noise of unit variance: a sum of plane waves of about ``length``."""
    total = np.zeros(u.shape)
    for angle, phase, scale in zip(
        rng.uniform(0, TAU, count),
        rng.uniform(0, TAU, count),
        rng.uniform(0.7, 1.4, count),
        strict=True,
    ):
        total += np.sin(TAU * (u * np.cos(angle) + v * np.sin(angle)) / (length * scale) + phase)
    return total / np.sqrt(count / 2)


PATTERNS: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray, float], np.ndarray]] = {
    f.__name__: f for f in (striped, dotted, checkered, ringed, marbled, netted, zigzag, rayed, swirled, scaly)
}
