# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Flags of a support's positions as tokens of a transformer (CyCTR, Zhang et al. 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .masks import FOREGROUND, resize_nearest

VOID = 255


def token_flags(labels: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Which positions are foreground and which void; neither kind may be missing.

    Where there is no foreground the four middle positions are taken for it, where there is nothing else the four
    corners are taken out of it, as in the released code.

    Args:
        labels (Tensor): (N, 1, H, W): 1 foreground, 0 background, 255 void or padding.
        size (Sequence[int]): (h, w) of the feature map.

    Returns:
        tuple[Tensor, Tensor]: ``foreground`` and ``padded``, bool (N, h, w).
    """
    small = resize_nearest(labels.float(), size).squeeze(1)  # (N, h, w)
    foreground, padded = small == FOREGROUND, small == VOID
    h, w = size
    y, x = torch.arange(h, device=labels.device).unsqueeze(1), torch.arange(w, device=labels.device)
    middle = (y >= h // 2 - 1) & (y <= h // 2) & (x >= w // 2 - 1) & (x <= w // 2)  # (h, w)
    corners = ((y == 0) | (y == h - 1)) & ((x == 0) | (x == w - 1))
    empty = ~foreground.flatten(1).any(1)[:, None, None]
    foreground = foreground | (empty & middle)
    full = foreground.flatten(1).all(1)[:, None, None]
    return foreground & ~(full & corners), padded
