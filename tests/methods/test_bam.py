# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BAM through the model tester, and against the released code."""

import golden
import pytest
import torch
import toys
from model_tester import ModelTester

BAM = dict(type='BAMHead', channels=16, dilations=(1, 2, 3))
CONFIG = dict(type='BaseLearnerEnsemble', backbone=toys.RESNET, decode_head=BAM, base_head=toys.BASE_HEAD)


class TestBAM(ModelTester):
    segmentor = 'BaseLearnerEnsemble'
    head = BAM


class TestBAMFiveShots(ModelTester):
    segmentor = 'BaseLearnerEnsemble'
    head = dict(BAM, shot_weighting=dict(shots=5))
    shots = 5


class TestBAMOneConv(ModelTester):
    """``kshot_trans_dim = 0`` of the released code, in the order that it had at first."""

    segmentor = 'BaseLearnerEnsemble'
    head = dict(BAM, shot_weighting=dict(shots=3, hidden=0, restore_order=False))
    shots = 3


class TestBAMOnVGG(ModelTester):
    segmentor = 'BaseLearnerEnsemble'
    head = BAM
    backbone = toys.VGG
    base_head = dict(toys.BASE_HEAD, type='NarrowPSPHead', in_channels=16, pyramid_channels=4)


@torch.no_grad()
def test_supports_are_masked_before_the_last_stage():
    """The prior mask of a support that is masked behind layer4 only, MSANet's, is another one."""
    model = toys.build(CONFIG)
    inputs = toys.episodes(2)
    labels = inputs['support_mask'][:, 0].unsqueeze(1)
    features = model.support_features(inputs['support'][:, 0], labels)
    assert set(features.stages) >= {'layer2', 'layer3', 'masked_layer4'} and 'layer4' not in features.stages
    small = torch.nn.functional.interpolate(
        (labels == 1).float(), features['layer3'].shape[-2:], mode='bilinear', align_corners=True
    )
    assert torch.allclose(features['masked_layer4'], model.backbone.layer4(features['layer3'] * small), atol=1e-4)
    plain = model.backbone.extract_blocks(inputs['support'][:, 0])['layer4']
    assert (features['masked_layer4'] - plain).abs().max() > 0.01


@torch.no_grad()
def test_the_cache_tells_masked_from_plain_and_mask_from_mask():
    plain, cached = toys.build(CONFIG), toys.build(dict(CONFIG, feature_cache_gb=0.1))
    inputs = toys.episodes(2)
    inputs['support'][1] = inputs['support'][0]  # the same photo, annotated with two classes
    inputs['query'][1] = inputs['support'][0, 0]  # and as a query
    for _ in range(2):
        expected, found = plain(inputs), cached(inputs)
        ModelTester.assert_close(found, expected)


@pytest.mark.parametrize('case', golden.cases('bam'))
def test_golden_case(case):
    golden.assert_parity(case)
