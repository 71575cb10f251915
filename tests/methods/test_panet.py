# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PANet through the model tester, against the released code, and what only it has: the alignment loss."""

import golden
import pytest
import torch
import torch.nn.functional as F
import toys
from model_tester import ModelTester

from mmfss.conversion import ConversionError, recognise
from mmfss.conversion.panet import convert_panet
from mmfss.models.layers.alignment import alignment_loss
from mmfss.models.layers.half_pixel import average_at_full_size

VGG = dict(type='PlainVGG', widths=(8, 8, 16, 16, 16), dilations=(1, 1, 1, 1, 2), last_relu=False, last_pool=False)
PANET = dict(type='PANetHead')
CONFIG = dict(type='FewShotSegmentor', backbone=VGG, decode_head=PANET, freeze_backbone=False)


class TestPANet(ModelTester):
    head = PANET
    backbone = VGG
    freeze_backbone = False
    ignores_void = True  # as background
    half_tolerance = 3e-2  # a cosine times 20 of features that autocast rounds


@pytest.mark.parametrize('size', [(41, 41), (57, 33)])
def test_the_carried_mask_averages_what_resizing_would(size):
    features, mask = toys.smooth(3, 4, 6, 7, seed=0).double(), torch.rand(3, 1, *size).double()
    mask[2] = 0
    full = F.interpolate(features, size, mode='bilinear', align_corners=False)
    expected = (full * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-5)
    assert torch.allclose(average_at_full_size(features.float(), mask.float(), 1e-5).double(), expected, atol=1e-5)


def plain_alignment(query, scores, supports, labels, scale):
    """The alignment loss of one episode, with a loop for each of its sums."""
    predicted, total = scores.argmax(0), 0.0
    W, K = supports.shape[:2]
    vectors = [(query * (predicted == c)).sum((1, 2)) / ((predicted == c).sum() + 1e-5) for c in range(1 + W)]
    for w in range(W):
        if not (predicted == 1 + w).any():
            continue
        for k in range(K):
            cosines = [F.cosine_similarity(supports[w, k], vectors[c][:, None, None], 0) for c in (0, 1 + w)]
            logits = F.interpolate(scale * torch.stack(cosines)[None], labels.shape[-2:], mode='bilinear')
            total = total + F.cross_entropy(logits, labels[w, k][None].long(), ignore_index=255) / K / W
    return total


@pytest.mark.parametrize('W, K', [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_alignment_loss_is_the_sum_over_classes_and_shots(W, K):
    generator = torch.Generator().manual_seed(W)
    query, supports = toys.smooth(2, 5, 6, 7, seed=1), toys.smooth(2, W, K, 5, 6, 7, seed=2)
    scores = torch.randn(2, 1 + W, 6, 7, generator=generator)
    scores[1, -1] = -99  # the last class is predicted nowhere in the second query
    labels = torch.tensor([0, 1, 255])[torch.randint(3, (2, W, K, 41, 33), generator=generator)]
    labels[0, 0, 0] = 255  # nothing to segment
    expected = [plain_alignment(*parts, 20) for parts in zip(query, scores, supports, labels, strict=True)]
    found = alignment_loss(query, scores, supports, labels, 20)
    expected = torch.stack([torch.as_tensor(e).nan_to_num() for e in expected])
    if W * K > 1:  # the plain mean over no pixel is NaN and takes the episode with it
        expected, found = expected[1], alignment_loss(query[1:], scores[1:], supports[1:], labels[1:], 20)
    assert torch.allclose(found, expected.mean(), rtol=1e-5)


def test_alignment_reaches_queries_and_supports_and_can_be_left_out():
    inputs, samples = toys.episodes(2, 2), toys.samples(2, (41, 41))
    model = toys.build(CONFIG).train()
    losses = model.loss(inputs, samples)
    assert losses.keys() == {'loss_final', 'loss_align'}
    losses['loss_align'].backward()
    assert all(p.grad.abs().sum() > 0 for p in model.backbone.parameters())
    plain = toys.build(dict(CONFIG, decode_head=dict(PANET, align_weight=0))).train()
    found = plain.loss(inputs, samples)
    assert found.keys() == {'loss_final'} and torch.allclose(found['loss_final'], losses['loss_final'])
    twice = toys.build(dict(CONFIG, decode_head=dict(PANET, align_weight=2))).train().loss(inputs, samples)
    assert torch.allclose(twice['loss_align'], 2 * losses['loss_align'])


@torch.no_grad()
def test_void_of_a_support_is_background_and_an_empty_mask_finds_nothing():
    model, inputs = toys.build(CONFIG), toys.episodes(1)
    bank = model.encode_support(inputs['support'], torch.full_like(inputs['support_mask'], 255)).part('meta')
    assert (bank['foreground'] == 0).all() and (bank['background'] != 0).any()
    assert set(bank.tensors) == {'foreground', 'background'}, 'what only training reads is not kept'
    bank = model.encode_support(inputs['support'], torch.zeros_like(inputs['support_mask']))
    scores = model.segment(model.extract_feat(inputs['query']), bank)['final']
    assert scores.shape == (1, 2, 41, 41) and (scores[:, 1] == 0).all()


def test_released_weights_do_not_say_their_data_set():
    state = {f'module.{key}': value for key, value in golden.released_weights('panet_vgg16_pascal_5shot').items()}
    assert recognise(state).name == 'panet' and len(state) == 26
    variant, weights = convert_panet(state, 'coco')
    assert (variant.backbone, variant.dataset, variant.config) == ('vgg16', 'coco', 'configs/panet/vgg16_coco_1shot.py')
    assert set(weights) == {f'backbone.{key}' for key in toys.build(VGG).state_dict()}
    with pytest.raises(ConversionError, match='--dataset'):
        convert_panet(state)
    with pytest.raises(ConversionError, match='unknown keys .*classifier'):
        convert_panet({**state, 'classifier.weight': torch.zeros(1)}, 'pascal')


@pytest.mark.parametrize('case', golden.cases('panet'))
def test_golden_case(case):
    golden.assert_parity(case)
