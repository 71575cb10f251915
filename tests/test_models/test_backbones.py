# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ResNet and VGG with block features."""

import pytest
import torch
import toys
from torch import nn

from mmfss.models import BlockResNet, BlockVGG
from mmfss.structures import STAGES

DEEP = dict(
    type='BlockResNet',
    depth=50,
    base_channels=4,
    stem_channels=8,
    deep_stem=True,
    strides=(1, 2, 1, 1),
    dilations=(1, 1, 2, 4),
)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two maps are equal but for the rounding of a folded BatchNorm."""
    return torch.allclose(a, b, atol=1e-5 * float(b.std()), rtol=1e-5)


@pytest.fixture(params=[toys.RESNET, DEEP, toys.VGG], ids=['basic blocks', 'bottlenecks', 'vgg'])
def backbone(request):
    return toys.build(request.param)


@torch.no_grad()
def test_stages_are_the_plain_outputs(backbone):
    images = toys.smooth(2, 3, 57, 41, seed=0)
    features = backbone.extract_blocks(images)
    for (name, stage), output in zip(features.stages.items(), backbone(images)[1:], strict=True):
        assert close(stage, output) and stage.shape[1] == backbone.stage_channels[name]
        assert features.sizes[name] == stage.shape[-2:]
    assert {name: backbone.num_blocks[name] for name in STAGES} == {n: len(b) for n, b in features.blocks.items()}
    assert close(backbone.last_stage(features['layer3']), features['layer4'])


@pytest.mark.parametrize('config', [toys.RESNET, DEEP], ids=['basic blocks', 'bottlenecks'])
@torch.no_grad()
def test_resnet_blocks_are_sums_before_the_relu(config):
    backbone, outputs = toys.build(config), []
    for layer in (backbone.layer2, backbone.layer3, backbone.layer4):
        for block in layer:
            block.register_forward_hook(lambda _, __, output: outputs.append(output.clone()))
    images = toys.smooth(1, 3, 41, 41, seed=0)
    backbone(images)
    features = backbone.extract_blocks(images)
    sums = [block for group in features.blocks.values() for block in group]
    assert len(sums) == len(outputs) == sum(backbone.num_blocks[name] for name in STAGES)
    assert all(close(total.relu(), output) for total, output in zip(sums, outputs, strict=True))
    assert any((total < 0).any() for total in sums)


@torch.no_grad()
def test_resnet_blocks_of_layer1_where_it_is_asked_for():
    backbone, images = toys.build(toys.RESNET), toys.smooth(1, 3, 41, 41, seed=0)
    features = backbone.extract_blocks(images, ('layer1', 'layer2'))
    assert [len(features.blocks[name]) for name in ('layer1', 'layer2')] == [2, 2]
    assert torch.equal(features.blocks['layer1'][-1].relu(), features['layer1'])
    assert (features.blocks['layer1'][-1] < 0).any()


@torch.no_grad()
def test_vgg_blocks_are_raw_conv_outputs():
    backbone, outputs = toys.build(toys.VGG), []
    for layer in (backbone.layer3, backbone.layer4):
        for conv in (m for m in layer if isinstance(m, nn.Conv2d)):
            conv.register_forward_hook(lambda _, __, output: outputs.append(output.clone()))
    features = backbone.extract_blocks(toys.smooth(1, 3, 41, 41, seed=0))
    convs = [*features.blocks['layer2'], *features.blocks['layer3']]
    assert len(outputs) == 6 and all(torch.equal(a, b) for a, b in zip(convs, outputs, strict=True))
    assert features.blocks['layer4'][0] is features['layer4']


@torch.no_grad()
def test_sizes_of_the_paper():
    """473 pixels: ResNet 119 -> 60, 60, 60 and VGG 60 -> 30, 30."""
    image = torch.zeros(1, 3, 473, 473)
    resnet, vgg = (toys.build(c).extract_blocks(image) for c in (DEEP, dict(toys.VGG, widths=(2, 2, 4, 4, 4))))
    assert [stage.shape[-1] for stage in resnet.stages.values()] == [60, 60, 60]
    assert resnet.sizes['layer1'] == (119, 119)
    assert [stage.shape[-1] for stage in vgg.stages.values()] == [60, 30, 30]
    assert vgg.blocks['layer2'][0].shape[-1] == 60


@torch.no_grad()
def test_only_what_is_asked_for_is_computed(backbone):
    images, ran = toys.smooth(1, 3, 41, 41, seed=0), []
    backbone.layer4.register_forward_hook(lambda *_: ran.append('layer4'))
    whole = backbone.extract_blocks(images, ('layer1', 'layer3', 'layer4'))
    assert list(whole.stages) == ['layer1', 'layer3', 'layer4']
    some = backbone.extract_blocks(images, ('layer1', 'layer3'), blocks=False)
    assert not some.blocks and 'layer4' not in some.sizes and not ran
    assert all(close(some[name], whole[name]) for name in some.stages)
    with pytest.raises(ValueError, match='layer7.*it has'):
        backbone.extract_blocks(images, ('layer7',))
    with pytest.raises(KeyError, match="no stage 'layer4'.*support_stages"):
        some['layer4']


def test_block_counts():
    counts = {depth: BlockResNet(depth, base_channels=4, stem_channels=4).num_blocks for depth in (18, 50, 101)}
    assert {depth: tuple(found.values()) for depth, found in counts.items()} == {
        18: (2, 2, 2, 2),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
    }


@pytest.mark.parametrize('config', [toys.RESNET, toys.VGG], ids=['resnet', 'vgg'])
def test_train_returns_the_module_and_keeps_norm_eval(config):
    backbone = toys.MODELS.build(dict(config, norm_eval=True))
    assert backbone.train() is backbone and backbone.training
    assert not any(m.training for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))
    assert any(
        m.training
        for m in toys.MODELS.build(dict(config, norm_eval=False)).train().modules()
        if isinstance(m, nn.BatchNorm2d)
    )


def test_vgg_has_the_released_layout():
    vgg = BlockVGG()
    assert sum(p.numel() for p in vgg.parameters()) == 14_723_136  # torchvision's vgg16_bn.features
    pools = [m for m in vgg.modules() if isinstance(m, nn.MaxPool2d)]
    assert len(pools) == 4 and all(pool.ceil_mode for pool in pools)


def test_refusals():
    with pytest.raises(ValueError, match='four stages'):
        BlockResNet(18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2))
    with pytest.raises(ValueError, match='plugins'):
        BlockResNet(50, plugins=[])
    with pytest.raises(ValueError, match='five blocks'):
        BlockVGG(widths=(8, 8))


PLAIN = dict(type='PlainVGG', widths=(2, 2, 4, 4, 4))


@pytest.mark.parametrize(
    'options, negative',
    [
        (dict(dilations=(1, 1, 1, 1, 2), last_relu=False, last_pool=False), True),  # PANet
        (dict(), False),  # SG-One
        (dict(dilations=(1, 1, 1, 2, 4), last_relu=False, norm=True), True),  # FWB
    ],
)
@torch.no_grad()
def test_plain_vgg(options, negative):
    """417 pixels: 209 -> 105 -> 53 -> 53 -> 53; torchvision's layers, the pools of the methods."""
    backbone = toys.build(dict(PLAIN, **options))
    features = backbone.extract_blocks(toys.smooth(1, 3, 417, 57, seed=0), ('layer1', *STAGES), blocks=False)
    assert [tuple(features.sizes[f'layer{i}']) for i in range(5)] == [(209, 29), (105, 15), (53, 8), (53, 8), (53, 8)]
    assert all(features[name].shape[1] == backbone.stage_channels[name] for name in features.stages)
    assert bool((features['layer4'] < 0).any()) == negative and not (features['layer3'] < 0).any()
    assert close(backbone.last_stage(features['layer3']), features['layer4'])
    convs = [[m for m in getattr(backbone, f'layer{i}') if isinstance(m, nn.Conv2d)] for i in range(5)]
    assert [len(block) for block in convs] == [2, 2, 3, 3, 3]
    dilations = options.get('dilations', (1,) * 5)
    assert all(
        conv.dilation == conv.padding == (d, d) for block, d in zip(convs, dilations, strict=True) for conv in block
    )
    pools = [isinstance(getattr(backbone, f'layer{i}')[-1], nn.MaxPool2d) for i in range(5)]
    assert pools == [True] * 4 + [options.get('last_pool', True)]


def test_plain_vgg_has_the_parameters_of_the_released_codes():
    with torch.device('meta'):
        plain, normed = (toys.MODELS.build(dict(type='PlainVGG', norm=norm)) for norm in (False, True))
    assert sum(p.numel() for p in plain.parameters()) == 14_714_688  # PANet
    assert sum(p.numel() for p in normed.parameters()) == 14_723_136  # FWB without its exit layer


def test_plain_vgg_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match='five blocks'):
        toys.build(dict(PLAIN, dilations=(1, 2)))
    with pytest.raises(ValueError, match='no block features'):
        toys.build(PLAIN).extract_blocks(torch.zeros(1, 3, 33, 33))
    normed = toys.build(dict(PLAIN, norm=True, norm_eval=True)).train()
    assert not any(m.training for m in normed.modules() if isinstance(m, nn.BatchNorm2d)) and normed.layer0[0].training
