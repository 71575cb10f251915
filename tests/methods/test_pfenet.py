# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PFENet through the model tester, and against the released code."""

import golden
import pytest
import torch
import toys
from model_tester import ModelTester

from mmfss.conversion import ConversionError, recognise
from mmfss.conversion.pfenet import convert_pfenet

PFENET = dict(type='PFENetHead', channels=16, bins=(1.0, 0.5, 4))


class TestPFENet(ModelTester):
    head = PFENET


class TestPFENetOnVGG(ModelTester):
    """Bins of the released configs, which enlarge a small map."""

    head = dict(PFENET, bins=(60, 30, 15, 8))
    backbone = toys.VGG


def test_statistics_move_in_training_as_released_or_stay():
    inputs, samples = toys.episodes(2, 3), toys.samples(2, (41, 41))
    for norm_eval in (False, True):
        model = toys.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=PFENET, norm_eval=norm_eval))
        before = {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}
        model.train().loss(inputs, samples)
        moved = [name for name, buffer in model.backbone.named_buffers() if not torch.equal(buffer, before[name])]
        assert bool(moved) != norm_eval
        assert not any(p.requires_grad for p in model.backbone.parameters())
        if not norm_eval:  # the queries, then each of three shots as a batch of its own
            assert int(model.backbone.layer4[0].bn1.num_batches_tracked) == 4


def test_auxiliary_losses_are_the_mean_over_scales():
    config = dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=PFENET)
    model = toys.build(dict(config, decode_head=dict(PFENET, auxiliary_weight=2)))
    losses = model.loss(toys.episodes(2), toys.samples(2, (41, 41)))
    assert losses.keys() == {'loss_final', 'loss_auxiliary'}
    plain = toys.build(config).loss(toys.episodes(2), toys.samples(2, (41, 41)))
    assert torch.allclose(losses['loss_auxiliary'], 2 * plain['loss_auxiliary'])
    assert torch.allclose(losses['loss_final'], plain['loss_final'])


@pytest.mark.parametrize('bins', [(), (0, 4), (-1,)])
def test_bins_must_be_sides_or_shares(bins):
    with pytest.raises(ValueError, match='bins='):
        toys.MODELS.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(PFENET, bins=bins)))


def test_released_weights_do_not_say_their_data_set():
    state = {f'module.{key}': value for key, value in golden.released_weights('pfenet_r50_pascal_5shot').items()}
    assert recognise(state).name == 'pfenet'
    variant, _ = convert_pfenet(state, 'coco')
    assert (variant.backbone, variant.dataset) == ('r50', 'coco')
    with pytest.raises(ConversionError, match='--dataset'):
        convert_pfenet(state)


@pytest.mark.parametrize('case', golden.cases('pfenet'))
def test_golden_case(case):
    golden.assert_parity(case)
