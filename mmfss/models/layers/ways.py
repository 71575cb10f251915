# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""From the labels of an N-way episode to those of each class, and from the scores of each class to one map."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .masks import BACKGROUND, FOREGROUND

VOID = 255
OTHER_WAY = 254  # another class of the episode: neither foreground nor background


def way_labels(masks: Tensor) -> Tensor:
    """What the supports of each way are to a head that knows one class.

    Args:
        masks (Tensor): (B, W, K, H, W): 1 + w the class of way w, 0 background, 255 void.

    Returns:
        Tensor: Of the same shape: 1 the way's own class, 0 background, 255 void, 254 the class of another way.
    """
    W = masks.shape[1]
    own = torch.arange(1, 1 + W, device=masks.device).view(1, W, 1, 1, 1)
    other = torch.where((masks == BACKGROUND) | (masks == VOID), masks, OTHER_WAY)
    return torch.where(masks == own, FOREGROUND, other)


def join_ways(scores: Sequence[Tensor]) -> Tensor:
    """One map of classes that were segmented one by one.

    A pixel is of the class whose margin over its own background is largest, and of the background where no margin is
    positive: the rule of SG-One's released multi-class test (Zhang et al. 2018). One class alone decides as it does by
    itself.

    Args:
        scores (Sequence[Tensor]): Of each of the W classes (B, 2, h, w), background and foreground.

    Returns:
        Tensor: (B, 1 + W, h, w): 0 for the background, and the margins.
    """
    margins = torch.stack([score[:, 1] - score[:, 0] for score in scores], dim=1)  # (B, W, h, w)
    return torch.cat([torch.zeros_like(margins[:, :1]), margins], dim=1)
