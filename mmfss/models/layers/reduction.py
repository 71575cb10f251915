# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Reduced features of PFENet and its followers (Tian et al. 2020): layer3 and layer2 as one map of few channels."""

import torch
from torch import Tensor, nn

from mmfss.structures import BackboneFeatures

from .masks import resize


def concat_stages(features: BackboneFeatures) -> Tensor:
    """layer3 and layer2, in this order, at layer3's size: (N, C3 + C2, h, w)."""
    layer3 = features['layer3']
    return torch.cat([layer3, resize(features['layer2'], layer3.shape[-2:])], dim=1)


def reduction(in_channels: int, channels: int) -> nn.Sequential:
    """1x1 conv without bias, ReLU, channel dropout of 0.5: (N, in_channels, h, w) -> (N, channels, h, w)."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.ReLU(inplace=True), nn.Dropout2d(0.5))
