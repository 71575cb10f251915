# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BatchNorm inside the convolution before it, against the layers as they are built."""

import copy

import pytest
import torch
import torch.nn.functional as F
import toys
from torch import nn

from mmfss.models.layers.folded_norm import conv_norm, folded, run_folded


def layers(bias: bool = False, **kwargs) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, 3, bias=bias, **kwargs), nn.BatchNorm2d(6).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data.uniform_(0.5, 2)
    return conv, norm


@pytest.fixture
def convolved(monkeypatch):
    """Shapes of the weights that F.conv2d was called with."""
    seen, own = [], F.conv2d
    monkeypatch.setattr(F, 'conv2d', lambda x, weight, *args, **kw: seen.append(weight) or own(x, weight, *args, **kw))
    return seen


@torch.no_grad()
@pytest.mark.parametrize('options', [{}, dict(bias=True), dict(stride=2, padding=1), dict(dilation=2, padding=2)])
def test_one_convolution_gives_the_same(options, convolved):
    conv, norm = layers(**options)
    x = toys.smooth(2, 4, 9, 11, seed=1)
    expected = norm(conv(x))
    convolved.clear()
    assert torch.allclose(conv_norm(conv, norm, x), expected, atol=1e-5)
    assert torch.allclose(run_folded(nn.Sequential(nn.ReLU(), conv, norm), x), norm(conv(x.relu())), atol=1e-5)
    assert convolved[0] is not conv.weight  # folded indeed


@torch.no_grad()
@pytest.mark.parametrize('changed', ['conv', 'weight', 'bias', 'running_mean', 'running_var', 'load', 'dtype'])
def test_changed_weights_are_folded_anew(changed):
    conv, norm = layers()
    x = toys.smooth(1, 4, 9, 9, seed=1)
    before = conv_norm(conv, norm, x)
    assert folded(conv, norm, torch.float32)[0] is folded(conv, norm, torch.float32)[0]  # made once
    if changed == 'load':
        norm.load_state_dict({k: v * 2 for k, v in norm.state_dict().items()})
    elif changed == 'dtype':
        conv, norm, x = conv.double(), norm.double(), x.double()
    else:
        (conv.weight if changed == 'conv' else getattr(norm, changed)).mul_(2)
    after = conv_norm(conv, norm, x)
    assert torch.allclose(after, norm(conv(x)), atol=1e-5) and after.dtype == x.dtype
    assert changed == 'dtype' or not torch.allclose(before, after)


def test_training_knows_nothing_of_it():
    conv, norm = layers()
    keys = set(nn.Sequential(conv, norm).state_dict())
    x = toys.smooth(2, 4, 9, 9, seed=1)
    with torch.no_grad():
        conv_norm(conv, norm, x)
        assert torch.equal(conv_norm(conv, norm.train(), x), copy.deepcopy(norm)(conv(x)))  # statistics of the batch
    conv_norm(conv, norm.eval(), x).sum().backward()
    assert conv.weight.grad is not None and norm.weight.grad is not None
    assert set(nn.Sequential(conv, norm).state_dict()) == keys


@pytest.mark.parametrize('config', [toys.RESNET, toys.VGG], ids=['ResNet', 'VGG'])
def test_backbones(config):
    """With gradients the layers run as built, without them folded."""
    backbone, images = toys.build(config), toys.smooth(2, 3, 41, 49, seed=0)
    plain = backbone.extract_blocks(images)
    again = backbone.last_stage(plain['layer3'])
    with torch.no_grad():
        found, last = backbone.extract_blocks(images), backbone.last_stage(plain['layer3'])
    for name, stage in plain.stages.items():
        assert torch.allclose(found[name], stage, atol=1e-4 * float(stage.std()))
        for a, b in zip(found.blocks[name], plain.blocks[name], strict=True):
            assert torch.allclose(a, b, atol=1e-4 * float(b.std()))
    assert torch.allclose(last, again, atol=1e-4 * float(again.std()))
