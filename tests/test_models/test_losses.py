# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Losses that mmseg lacks: means over the pixels that count."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmfss.registry import MODELS


def loss(type='WeightedCrossEntropyLoss', **kwargs):
    init_default_scope('mmfss')
    return MODELS.build(dict(type=type, **kwargs))


def test_it_is_the_weighted_mean_over_the_pixels_that_are_not_ignored():
    torch.manual_seed(0)
    scores, labels = torch.randn(2, 2, 5, 7), torch.randint(0, 2, (2, 5, 7))
    labels[0, :2] = 255
    per_pixel = -scores.log_softmax(1).gather(1, labels.clamp(max=1).unsqueeze(1)).squeeze(1)
    weight = torch.tensor([1.0, 3.0])[labels.clamp(max=1)] * (labels != 255)
    expected = (weight * per_pixel).sum() / weight.sum()
    torch.testing.assert_close(loss(class_weight=(1, 3))(scores, labels), expected)
    torch.testing.assert_close(loss(class_weight=(1, 3), loss_weight=0.5)(scores, labels), expected / 2)


def test_equal_weights_are_mmsegs_loss():
    torch.manual_seed(0)
    scores, labels = torch.randn(2, 2, 5, 7), torch.randint(0, 2, (2, 5, 7))
    labels[1, 3:] = 255
    theirs = MODELS.build(dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True))
    torch.testing.assert_close(loss(class_weight=(2, 2))(scores, labels), theirs(scores, labels, ignore_index=255))


def test_labels_that_are_all_ignored_give_zero_and_a_gradient():
    scores = torch.randn(1, 2, 3, 3, requires_grad=True)
    value = loss(class_weight=(1, 2))(scores, torch.full((1, 3, 3), 255))
    value.backward()
    assert value == 0 and (scores.grad == 0).all()


def test_weights_must_be_positive():
    with pytest.raises(ValueError, match='class_weight'):
        loss(class_weight=(1, 0))


def test_smoothed_targets_are_shared_by_the_other_classes():
    torch.manual_seed(0)
    scores, labels = torch.randn(2, 5, 4, 3), torch.randint(0, 5, (2, 4, 3))
    labels[0, :2] = 255
    valid = labels != 255
    target = torch.full_like(scores, 0.1 / 4)
    target.scatter_(1, labels.clamp(max=4).unsqueeze(1), 0.9)
    expected = -(target * scores.log_softmax(1)).sum(1)[valid].mean()
    torch.testing.assert_close(loss('SmoothedCrossEntropyLoss')(scores, labels), expected)
    plain = torch.nn.functional.cross_entropy(scores, labels, ignore_index=255)
    torch.testing.assert_close(loss('SmoothedCrossEntropyLoss', smoothing=0, loss_weight=2)(scores, labels), 2 * plain)
    assert loss('SmoothedCrossEntropyLoss')(scores, torch.full_like(labels, 255)) == 0
    with pytest.raises(ValueError, match='smoothing=1'):
        loss('SmoothedCrossEntropyLoss', smoothing=1)
