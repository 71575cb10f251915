# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .block_feature_backbone import BlockFeatureBackbone
from .block_plain_vgg import BlockPlainVGG
from .plain_vgg import PlainVGG
from .resnet import BlockResNet
from .vgg import BlockVGG

__all__ = ['BlockFeatureBackbone', 'BlockPlainVGG', 'BlockResNet', 'BlockVGG', 'PlainVGG']
