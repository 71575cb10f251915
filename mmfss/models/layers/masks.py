# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Foreground masks at feature size, and the support pixels they keep."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .exporting import exporting, first_kept, nearest, surely_equal

FOREGROUND, BACKGROUND = 1, 0


def foreground(mask: Tensor) -> Tensor:
    """Label maps (..., H, W) -> {0., 1.} of the same shape: only pixels labelled exactly 1 count, 255 does not."""
    return (mask == FOREGROUND).float()


def background(labels: Tensor) -> Tensor:
    """Label maps (..., H, W) -> {0., 1.} of the same shape: pixels labelled exactly 0; void and padding are not."""
    return (labels == BACKGROUND).float()


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resizing with aligned corners, the one of BAM and MSANet: (N, C, h, w) -> (N, C, *size)."""
    size, own = tuple(size), tuple(x.shape[-2:])
    same = surely_equal(own, size) if exporting() else own == size
    return x if same else F.interpolate(x, size, mode='bilinear', align_corners=True)


def resize_nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest neighbour: (N, C, h, w) -> (N, C, *size)."""
    return nearest(x, size) if exporting() else F.interpolate(x, tuple(size), mode='nearest')


def agree_with_argmax(probability: Tensor, scores: Tensor) -> Tensor:
    """Probabilities (B, ...) on the side of 0.5 that scores (B, 2, ...) are on, ties and rounding included.

    A tie is background, as ``argmax`` has it: a threshold of 0.5 then gives exactly the mask of an evaluation.
    """
    below = 0.5 - torch.finfo(probability.dtype).eps / 4  # the number before 0.5
    return torch.where(scores[:, 1] > scores[:, 0], probability.clamp(min=0.5), probability.clamp(max=below))


def mask_pyramid(mask: Tensor, through: Iterable[tuple[int, int]], sizes: Iterable[tuple[int, int]]) -> list:
    """Resize a mask step by step, each size from the previous result (MSANet's released code).

    Args:
        mask (Tensor): Foreground (N, 1, H, W).
        through (Iterable[tuple[int, int]]): Sizes passed on the way, whose results are not kept.
        sizes (Iterable[tuple[int, int]]): The size of each block feature, in order.

    Returns:
        list[Tensor]: One soft mask (N, 1, h, w) for each of ``sizes``.
    """
    for size in through:
        mask = resize(mask, size)
    masks = []
    for size in sizes:
        mask = resize(mask, size)
        masks.append(mask)
    return masks


def _kept_first(keep: Tensor) -> Tensor:
    """Indices (N, M) of the kept positions (N, L), in their own order, then of others up to the longest list."""
    longest = max(int(keep.sum(1).max()), 1)
    return keep.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]


def gather_kept(features: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Collect the kept positions of each map, padded with zeros to the longest list.

    The foreground usually covers a tenth of a support, so what follows costs a tenth.

    Args:
        features (Tensor): (N, C, L).
        keep (Tensor): bool (N, L).

    Returns:
        tuple[Tensor, Tensor]: Vectors (N, C, M) and which of them are real, bool (N, M); M >= 1.
    """
    if exporting():
        index = first_kept(keep)  # (N, M)
        vectors = features.gather(2, index.unsqueeze(1).expand(-1, features.shape[1], -1))  # (N, C, M)
    else:
        index = _kept_first(keep)
        # Whole rows are copied where the maps lie channels last, and the vectors stay rows in memory.
        rows = [image.index_select(0, i) for image, i in zip(features.transpose(1, 2), index, strict=True)]  # (M, C)
        vectors = torch.stack(rows).transpose(1, 2)
    valid = keep.gather(1, index)  # (N, M)
    return vectors * valid.unsqueeze(1), valid
