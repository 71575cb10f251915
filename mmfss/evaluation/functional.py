# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Counting for few-shot segmentation, in plain numpy.

Everything starts from one *confusion* of four pixel counts an episode, ``(tn, fp, fn, tp)`` with
the foreground as the positive class. Counts add up over episodes; a measure is only taken from
sums. Letters: N episodes, M outputs, C classes, S bootstrap samples.

Source: the evaluation loop of PFENet, BAM and MSANet: per class ``I / (U + 1e-10)`` over all its
episodes.
"""

import numpy as np

EPS = 1e-10
_BOOTSTRAP_CHUNK = 4_000_000  # numbers drawn at once: bounds the memory at some 32 MB


def confusion(pred: np.ndarray, label: np.ndarray, ignore_index: int = 255) -> np.ndarray:
    """Pixel counts of one episode.

    Args:
        pred (np.ndarray): (h, w), 0 background and 1 foreground.
        label (np.ndarray): (h, w), 0, 1 or ``ignore_index``.
        ignore_index (int): Label of pixels that are left out. Defaults to 255.

    Returns:
        np.ndarray: (4,) int64, pixels: true negatives, false positives, false negatives, true
            positives.

    Raises:
        ValueError: When the shapes differ or a value is neither 0 nor 1.
    """
    if pred.shape != label.shape:
        raise ValueError(
            f'the prediction has shape {pred.shape}, its label {label.shape}: predictions must be '
            'restored to the size of the ground truth before they are scored'
        )
    valid = label != ignore_index
    truth, guess = label[valid].astype(np.int64), pred[valid].astype(np.int64)
    if truth.size and (min(truth.min(), guess.min()) < 0 or max(truth.max(), guess.max()) > 1):
        raise ValueError(
            f'prediction and label must hold 0, 1 and, in the label, {ignore_index}; found '
            f'{np.unique(guess).tolist()[:8]} and {np.unique(truth).tolist()[:8]}'
        )
    return np.bincount(truth * 2 + guess, minlength=4)


def foreground_iou(counts: np.ndarray) -> np.ndarray:
    """``I / (U + 1e-10)`` of the foreground, a fraction; counts (..., 4) -> (...)."""
    _, fp, fn, tp = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    return tp / (tp + fp + fn + EPS)


def fb_iou(counts: np.ndarray) -> np.ndarray:
    """Mean of background and foreground IoU, a fraction; counts (..., 4) -> (...)."""
    tn, fp, fn, _ = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    return (tn / (tn + fp + fn + EPS) + foreground_iou(counts)) / 2


def class_iou(
    counts: np.ndarray,
    class_ids: np.ndarray,
    classes: tuple[int, ...],
    missing_as_zero: bool = False,
) -> np.ndarray:
    """Foreground IoU of each class over all its episodes.

    Args:
        counts (np.ndarray): (N, 4) confusions.
        class_ids (np.ndarray): (N,) the class of each episode.
        classes (tuple[int]): The C classes to report, in this order.
        missing_as_zero (bool): A class without an episode counts 0 (protocol ``bam``) instead of
            NaN.

    Returns:
        np.ndarray: (C,) fractions.
    """
    ious = np.full(len(classes), 0.0 if missing_as_zero else np.nan)
    for position, class_id in enumerate(classes):
        own = class_ids == class_id
        if own.any():
            ious[position] = foreground_iou(counts[own].sum(0))
    return ious


def mean_iou(ious: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean over the classes that are not NaN (NaN when there is none)."""
    known = ~np.isnan(ious)
    with np.errstate(invalid='ignore'):
        return np.where(known, ious, 0.0).sum(axis) / known.sum(axis)


def bootstrap_interval(
    counts: np.ndarray,
    class_ids: np.ndarray,
    runs: np.ndarray,
    classes: tuple[int, ...],
    missing_as_zero: bool = False,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> np.ndarray:
    """Percentile bootstrap over episodes of the mean over runs of mIoU and FB-IoU.

    Episodes are drawn with replacement within each (run, class), so every sample keeps the design
    of the protocol, and with the same draws for every output, so intervals of two outputs may be
    compared. It shows how much the number depends on the episodes drawn, not how much on other
    trainings, takes episodes that share an image as independent, and is too narrow for classes with
    one or two episodes a run.

    Args:
        counts (np.ndarray): (M, N, 4) confusions of M outputs.
        class_ids (np.ndarray): (N,) the class of each episode.
        runs (np.ndarray): (N,) the run of each episode.
        classes (tuple[int]): The C evaluated classes.
        missing_as_zero (bool): As in :func:`class_iou`.
        samples (int): Number S of bootstrap samples. Defaults to 1000.
        level (float): Coverage of the interval. Defaults to 0.95.
        seed (int): Seed of the draws: the same input always gives the same interval.

    Returns:
        np.ndarray: (M, 2, 2) fractions: [output, (mIoU, FB-IoU), (low, high)].
    """
    rng = np.random.default_rng(seed)
    counts = np.asarray(counts, dtype=np.float64)
    run_ids = np.unique(runs)
    miou = np.zeros((len(counts), samples))
    fb = np.zeros((len(counts), samples))
    for run in run_ids:
        total = np.zeros((len(counts), samples, 4))
        ious = np.full((len(classes), len(counts), samples), 0.0 if missing_as_zero else np.nan)
        for position, class_id in enumerate(classes):
            own = np.flatnonzero((runs == run) & (class_ids == class_id))
            if own.size:
                drawn = _resampled_sums(rng, counts[:, own], samples)  # (M, S, 4)
                ious[position] = foreground_iou(drawn)
                total += drawn
        miou += mean_iou(ious) / len(run_ids)
        fb += fb_iou(total) / len(run_ids)
    tail = (1 - level) / 2
    bounds = np.quantile(np.stack([miou, fb], 1), [tail, 1 - tail], axis=-1)  # (2, M, 2)
    return np.moveaxis(bounds, 0, -1)


def _resampled_sums(rng: np.random.Generator, counts: np.ndarray, samples: int) -> np.ndarray:
    """Sums over n episodes drawn with replacement out of n: counts (M, n, 4) -> (M, S, 4)."""
    episodes = counts.shape[1]
    step = max(1, _BOOTSTRAP_CHUNK // episodes)
    parts = []
    for start in range(0, samples, step):
        size = min(step, samples - start)
        times_drawn = rng.multinomial(episodes, np.full(episodes, 1 / episodes), size=size)  # (s, n)
        parts.append(times_drawn.astype(np.float64) @ counts)  # (M, s, 4)
    return np.concatenate(parts, axis=1)
