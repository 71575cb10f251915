# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .block_feature_backbone import BlockFeatureBackbone
from .plain_vgg import PlainVGG
from .resnet import BlockResNet
from .vgg import BlockVGG

__all__ = ['BlockFeatureBackbone', 'BlockResNet', 'BlockVGG', 'PlainVGG']
