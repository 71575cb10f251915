# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How well a score tells images that show the object from images that do not, and what is marked in the latter."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def auroc(scores: Sequence[float], present: Sequence[bool]) -> float:
    """Area under the ROC curve: how often an image with the object scores higher than one without it; ties count half.

    Args:
        scores (Sequence[float]): (N,).
        present (Sequence[bool]): (N,), whether the image shows the object.

    Returns:
        float: 0..1, 0.5 is chance; NaN where all images show it, or none does.

    Raises:
        ValueError: When a score is NaN.
    """
    scores, present = np.asarray(scores, np.float64), np.asarray(present, bool)
    if np.isnan(scores).any():
        raise ValueError(f'{int(np.isnan(scores).sum())} of {len(scores)} presence scores are NaN')
    positives = int(present.sum())
    negatives = len(present) - positives
    if not positives or not negatives:
        return float('nan')
    above = rankdata(scores)[present].sum() - positives * (positives + 1) / 2  # Mann and Whitney's U
    return float(above / (positives * negatives))


def mean_auroc(scores: Sequence[float], present: Sequence[bool], class_names: Sequence[str]) -> float:
    """Mean over the classes of each one's own :func:`auroc`; NaN when no class has images of both kinds."""
    scores, present, names = np.asarray(scores), np.asarray(present), np.asarray(class_names)
    each = [auroc(scores[names == name], present[names == name]) for name in np.unique(names)]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float('nan')


def false_positives(areas: Sequence[float], present: Sequence[bool]) -> tuple[float, float]:
    """What is marked where there is nothing to mark.

    Args:
        areas (Sequence[float]): (N,) share of each image that is marked, 0..1.
        present (Sequence[bool]): (N,), whether the image shows the object.

    Returns:
        tuple[float, float]: Mean share that is marked of images without the object, and the share of such images in
        which anything is; NaN when there are none.
    """
    wrong = np.asarray(areas, np.float64)[~np.asarray(present, bool)]
    return (float(wrong.mean()), float((wrong > 0).mean())) if len(wrong) else (float('nan'), float('nan'))


def at_min_score(
    scores: Sequence[float], areas: Sequence[float], present: Sequence[bool], min_score: float
) -> dict[str, float]:
    """What a smallest score does.

    Args:
        scores (Sequence[float]): (N,).
        areas (Sequence[float]): (N,) share of each image that is marked, 0..1.
        present (Sequence[bool]): (N,).
        min_score (float): Images below it are left empty.

    Returns:
        dict[str, float]: ``TPR`` and ``FPR``, the shares of images with and without the object that keep their mask,
        and the ``false_positive_area`` that is left; NaN where there are no such images.
    """
    kept, present = np.asarray(scores) >= min_score, np.asarray(present, bool)
    left = np.where(kept, np.asarray(areas, np.float64), 0)
    rates = [float(kept[group].mean()) if group.any() else float('nan') for group in (present, ~present)]
    return dict(TPR=rates[0], FPR=rates[1], false_positive_area=false_positives(left, present)[0])
