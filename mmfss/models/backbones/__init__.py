# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .block_feature_backbone import BlockFeatureBackbone
from .features import BackboneFeatures
from .resnet import BlockResNet
from .vgg import BlockVGG

__all__ = ['BackboneFeatures', 'BlockFeatureBackbone', 'BlockResNet', 'BlockVGG']
