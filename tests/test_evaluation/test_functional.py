# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import os
from pathlib import Path

import numpy as np
import pytest

from mmfss.evaluation.functional import (
    bootstrap_interval,
    class_iou,
    confusion,
    fb_iou,
    foreground_iou,
    mean_iou,
)

SHARED = Path(os.environ.get('MMFSS_SHARED', Path(__file__).parents[3] / 'shared'))
GOLDEN = SHARED / 'golden' / 'pipeline.npz'


def test_confusion_counts_by_hand():
    pred = np.array([[0, 1, 1], [0, 0, 1]])
    label = np.array([[0, 0, 1], [1, 255, 255]])
    assert confusion(pred, label).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize('dtype', [np.uint8, np.int64, bool])
def test_confusion_takes_any_integer_type(dtype):
    ones = np.ones((2, 3), dtype=dtype)
    assert confusion(ones, ones).tolist() == [0, 0, 0, 6]


def test_all_ignored_counts_nothing():
    assert confusion(np.ones((2, 2), int), np.full((2, 2), 255)).tolist() == [0, 0, 0, 0]


def test_bad_maps_are_refused():
    with pytest.raises(ValueError, match='restored to the size'):
        confusion(np.zeros((2, 2)), np.zeros((3, 2)))
    for pred, label in (([[2]], [[0]]), ([[0]], [[7]]), ([[-1]], [[1]])):
        with pytest.raises(ValueError, match='must hold 0, 1'):
            confusion(np.array(pred), np.array(label))


def test_measures_against_brute_force():
    rng = np.random.default_rng(0)
    preds, labels = rng.integers(0, 2, (9, 5, 6)), rng.choice([0, 1, 255], (9, 5, 6))
    class_ids = np.array([3, 3, 5, 5, 5, 3, 5, 3, 3])
    counts = np.array([confusion(p, t) for p, t in zip(preds, labels, strict=True)])

    def iou(value, members):
        inter = union = 0
        for p, t in zip(preds[members].ravel(), labels[members].ravel(), strict=True):
            if t != 255:
                inter += int(p == value and t == value)
                union += int(p == value or t == value)
        return inter / (union + 1e-10)

    expected = [iou(1, class_ids == 3), iou(1, class_ids == 5)]
    assert np.allclose(class_iou(counts, class_ids, (3, 5)), expected, rtol=0, atol=1e-12)
    everything = np.ones(9, bool)
    assert fb_iou(counts.sum(0)) == pytest.approx((iou(0, everything) + iou(1, everything)) / 2)


def test_missing_class_is_nan_or_zero():
    counts, class_ids = np.array([[0, 0, 1, 1]]), np.array([2])
    left_out = class_iou(counts, class_ids, (1, 2))
    assert np.isnan(left_out[0]) and mean_iou(left_out) == pytest.approx(0.5)
    zero = class_iou(counts, class_ids, (1, 2), missing_as_zero=True)
    assert zero[0] == 0 and mean_iou(zero) == pytest.approx(0.25)


def test_bootstrap_holds_the_estimate_and_repeats():
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 50, (2, 60, 4))
    class_ids, runs = np.arange(60) % 3, np.repeat([0, 1], 30)
    interval = bootstrap_interval(counts, class_ids, runs, (0, 1, 2), samples=300)
    assert interval.shape == (2, 2, 2)
    assert np.array_equal(interval, bootstrap_interval(counts, class_ids, runs, (0, 1, 2), samples=300))
    for m in range(2):
        miou = np.mean([mean_iou(class_iou(counts[m][runs == r], class_ids[runs == r], (0, 1, 2))) for r in (0, 1)])
        fb = np.mean([fb_iou(counts[m][runs == r].sum(0)) for r in (0, 1)])
        for value, (low, high) in zip((miou, fb), interval[m], strict=True):
            assert low < value < high


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(60):
        tp = rng.integers(0, 11, 80)  # IoU of the population: 5 / 10
        counts = np.stack([tp * 0, tp * 0, 10 - tp, tp], -1)[None]
        (low, high), _ = bootstrap_interval(counts, np.arange(80) % 2, np.zeros(80), (0, 1), samples=200, seed=seed)[0]
        hits += low <= 0.5 <= high
    assert 50 <= hits <= 60


@pytest.mark.skipif(not GOLDEN.exists(), reason=f'no reference vectors at {GOLDEN}')
def test_golden_metric():
    data = np.load(GOLDEN)
    counts = np.array([confusion(p, t) for p, t in zip(data['metric_pred'], data['metric_label'], strict=True)])
    ious = class_iou(counts, data['metric_class_index'], range(5), missing_as_zero=True)
    assert np.abs(ious - data['metric_class_iou']).max() < 1e-9
    assert abs(mean_iou(ious) - data['metric_miou']) < 1e-9
    assert abs(fb_iou(counts.sum(0)) - data['metric_fb_iou']) < 1e-9


def test_perfect_and_empty():
    assert foreground_iou(np.array([3, 0, 0, 4])) == pytest.approx(1)
    assert foreground_iou(np.array([3, 0, 0, 0])) == 0
