# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Counting for episodes of several classes: what functional.py and report.py are for one.

Letters: N episodes, W ways, V = 1 + W labels (background first).
"""

import numpy as np

from .functional import EPS
from .report import _percent, summarise

BINARY = 'binary'  # key of an episode's counts with all its classes as one


def class_counts(pred: np.ndarray, label: np.ndarray, ways: int, ignore_index: int = 255) -> np.ndarray:
    """Pixels of one episode for each label.

    Args:
        pred (np.ndarray): (h, w), 0 to W.
        label (np.ndarray): (h, w), 0 to W, or ``ignore_index``.
        ways (int): W.
        ignore_index (int): Label of pixels that are left out. Defaults to 255.

    Returns:
        np.ndarray: (V, 4) int64, true negatives, false positives, false negatives, true positives of each label.

    Raises:
        ValueError: When the shapes differ or a value is none of these.
    """
    if pred.shape != label.shape:
        raise ValueError(
            f'the prediction has shape {pred.shape}, its label {label.shape}: predictions must be '
            'restored to the size of the ground truth before they are scored'
        )
    valid = label != ignore_index
    truth, guess = label[valid].astype(np.int64), pred[valid].astype(np.int64)
    if truth.size and (min(truth.min(), guess.min()) < 0 or max(truth.max(), guess.max()) > ways):
        raise ValueError(
            f'prediction and label must hold 0 to {ways} and, in the label, {ignore_index}; found '
            f'{np.unique(guess).tolist()[:8]} and {np.unique(truth).tolist()[:8]}'
        )
    V = 1 + ways
    matrix = np.bincount(truth * V + guess, minlength=V * V).reshape(V, V)
    tp = matrix.diagonal()
    fp, fn = matrix.sum(0) - tp, matrix.sum(1) - tp
    return np.stack([truth.size - tp - fp - fn, fp, fn, tp], axis=1)


def where_present(counts: np.ndarray) -> np.ndarray:
    """Counts (V, 4) of which only labels that occur in the ground truth stay, the others being 0 (PANet)."""
    return counts * (counts[:, 2:].sum(1, keepdims=True) > 0)


def summarise_ways(rows: list[dict], dataset_meta: dict, bootstrap: int = 1000) -> dict:
    """Turn the episodes' counts into a report.

    IoUs are those of one row for each class of an episode (:func:`mmfss.evaluation.report.summarise`). FB-IoU takes all
    classes of an episode as one, from sums of its own; it has no interval.

    Args:
        rows (list[dict]): One an episode: ``run``, ``episode``, ``class_ids`` (W), ``query``, ``supports`` and
            ``counts``, output -> (W, 4), and ``binary``, output -> (2, 4) of background and all classes.
        dataset_meta (dict): Metainfo of the NWayEpisodicDataset.
        bootstrap (int): Bootstrap samples; 0 leaves the intervals out. Defaults to 1000.

    Returns:
        dict: The report, JSON-ready; ``episodes`` has a row for each class of an episode.
    """
    single = [
        {
            **{key: row[key] for key in ('run', 'episode')},
            'class_id': class_id,
            **{key: row[key] for key in ('query', 'supports')},
            'counts': {output: counts[way] for output, counts in row['counts'].items()},
        }
        for row in rows
        for way, class_id in enumerate(row['class_ids'])
    ]
    report = summarise(single, dataset_meta, bootstrap)
    report.update(ways=len(rows[0]['class_ids']), num_episodes=len(rows))
    runs = np.array([row['run'] for row in rows])
    for output, entry in report['summary'].items():
        counts = np.array([row[BINARY][output] for row in rows])  # (N, 2, 4)
        fb = np.array([_two_sided_iou(counts[runs == run].sum(0)) for run in np.unique(runs)])
        entry['FB-IoU'] = _percent(fb.mean())
        entry['FB-IoU_std'] = _percent(fb.std(ddof=1)) if len(fb) > 1 else 0.0
        entry['FB-IoU_ci'] = None
        report['pooled'][output]['FB-IoU'] = _percent(_two_sided_iou(counts.sum(0)))
        for value, run in zip(fb, report['per_run'], strict=True):
            run['episodes'] = int((runs == run['run']).sum())
            run['outputs'][output]['FB-IoU'] = _percent(value)
    return report


def _two_sided_iou(counts: np.ndarray) -> float:
    """Mean IoU of background and foreground, from the counts (2, 4) of each."""
    _, fp, fn, tp = counts.astype(np.float64).T
    return float((tp / (tp + fp + fn + EPS)).mean())
