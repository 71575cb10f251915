# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Methods on backbones of other toolboxes: convolutional, tokens, pyramids."""

import pytest
import toys
from model_tester import ModelTester


def wrapped(backbone: dict, *blocks: str, **kwargs) -> dict:
    return dict(type='BlockFeatureBackbone', backbone=backbone, blocks=[[pattern] for pattern in blocks], **kwargs)


class TestMobileNetV2(ModelTester):
    head = toys.MSANET
    half_tolerance = 1e-1  # 17 random inverted bottlenecks magnify rounding as no trained network does
    backbone = wrapped(
        dict(
            type='mmseg.MobileNetV2',
            widen_factor=0.25,
            out_indices=(2, 4, 6),
            strides=(1, 2, 2, 1, 1, 1, 1),
            dilations=(1, 1, 1, 2, 2, 4, 4),
        ),
        r'layer3\.\d+',
        r'layer[45]\.\d+',
        r'layer[67]\.\d+',
    )


class TestMixVisionTransformer(ModelTester):
    """Blocks give tokens (N, L, C)."""

    head = toys.MSANET
    half_tolerance = 2e-2  # alone in its batch an image rounds differently in bfloat16: 1.1e-2
    backbone = wrapped(
        dict(
            type='mmseg.MixVisionTransformer',
            embed_dims=8,
            num_layers=(1, 1, 1, 1),
            num_heads=(1, 1, 2, 2),
            out_indices=(1, 2, 3),
        ),
        r'layers\.1\.1\.\d',
        r'layers\.2\.1\.\d',
        r'layers\.3\.1\.\d',
    )
    size = (65, 65)


class TestSwinTransformer(ModelTester):
    head = toys.MSANET
    backbone = wrapped(
        dict(
            type='mmseg.SwinTransformer',
            embed_dims=8,
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 2, 2),
            window_size=3,
            out_indices=(1, 2, 3),
        ),
        r'stages\.1\.blocks\.\d',
        r'stages\.2\.blocks\.\d',
        r'stages\.3\.blocks\.\d',
    )
    size = (65, 65)


class OfMMPretrain(ModelTester):
    """Base of the tests that need mmpretrain, which is an optional dependency."""

    @pytest.fixture(autouse=True)
    def need_mmpretrain(self):
        pytest.importorskip('mmpretrain', exc_type=ImportError)


class TestRegNet(OfMMPretrain):
    head = dict(type='PrototypeHead')
    ignores_void = False
    learned = False
    backbone = wrapped(
        dict(type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=(1, 2, 3)),
        r'layer2\.\d+',
        r'layer3\.\d+',
        r'layer4\.\d+',
    )


class TestConvNeXt(OfMMPretrain):
    head = toys.MSANET
    backbone = wrapped(
        dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16]),
            out_indices=(1, 2, 3),
            gap_before_final_norm=False,
        ),
        r'stages\.1\.\d',
        r'stages\.2\.\d',
        r'stages\.3\.\d',
    )
    size = (65, 65)
