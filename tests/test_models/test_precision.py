# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Inference in bfloat16."""

import warnings

import pytest
import torch
import toys

from mmfss.deployment.graphs import exportable
from mmfss.utils import precision

MODEL = dict(type='BaseLearnerEnsemble', backbone=toys.RESNET, decode_head=toys.MSANET, base_head=toys.BASE_HEAD)
HEADS = dict(
    msanet=MODEL,
    vgg=dict(MODEL, backbone=toys.VGG, base_head=dict(toys.BASE_HEAD, in_channels=16)),
    bam=dict(MODEL, decode_head=dict(type='BAMHead', channels=16, dilations=(1, 2, 3))),
    pfenet=dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(type='PFENetHead', channels=16)),
    cyctr=dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(type='CyCTRHead', channels=16)),
    prototype=dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(type='PrototypeHead')),
    prior=dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(type='PriorMaskHead')),
)


@pytest.fixture(autouse=True)
def able(monkeypatch):
    """A device that computes in bfloat16, whichever runs the tests."""
    monkeypatch.setattr(precision, 'fast_bfloat16', lambda device: True)
    return lambda answer: monkeypatch.setattr(precision, 'fast_bfloat16', lambda device: answer)


def agreement(a: dict, b: dict) -> float:
    return float((a['final'].argmax(1) == b['final'].argmax(1)).float().mean())


@torch.no_grad()
@pytest.mark.parametrize('name', HEADS)
def test_methods(name):
    model, inputs = toys.build(HEADS[name]), toys.episodes(2, 2)
    exact = model(inputs)
    model.precision = 'bfloat16'
    found = model(inputs)
    assert all(scores.dtype == torch.float32 for scores in found.values())
    assert not torch.equal(found['final'], exact['final']) and agreement(found, exact) > 0.95
    model.precision = 'float32'
    assert all(torch.equal(scores, exact[key]) for key, scores in model(inputs).items())


@torch.no_grad()
def test_a_bank_takes_half_the_memory():
    model, inputs = toys.build(MODEL), toys.episodes(1, 2)
    support = inputs['support'], inputs['support_mask']
    whole = model.encode_support(*support)
    exact = model.segment(model.extract_feat(inputs['query']), whole)
    half = whole.to(torch.bfloat16)
    assert half.nbytes < 0.55 * whole.nbytes
    # In a model that computes in float32, and in one that does not.
    assert agreement(model.segment(model.extract_feat(inputs['query']), half), exact) > 0.95
    model.precision = 'bfloat16'
    own = model.encode_support(*support)
    assert {t.dtype for key, t in own.tensors.items() if key.endswith('vectors')} == {torch.bfloat16}
    for bank in (whole, half, own, own.extend(whole)):
        assert agreement(model.segment(model.extract_feat(inputs['query']), bank), exact) > 0.95


def test_training_does_not_read_it():
    model, inputs, samples = toys.build(MODEL), toys.episodes(2, 2), toys.samples(2, (41, 41))
    model.decode_head.eval()
    losses = []
    for chosen in ('float32', 'bfloat16'):
        model.precision = chosen
        model.train()
        torch.manual_seed(0)
        losses.append(model.loss(inputs, samples))
    assert all(torch.equal(losses[0][name], loss) for name, loss in losses[1].items())


@torch.no_grad()
def test_a_device_without_it(able):
    model, inputs = toys.build(MODEL), toys.episodes(1, 1)
    exact = model(inputs)
    able(False)
    model.precision = 'bfloat16'
    with pytest.warns(UserWarning, match='does not compute in bfloat16'):
        assert torch.equal(model(inputs)['final'], exact['final'])
    model.precision = 'auto'
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        assert torch.equal(model(inputs)['final'], exact['final'])
    able(True)
    assert not torch.equal(model(inputs)['final'], exact['final'])


@torch.no_grad()
def test_kept_features_are_told_apart():
    model, inputs = toys.build(dict(MODEL, feature_cache_gb=0.1)), toys.episodes(1, 1)
    plain = toys.build(MODEL)
    for chosen in ('float32', 'bfloat16', 'float32'):
        model.precision = plain.precision = chosen
        for _ in range(2):
            assert torch.allclose(model(inputs)['final'], plain(inputs)['final'], atol=1e-4)


def test_unknown_names():
    with pytest.raises(ValueError, match="precision='half': choose from float32, bfloat16, auto"):
        toys.build(dict(MODEL, precision='half'))
    model = toys.build(dict(MODEL, precision='auto'))
    with pytest.raises(ValueError, match='choose from'):
        model.precision = 'float16'
    assert model.precision == 'auto'


def test_graphs_are_float32():
    assert exportable(toys.build(dict(MODEL, precision='auto'))).precision == 'float32'
    with pytest.raises(ValueError, match="leave precision='bfloat16' out"):
        exportable(toys.build(dict(MODEL, precision='bfloat16')))
