# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The 20 classes of the generated data set: each is one silhouette with one surface pattern.

Ten silhouettes and ten patterns occur in two classes each, never twice in one fold. So neither
silhouette nor pattern alone names a class, and the parts of a novel class were all seen in
training, in other combinations: a few-shot learner has to read the combination off the support.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShapeClass:
    """One class of the generated data set.

    Args:
        name (str): Noun phrase, pattern first.
        silhouette (str): Key of :data:`mmfss.datasets.synthetic.silhouettes.SILHOUETTES`.
        pattern (str): Key of :data:`mmfss.datasets.synthetic.patterns.PATTERNS`.
        hue (float): Degrees its colours scatter around. Five hues serve 20 classes and the scatter is wide:
            a hint as in nature, not a label.
    """

    name: str
    silhouette: str
    pattern: str
    hue: float


# One line a fold of five classes (class ids 1-5, 6-10, 11-15, 16-20).
_FOLDS = (
    (
        ('checkered', 'star'),
        ('striped', 'gear'),
        ('dotted', 'leaf'),
        ('ringed', 'fish'),
        ('marbled', 'mushroom'),
    ),
    (
        ('netted', 'crescent'),
        ('zigzag', 'heart'),
        ('rayed', 'butterfly'),
        ('scaly', 'pine'),
        ('swirled', 'bottle'),
    ),
    (
        ('zigzag', 'star'),
        ('netted', 'gear'),
        ('rayed', 'leaf'),
        ('scaly', 'fish'),
        ('swirled', 'mushroom'),
    ),
    (
        ('ringed', 'crescent'),
        ('dotted', 'heart'),
        ('striped', 'butterfly'),
        ('checkered', 'pine'),
        ('marbled', 'bottle'),
    ),
)

SHAPE_CLASSES: tuple[ShapeClass, ...] = tuple(
    ShapeClass(f'{pattern} {silhouette}', silhouette, pattern, hue=72.0 * ((slot + 2 * fold) % 5))
    for fold, pairs in enumerate(_FOLDS)
    for slot, (pattern, silhouette) in enumerate(pairs)
)
