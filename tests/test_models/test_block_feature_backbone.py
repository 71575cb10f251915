# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The wrapper that reads block features of any backbone."""

import pytest
import torch
import toys
from torch import nn

from mmfss.models import BlockFeatureBackbone
from mmfss.models.layers.dilated_depthwise import DilatedDepthwiseConv2d, speed_up_dilated_depthwise

PLAIN = dict(type='mmseg.ResNet', depth=18, base_channels=8, stem_channels=8)
BLOCKS = ([r'layer2\.\d'], [r'layer3\.\d'], [r'layer4\.\d'])


def _maps(features):
    return [*features.stages.values(), *(block for group in features.blocks.values() for block in group)]


def wrap(**kwargs) -> BlockFeatureBackbone:
    return toys.build({**dict(type='BlockFeatureBackbone', backbone=PLAIN, blocks=BLOCKS), **kwargs})


@torch.no_grad()
def test_blocks_are_the_named_modules_outputs():
    backbone, images = wrap(), toys.smooth(2, 3, 64, 48, seed=0)
    features = backbone.extract_blocks(images)
    assert list(backbone.stage_channels.values()) == [16, 32, 64] and set(backbone.num_blocks.values()) == {2}
    assert backbone.block_names['layer3'] == ['layer3.0', 'layer3.1']
    for stage, group, output in zip(features.stages.values(), features.blocks.values(), backbone(images), strict=True):
        assert torch.equal(stage, output) and torch.equal(group[-1], output)  # a block of mmseg ends with its ReLU
    assert features.sizes == {name: stage.shape[-2:] for name, stage in features.stages.items()}
    assert not any(m._forward_hooks for m in backbone.modules()), 'hooks must not stay'


@torch.no_grad()
def test_tokens_become_maps():
    config = dict(
        type='mmseg.MixVisionTransformer',
        embed_dims=8,
        num_layers=(1, 1, 1, 1),
        num_heads=(1, 1, 1, 1),
        out_indices=(1, 2, 3),
    )
    backbone = wrap(backbone=config, blocks=[[rf'layers\.{i}\.1\.0'] for i in (1, 2, 3)])
    seen = {}
    backbone.backbone.layers[2][1][0].register_forward_hook(lambda _, __, output: seen.update(tokens=output))
    features = backbone.extract_blocks(toys.smooth(2, 3, 64, 96, seed=0))
    block = features.blocks['layer3'][0]
    assert block.shape[-2:] == features['layer3'].shape[-2:] == (4, 6)
    assert torch.equal(block[:, :, 1, 2], seen['tokens'][:, 1 * 6 + 2])


@torch.no_grad()
def test_the_last_stage_alone():
    backbone, images = wrap(last_stage=[r'layer4']), toys.smooth(2, 3, 64, 48, seed=0)
    features = backbone.extract_blocks(images, blocks=False)
    assert torch.equal(backbone.last_stage(features['layer3']), features['layer4'])
    with pytest.raises(ValueError, match='last_stage'):
        wrap().last_stage(features['layer3'])
    with pytest.raises(ValueError, match='does not make layer4 of layer3'):
        wrap(last_stage=[r'layer4\.0'])
    with pytest.raises(ValueError, match='does not run on layer3'):
        wrap(last_stage=[r'layer2'])
    with pytest.raises(ValueError, match='no module of ResNet matches last_stage'):
        wrap(last_stage=['stage9'])


@torch.no_grad()
def test_without_blocks_and_with_layer1():
    backbone, images = wrap(blocks=None, out_indices=(0, 1, 2, 3)), toys.smooth(1, 3, 64, 48, seed=0)
    assert list(backbone.stage_channels) == ['layer1', 'layer2', 'layer3', 'layer4'] and not backbone.num_blocks
    features = backbone.extract_blocks(images, ('layer1', 'layer4'), blocks=False)
    assert [s.shape[1] for s in features.stages.values()] == [8, 64]
    with pytest.raises(ValueError, match='`blocks`'):
        backbone.extract_blocks(images)


@torch.no_grad()
def test_blocks_of_layer1_where_it_is_asked_for():
    backbone = wrap(blocks=([r'layer1\.\d'], *BLOCKS), out_indices=(0, 1, 2, 3))
    images = toys.smooth(1, 3, 64, 48, seed=0)
    assert list(backbone.num_blocks) == ['layer1', 'layer2', 'layer3', 'layer4']
    features = backbone.extract_blocks(images, ('layer1', 'layer2'))
    assert torch.equal(features.blocks['layer1'][-1], features['layer1'])
    assert list(backbone.extract_blocks(images).blocks) == ['layer2', 'layer3', 'layer4']
    with pytest.raises(ValueError, match='out_indices wherever blocks have four'):
        wrap(blocks=([r'layer1\.\d'], *BLOCKS))


def test_a_pattern_without_a_module():
    with pytest.raises(ValueError, match=r"no module of ResNet matches blocks=\['stage9.*it has e.g.*conv1"):
        wrap(blocks=(BLOCKS[0], BLOCKS[1], ['stage9']))


def test_too_few_outputs():
    with pytest.raises(ValueError, match=r"gives 2 feature map\(s\).*'out_indices'"):
        wrap(backbone=dict(PLAIN, out_indices=(2, 3)))


def test_three_groups_are_needed():
    with pytest.raises(ValueError, match='three entries'):
        wrap(blocks=BLOCKS[:2])


def test_tokens_of_another_resolution():
    config = dict(
        type='mmseg.MixVisionTransformer',
        embed_dims=8,
        num_layers=(1, 1, 1, 1),
        num_heads=(1, 1, 1, 1),
        out_indices=(1, 2, 3),
    )
    with pytest.raises(ValueError, match='same resolution as their stage'):
        wrap(backbone=config, blocks=[[r'layers\.3\.1\.0'], [r'layers\.2\.1\.0'], [r'layers\.3\.1\.0']])


def test_a_module_without_a_map():
    with pytest.raises(ValueError, match="block 'fc' gives shape"):
        wrap(backbone=dict(type='mmfss.Vectors'), blocks=(['conv'], ['conv'], ['fc']))


@toys.MODELS.register_module()
class Vectors(nn.Module):
    """Three maps, and a module that gives none."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 1), nn.Linear(3, 3)

    def forward(self, x):
        x = self.conv(x)
        self.fc(x.mean((2, 3)))
        return x, x, x


def test_train_keeps_frozen_parts_in_eval():
    frozen = wrap(frozen=True)
    assert frozen.train() is frozen and not any(m.training for m in frozen.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    norm_eval = wrap(norm_eval=True).train()
    norms = [m for m in norm_eval.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norm_eval.training and norms and not any(m.training for m in norms)
    assert all(p.requires_grad for p in norm_eval.parameters())


def test_building_changes_no_statistics():
    backbone = toys.MODELS.build(dict(type='BlockFeatureBackbone', backbone=PLAIN, blocks=BLOCKS))
    assert all(m.training for m in backbone.modules())
    assert not any(m.num_batches_tracked for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))


@torch.no_grad()
def test_compute_dtype():
    images = toys.smooth(1, 3, 64, 64, seed=0)
    exact, half = wrap().extract_blocks(images), wrap(compute_dtype='bfloat16').extract_blocks(images)
    for a, b in zip(_maps(exact), _maps(half), strict=True):
        assert b.dtype == torch.float32 and not torch.equal(a, b)
        assert (a - b).norm() < 2e-2 * a.norm()
    with pytest.raises(ValueError, match="compute_dtype='half'"):
        wrap(compute_dtype='half')


@pytest.mark.parametrize('kernel', [3, 5])
@pytest.mark.parametrize('dilation', [3, 4])
@pytest.mark.parametrize('size', [(12, 16), (13, 11), (5, 30)])
@pytest.mark.parametrize('padding', ['same', 'less'])
def test_dilated_depthwise_equals_plain(kernel, dilation, size, padding):
    pad = dilation * (kernel // 2) - (padding == 'less')
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, padding=pad, dilation=dilation, groups=6)
    x = torch.randn(2, 6, *size, requires_grad=True)
    if min(size) + 2 * pad < dilation * (kernel - 1) + 1:
        pytest.skip('smaller than the kernel')
    expected = plain(x)
    expected.square().sum().backward()
    reference, x.grad = x.grad, None
    found = speed_up_dilated_depthwise(plain)(x)
    assert type(plain) is DilatedDepthwiseConv2d
    found.square().sum().backward()
    assert found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(x.grad, reference, atol=1e-4)


def test_only_dilated_depthwise_is_replaced():
    convs = [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, dilation=4),
        nn.Conv2d(4, 8, 3, dilation=4, groups=4),
        nn.Conv2d(4, 4, 3, dilation=4, groups=4, stride=2),
        nn.Conv2d(4, 4, 3, dilation=4, groups=4, padding='same'),
        nn.Conv2d(4, 4, 3, dilation=4, groups=4, padding=4, padding_mode='reflect'),
    ]
    assert all(type(conv) is nn.Conv2d for conv in speed_up_dilated_depthwise(nn.Sequential(*convs)))
