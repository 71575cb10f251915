# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Bilinear resizing with half-pixel centres (``align_corners=False``), which PANet and SG-One use throughout."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.precision import full_precision


def resize_half_pixel(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, half-pixel centres: (N, C, h, w) -> (N, C, *size)."""
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=False)


@full_precision
def average_at_full_size(features: Tensor, mask: Tensor, eps: float = 0.0) -> Tensor:
    """Mean under a mask of features resized up to the mask's size.

    The resizing is linear, so the mask is carried back to the features by the transposed resizing instead: the same
    number for the 1/64 of the work at output stride 8.

    Args:
        features (Tensor): (N, C, h, w).
        mask (Tensor): (N, 1, H, W), any weights.
        eps (float): Added to the mask's sum. Defaults to 0, with which an empty mask gives NaN.

    Returns:
        Tensor: (N, C).
    """
    weight = _carried_back(mask.squeeze(1), features.shape[-2:])
    total = torch.einsum('nchw,nhw->nc', features, weight)
    return total / (mask.sum((2, 3)) + eps)


def _carried_back(mask: Tensor, size: Sequence[int]) -> Tensor:
    """The transposed resizing: (N, H, W) -> (N, h, w), of the same sum."""
    rows, columns = (_shares(own, wanted, mask) for own, wanted in zip(size, mask.shape[-2:], strict=True))
    return rows.transpose(0, 1) @ mask @ columns


def _shares(length: int, resized: int, like: Tensor) -> Tensor:
    """(resized, length): what each place contributes to each place of a resized line."""
    place = (torch.arange(resized, device=like.device, dtype=like.dtype) + 0.5) * (length / resized) - 0.5
    place = place.clamp(min=0, max=length - 1).unsqueeze(1)
    return (1 - (place - torch.arange(length, device=like.device, dtype=like.dtype)).abs()).clamp(min=0)
