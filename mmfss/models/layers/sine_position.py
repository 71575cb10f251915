# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""DETR's sine code of where a position lies among the valid ones (Carion et al. 2020)."""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000
EPS = 1e-6


def sine_position(valid: Tensor, channels: int) -> Tensor:
    """Sines and cosines of the row, then of the column, each counted over the valid positions and scaled to 0..2 pi.

    Args:
        valid (Tensor): bool (B, h, w), False where an image holds no photograph.
        channels (int): C, even; half of them are for the rows.

    Returns:
        Tensor: (B, C, h, w), float32.
    """
    half = channels // 2
    place = torch.arange(half, device=valid.device, dtype=torch.float32)
    wavelength = TEMPERATURE ** (2 * (place // 2) / half)
    codes = []
    for dim in (1, 2):
        count = valid.cumsum(dim, dtype=torch.float32)  # (B, h, w)
        last = count.narrow(dim, valid.shape[dim] - 1, 1)
        angle = (count / (last + EPS) * (2 * math.pi)).unsqueeze(-1) / wavelength  # (B, h, w, C / 2)
        codes.append(torch.where(place % 2 == 0, angle.sin(), angle.cos()))
    return torch.cat(codes, dim=-1).permute(0, 3, 1, 2)
