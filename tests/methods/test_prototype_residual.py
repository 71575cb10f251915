# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The correction of the prototype through the model tester, and what it promises."""

import pytest
import torch
import torch.nn.functional as F
import toys
from model_tester import ModelTester

from mmfss.deployment import record
from mmfss.models.decode_heads.prototype_residual_head import BLIND, NET
from mmfss.models.layers import resize
from mmfss.models.layers import support_evidence as ev
from mmfss.models.losses.foreground_dice import foreground_dice
from mmfss.structures import SupportBank

HEAD = dict(type='PrototypeResidualHead', channels=16, sharpen=False)


class TestPrototypeResidual(ModelTester):
    head = HEAD
    ignores_void = False
    shots = 2
    batch_tolerance = 1e-4  # stretching maps to 0..1 amplifies rounding
    half_tolerance = 2e-2  # rounded features move the fit more than a mean


class TestPrototypeResidualWithAppearance(TestPrototypeResidual):
    head = dict(HEAD, appearance_channels=8, appearance_dropout=0.0)


def model(**head):
    return toys.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(HEAD, **head))).eval()


@torch.no_grad()
def test_untrained_it_is_the_prototype():
    residual = model()
    head, inputs = residual.decode_head, toys.episodes(2, 1)
    for parameter, value in ((head.net.leave.weight, 0), (head.net.leave.bias, 0), (head.scale, 12)):
        parameter.fill_(value)  # as training begins
    found = residual(inputs, mode='tensor')['final']
    bank = residual.finish(residual.encode_support(inputs['support'], inputs['support_mask']))
    features = head.encode_query(residual.extract_feat(inputs['query']))
    prototype = head.evidence(features, bank.part('meta'))[1]
    expected = 12 * resize(prototype, found.shape[-2:])[:, 0]
    assert torch.allclose(found[:, 1] - found[:, 0], expected, atol=1e-4)
    # By hand: cosine to the mean unit vectors of the last blocks of layer3 and layer4.
    maps = torch.cat([features.extras[f'unit_{i}'] for i in head.groups[-2]], dim=1)
    means = torch.cat([bank.part('meta')[f'mean_{i}'] for i in head.groups[-2]], dim=2)
    cosines = torch.einsum('bsc,bchw->bshw', F.normalize(means, dim=2), F.normalize(maps, dim=1))
    assert torch.allclose(prototype[:, 0], cosines[:, 1] - cosines[:, 0], atol=1e-5)


@torch.no_grad()
def test_two_supports_are_segmented_by_each_other():
    residual = model()
    head, inputs = residual.decode_head, toys.episodes(1, 2)
    images, masks = inputs['support'], inputs['support_mask']
    bank = residual.finish(residual.encode_support(images, masks)).part('meta')
    ious = []
    for k in (0, 1):
        other = residual.finish(residual.encode_support(images[:, 1 - k : 2 - k], masks[:, 1 - k : 2 - k])).part('meta')
        # Without appearance both nets are one.
        assert other['shares'][0].tolist() == pytest.approx([0.5, 0.5, 0, 0, 0, 0])
        logits = head(head.encode_query(residual.extract_feat(images[:, k])), other).logits
        found = (4 * (logits[:, 1] - logits[:, 0])).sigmoid()[0]
        back, fore = (side > 0.5 for side in bank['sides'][0, k])
        both = found[fore].sum()
        ious.append(both / (found[fore | back].sum() + fore.sum() - both))
    assert bank['agreement'][0, NET].item() == pytest.approx(torch.stack(ious).mean().item(), abs=1e-4)
    assert torch.allclose(bank['shares'], (12 * bank['agreement']).softmax(1))


@torch.no_grad()
def test_a_net_that_takes_the_support_itself_for_background_is_not_heard():
    residual = model(appearance_channels=8)
    head, inputs = residual.decode_head, toys.episodes(1, 1)
    head.appearance.bias.fill_(1)
    head.net.look.weight.zero_()
    head.net.look.bias.zero_()
    images, masks = inputs['support'], inputs['support_mask']
    same = residual.finish(residual.encode_support(images, masks)).part('meta')['shares'][0]
    assert same[NET].item() == pytest.approx(0.5, abs=1e-4) and same[BLIND].item() == pytest.approx(0.5, abs=1e-4)
    for block in head.net.blocks:  # hidden maps are what the first layer and the look give
        block.mix_norm.weight.zero_()
        block.mix_norm.bias.zero_()
    for layer in (head.net.context, head.net.leave):
        layer.weight.zero_()
        layer.bias.zero_()
    head.net.look.weight.fill_(10)
    head.net.leave.weight.fill_(-10)  # whatever has a look is background,
    head.net.enter_norm.weight.zero_()
    head.net.enter_norm.bias.zero_()
    head.net.leave.bias.fill_(50)  # everything else is foreground
    bank = residual.finish(residual.encode_support(images, masks)).part('meta')
    assert bank['agreement'][0, NET] < 1e-3 < bank['agreement'][0, BLIND]
    assert bank['shares'][0, NET] < bank['shares'][0, BLIND]


def test_dice_of_a_query_without_the_object_is_no_loss():
    logits = torch.randn(2, 2, 5, 5)
    labels = torch.zeros(2, 5, 5, dtype=torch.long)
    assert foreground_dice(logits, labels) == 0
    labels[0, :2], labels[0, 2] = 1, 255
    perfect = torch.stack([(labels != 1) * 50.0, (labels == 1) * 50.0], dim=1)
    assert foreground_dice(perfect, labels).item() == pytest.approx(0, abs=1e-4)


def test_edges_need_the_first_stage():
    with pytest.raises(ValueError, match='layer1.*sharpen=False'):
        toys.MODELS.build(
            dict(
                type='PrototypeResidualHead',
                in_channels=dict(layer2=8, layer3=8, layer4=8),
                num_blocks=dict(layer2=1, layer3=1, layer4=1),
            )
        )


def test_nearest_pixels_of_a_side_and_of_none():
    query = [torch.nn.functional.normalize(torch.randn(1, 4, 2, 3), dim=1)]
    support = [torch.nn.functional.normalize(torch.randn(1, 4, 2, 2), dim=1)]
    sides = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    sides[0, 1, 0, 0] = True
    back, fore = ev.nearest_pixels(query, support, sides, [(0,)])[0]
    assert torch.equal(back, torch.full((2, 3), -1.0))
    expected = torch.einsum('chw,c->hw', query[0][0], support[0][0, :, 0, 0])
    assert torch.allclose(fore, expected, atol=1e-6)


@pytest.mark.parametrize('pixels', [20, 400])
def test_the_fit_solves_the_weighted_ridge_regression(pixels):
    """Fewer pixels than features and more: the same minimum."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(pixels, 32, generator=generator, dtype=torch.double)
    fore = torch.rand(pixels, generator=generator) < 0.3
    weight, offset, own = ev.fit_pixels(x, torch.stack([~fore, fore]))
    share = torch.where(fore, 0.5 / fore.sum(), 0.5 / (~fore).sum()).double()
    mean = share @ x
    penalty = (share[:, None] * (x - mean).square()).sum() / 32
    target = torch.where(fore, 1.0, -1.0).double()
    weight = weight.clone().requires_grad_()
    offset = offset.clone().requires_grad_()
    cost = (share * (x @ weight + offset - target).square()).sum() + penalty * weight.square().sum()
    gradients = torch.autograd.grad(cost, (weight, offset))
    assert max(g.abs().max().item() for g in gradients) < 1e-7
    fitted = x @ weight + offset
    assert torch.allclose(own, torch.stack([fitted[~fore].mean(), fitted[fore].mean()]))


def test_a_bank_is_read_as_it_was_made():
    residual = model()
    inputs = toys.episodes(1, 3)
    with torch.no_grad():
        bank = residual.encode_support(inputs['support'], inputs['support_mask'])
        shots = [SupportBank({n: t[:, k : k + 1] for n, t in bank.tensors.items()}) for k in range(3)]
        joined = residual.finish(SupportBank.stack_shots(shots))
        whole = residual.finish(bank)
    for name, tensor in whole.summary.items():
        assert torch.allclose(joined.summary[name], tensor, atol=1e-5), name


def test_export_says_why_not():
    with pytest.raises(ValueError, match='PrototypeResidualHead cannot be exported: it fits a classifier'):
        record(model())
