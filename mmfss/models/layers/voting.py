# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Voting of K supports, each segmented by itself (HSNet's released code; VAT and DCAMA after it)."""

import torch
from torch import Tensor


def vote(shot_scores: Tensor) -> Tensor:
    """Scores whose argmax is what the supports vote for.

    Foreground where at least half as many shots see it as at the pixel where most do. That is no majority of K: when at
    most 3 of 5 shots agree anywhere, 2 suffice, and where a single shot finds anything, its pixels are foreground.

    Args:
        shot_scores (Tensor): (B, K, 2, H, W), background and foreground, at the size at which is voted.

    Returns:
        Tensor: (B, 2, H, W): the only shot's scores for K = 1, else (m - 0.5, 2 * votes), m the most votes of a pixel,
        at least 1. A tie at exactly half is foreground.
    """
    if shot_scores.shape[1] == 1:
        return shot_scores[:, 0]
    votes = count_votes(shot_scores).float()
    most = votes.amax((1, 2), keepdim=True).clamp(min=1)
    return torch.stack([(most - 0.5).expand_as(votes), 2 * votes], dim=1)


def count_votes(shot_scores: Tensor) -> Tensor:
    """How many shots see the foreground at a pixel: (B, K, 2, H, W) -> int64 (B, H, W). A tie is background."""
    return (shot_scores[:, :, 1] > shot_scores[:, :, 0]).sum(1)
