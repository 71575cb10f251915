# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Image-level measures: AUROC by its definition, and what is marked where nothing is."""

import numpy as np
import pytest

from mmfss.evaluation import at_min_score, auroc, false_positives, mean_auroc


def test_auroc_is_how_often_an_image_with_the_object_scores_higher():
    rng = np.random.default_rng(0)
    scores, present = rng.integers(0, 6, 60) / 6, rng.random(60) < 0.4  # with ties
    pairs = [np.sign(a - b) / 2 + 0.5 for a in scores[present] for b in scores[~present]]
    assert auroc(scores, present) == pytest.approx(np.mean(pairs))
    assert auroc([0.1, 0.2, 0.9], [False, False, True]) == 1 and auroc([0.5, 0.5], [True, False]) == 0.5
    assert np.isnan(auroc([0.5, 0.7], [True, True]))
    with pytest.raises(ValueError, match='1 of 2 presence scores are NaN'):
        auroc([float('nan'), 0.5], [True, False])


def test_classes_count_alike_and_those_with_one_kind_of_image_are_left_out():
    scores, present = [0.9, 0.1, 0.2, 0.1, 0.7], [True, False, False, True, True]
    assert mean_auroc(scores, present, ['a', 'a', 'b', 'b', 'c']) == pytest.approx((1 + 0) / 2)
    assert np.isnan(mean_auroc([0.5], [True], ['a']))


def test_what_is_marked_without_an_object_and_what_a_smallest_score_leaves():
    present, areas = [True, False, False, False], [0.5, 0.2, 0.0, 0.1]
    assert false_positives(areas, present) == pytest.approx((0.1, 2 / 3))
    assert np.isnan(false_positives([0.5], [True])).all()
    left = at_min_score([0.9, 0.8, 0.3, 0.1], areas, present, 0.3)
    assert left == pytest.approx(dict(TPR=1, FPR=2 / 3, false_positive_area=0.2 / 3))
    assert at_min_score([0.9, 0.8, 0.3, 0.1], areas, present, 0.95)['TPR'] == 0
