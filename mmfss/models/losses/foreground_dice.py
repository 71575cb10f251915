# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Dice loss of the foreground, of each query for itself."""

import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.precision import full_precision

IGNORE = 255


@full_precision
def foreground_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - Dice of the softmax's foreground; pixels labelled 255 do not count.

    mmseg's DiceLoss takes a batch as one image. A query without the object gives 0: every mask of it has the same Dice.

    Args:
        logits (Tensor): (B, 2, H, W), background and foreground.
        labels (Tensor): (B, H, W), 0, 1, 255.

    Returns:
        Tensor: Scalar 0..1, the mean over the queries.
    """
    valid, truth = (labels != IGNORE).float(), (labels == 1).float()
    found = F.softmax(logits, dim=1)[:, 1] * valid
    both = (found * truth).sum((1, 2))
    total = found.sum((1, 2)) + truth.sum((1, 2))
    shown = (truth.flatten(1).amax(1) > 0).float()
    return ((1 - (2 * both + 1) / (total + 1)) * shown).mean()
