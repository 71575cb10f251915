# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""One image of the generated data set: clutter, objects of some classes, decoys, light."""

from dataclasses import dataclass

import cv2
import numpy as np

from .background import paint_background, paint_occluders
from .camera import photograph
from .catalog import SHAPE_CLASSES
from .drawing import (
    Canvas,
    area,
    bend,
    cast_shadow,
    coverage,
    paint,
    project,
    random_pose,
    two_colours,
    unit_coordinates,
)
from .patterns import PATTERNS
from .silhouettes import NEUTRAL_SILHOUETTES, SILHOUETTES, Contours

MIN_CLASS_AREA = 0.02  # of the image, of every class in it; fewer pixels could not be learnt from
MAX_OVERLAP = 0.2  # of the smaller of two objects
MIN_IN_FRAME = 0.75
TYPICAL_RADIUS = 0.17  # of the image's side, half the extent of an object
ATTEMPTS = 60


@dataclass(frozen=True)
class Thing:
    """What to draw: a silhouette in the unit plane, a pattern (``None``: plain), a hue, a label."""

    contours: Contours
    pattern: str | None
    hue: float | None
    label: int


def render_scene(
    rng: np.random.Generator, class_ids: tuple[int, ...], size: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one image that shows the given classes and no other.

    Args:
        rng (np.random.Generator): Source of all randomness: equal states give equal images.
        class_ids (tuple[int, ...]): Distinct class ids, 1..20.
        size (int): Side of the square image in pixels.

    Returns:
        The image (size, size, 3) uint8 RGB and the label map (size, size) uint8: 0 background,
        255 void edges.

    Raises:
        RuntimeError: When no layout was found that shows every class (too many classes for the size).
    """
    for _ in range(ATTEMPTS):
        canvas = Canvas(np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.uint8))
        paint_background(rng, canvas)
        _paint_things(rng, canvas, _choose_things(rng, class_ids), _target_areas(rng, class_ids))
        paint_occluders(rng, canvas)
        shares = np.bincount(canvas.label.ravel(), minlength=256) / canvas.label.size
        if all(shares[c] >= MIN_CLASS_AREA for c in class_ids):
            return photograph(rng, canvas.image), canvas.label
    raise RuntimeError(f'no layout of {size}x{size} pixels found for the classes {class_ids}; use a larger size')


def _target_areas(rng: np.random.Generator, class_ids: tuple[int, ...]) -> dict[int, float]:
    """Share of the image each class should cover, less when several share it; 0 is for decoys."""
    largest = {1: 0.28, 2: 0.2, 3: 0.14}.get(len(class_ids), 0.3 / len(class_ids))
    return {c: float(np.exp(rng.uniform(np.log(0.06), np.log(largest)))) for c in (0, *class_ids)}


def _choose_things(rng: np.random.Generator, class_ids: tuple[int, ...]) -> list[Thing]:
    things = []
    for class_id in class_ids:
        shape = SHAPE_CLASSES[class_id - 1]
        for _ in range(rng.choice([1, 2, 3], p=[0.62, 0.28, 0.1])):
            things.append(Thing(SILHOUETTES[shape.silhouette](rng), shape.pattern, shape.hue, class_id))
    things += [_decoy(rng) for _ in range(rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2]))]
    rng.shuffle(things)
    return things


def _decoy(rng: np.random.Generator) -> Thing:
    """An object of no class: a silhouette without its pattern, or a pattern on a neutral one."""
    shape = SHAPE_CLASSES[rng.integers(len(SHAPE_CLASSES))]
    if rng.random() < 0.4:
        return Thing(SILHOUETTES[shape.silhouette](rng), None, shape.hue, 0)
    neutral = NEUTRAL_SILHOUETTES[rng.integers(len(NEUTRAL_SILHOUETTES))]
    return Thing(neutral(rng), shape.pattern if rng.random() < 0.6 else None, shape.hue, 0)


def _paint_things(rng: np.random.Generator, canvas: Canvas, things: list[Thing], areas: dict[int, float]) -> None:
    light = rng.uniform(-0.035, 0.035, 2) * canvas.size
    shadow = rng.uniform(0, 0.45)
    placed: list[np.ndarray] = []
    for thing in things:
        count = sum(other.label == thing.label for other in things)
        matrix, alpha = _place(rng, canvas.size, thing, areas[thing.label] / count, placed)
        if alpha is None:
            continue
        placed.append(alpha > 0.5)
        cast_shadow(canvas, alpha, (light[0], light[1]), shadow)
        paint(canvas, alpha, _surface(rng, thing, matrix, canvas.size), thing.label)


def _place(
    rng: np.random.Generator, size: int, thing: Thing, share: float, placed: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Finds a pose that hardly overlaps what is placed: homography (3, 3), coverage or ``None``."""
    contours = bend(rng, thing.contours)
    for _ in range(25):
        pose = random_pose(rng)
        scale = size * np.sqrt(share * rng.uniform(0.75, 1.3) / area([project(c, pose) for c in contours]))
        zoom = np.array(
            [
                [scale, 0, rng.uniform(0.1, 0.9) * size],
                [0, scale, rng.uniform(0.1, 0.9) * size],
                [0, 0, 1],
            ]
        )
        matrix = zoom @ pose
        outline = [project(c, matrix) for c in contours]
        alpha = coverage(outline, size)
        mask = alpha > 0.5
        visible = mask.sum()
        if visible < MIN_IN_FRAME * area(outline):
            continue
        if all((mask & other).sum() <= MAX_OVERLAP * min(visible, other.sum()) for other in placed):
            return matrix, alpha
    return matrix, None


def _surface(rng: np.random.Generator, thing: Thing, matrix: np.ndarray, size: int) -> np.ndarray:
    """Colours (size, size, 3) of an object: two colours mixed by the pattern, and a shading."""
    body, pattern_colour = two_colours(rng, thing.hue)
    u, v = unit_coordinates(size, matrix)
    radius = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))  # pixels per unit, about
    colours = np.broadcast_to(body, (size, size, 3))
    if thing.pattern is not None:
        # Between scaling with the object, as on things, and a fixed scale, as in materials.
        period = rng.uniform(0.36, 0.48) * np.sqrt(TYPICAL_RADIUS * size / radius)
        period = float(np.clip(period, 5.0 / radius, 0.7))
        turn = np.deg2rad(rng.uniform(-25, 25))
        field = PATTERNS[thing.pattern](
            rng, np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u, period
        )
        colours = body + field[..., None].astype(np.float32) * (pattern_colour - body)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    shading = 1 + slope * np.clip(np.cos(angle) * u + np.sin(angle) * v, -1, 1)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 1.0) * rng.uniform(0, 0.12)
    return (colours * (shading + grain)[..., None]).astype(np.float32)
