# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .backbones import BackboneFeatures, BlockFeatureBackbone, BlockResNet, BlockVGG
from .data_preprocessor import EpisodeDataPreProcessor
from .decode_heads import BaseMetaHead, MetaOutput, MSANetHead, NarrowPSPHead, PriorMaskHead, PrototypeHead
from .losses import WeightedCrossEntropyLoss
from .segmentors import BaseLearnerEnsemble, FewShotSegmentor

__all__ = [
    'BackboneFeatures',
    'BaseLearnerEnsemble',
    'BaseMetaHead',
    'BlockFeatureBackbone',
    'BlockResNet',
    'BlockVGG',
    'EpisodeDataPreProcessor',
    'FewShotSegmentor',
    'MSANetHead',
    'MetaOutput',
    'NarrowPSPHead',
    'PriorMaskHead',
    'PrototypeHead',
    'WeightedCrossEntropyLoss',
]
