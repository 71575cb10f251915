# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Prototype alignment regularisation (PANet, Wang et al. 2019): the prediction of a query must segment the supports."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.precision import full_precision

from .cosine import cosine_maps
from .half_pixel import resize_half_pixel

EPS = 1e-5  # added to a mask's number of pixels
IGNORE = 255


@full_precision
def alignment_loss(query: Tensor, scores: Tensor, supports: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Cross entropy of supports that are segmented by the prototypes of their query's prediction.

    The hard prediction at feature size is the query's mask and has no gradient; everything else has. A class that is
    predicted nowhere is skipped, and the division by the number of classes stays (the released code).

    Args:
        query (Tensor): Features (B, C, h, w).
        scores (Tensor): Of the same query: background and W classes, (B, 1 + W, h, w).
        supports (Tensor): Features (B, W, K, C, h', w').
        labels (Tensor): Of each support for its own class, (B, W, K, H, W): 1 the class, 0 background, 255 neither.
        scale (float): Factor of the cosine.

    Returns:
        Tensor: Scalar, the mean over B, W and K.
    """
    B, W, K = supports.shape[:3]
    predicted = F.one_hot(scores.argmax(1), 1 + W).permute(0, 3, 1, 2).to(query.dtype)  # (B, 1 + W, h, w)
    count = predicted.sum((2, 3))  # (B, 1 + W)
    prototypes = torch.einsum('bvhw,bchw->bvc', predicted, query) / (count + EPS).unsqueeze(2)
    background, own = prototypes[:, :1].expand(-1, W, -1), prototypes[:, 1:]
    pairs = torch.stack([background, own], dim=2)  # (B, W, 2, C)
    pairs = pairs.unsqueeze(2).expand(-1, -1, K, -1, -1)  # (B, W, K, 2, C)
    logits = scale * cosine_maps(supports.flatten(0, 2), pairs.flatten(0, 2))  # (B*W*K, 2, h', w')
    labels = labels.flatten(0, 2).long()  # (B*W*K, H, W)
    losses = F.cross_entropy(
        resize_half_pixel(logits, labels.shape[-2:]), labels, ignore_index=IGNORE, reduction='none'
    ).sum((1, 2))
    means = (losses / (labels != IGNORE).sum((1, 2)).clamp(min=1)).view(B, W, K)
    return (means * (count[:, 1:, None] > 0)).mean()
