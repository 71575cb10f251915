# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from mmfss.structures import BackboneFeatures

from . import decode_heads
from .backbones import BlockFeatureBackbone, BlockResNet, BlockVGG, PlainVGG
from .data_preprocessor import EpisodeDataPreProcessor, NWayDataPreProcessor
from .decode_heads import *  # noqa: F403, every head of the folder
from .losses import SmoothedCrossEntropyLoss, WeightedCrossEntropyLoss
from .necks import BaseLearnerNeck
from .segmentors import BaseLearnerEnsemble, FewShotSegmentor, NWaySegmentor

__all__ = [
    'BackboneFeatures',
    'BaseLearnerEnsemble',
    'BaseLearnerNeck',
    'BlockFeatureBackbone',
    'BlockResNet',
    'BlockVGG',
    'EpisodeDataPreProcessor',
    'FewShotSegmentor',
    'NWayDataPreProcessor',
    'NWaySegmentor',
    'PlainVGG',
    'SmoothedCrossEntropyLoss',
    'WeightedCrossEntropyLoss',
    *decode_heads.__all__,
]
