# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Dice loss of each channel for itself, as CyCTR and other methods with transformers have it."""

import torch
from torch import Tensor

from mmfss.utils.precision import full_precision

EPS = 1e-8


@full_precision
def channel_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared dice of the sigmoid of background and foreground, summed over both.

    mmseg's DiceLoss takes all channels of an image together. Void pixels (255) are not left out: they should be
    neither background nor foreground.

    Args:
        logits (Tensor): (B, 2, H, W), background and foreground.
        labels (Tensor): (B, H, W), 0, 1, 255.

    Returns:
        Tensor: Scalar 0..2, the mean over the images.
    """
    target = torch.stack([labels == 0, labels == 1], dim=1).to(logits.dtype).flatten(2)  # (B, 2, HW)
    probability = logits.sigmoid().flatten(2)
    both = probability.square().sum(2) + target.square().sum(2)
    return (1 - 2 * (target * probability).sum(2) / both.clamp(min=EPS)).sum(1).mean()
