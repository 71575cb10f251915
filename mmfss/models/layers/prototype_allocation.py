# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Guided prototype allocation (ASGNet, Li et al. 2021): each query pixel is guided by the prototype most like it."""

import torch
from torch import Tensor

from mmfss.utils.precision import full_precision

EPS = 1e-7


@full_precision
def allocate(query: Tensor, prototypes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare every query pixel with every prototype of its episode.

    Args:
        query (Tensor): (B, C, h, w).
        prototypes (Tensor): (B, C, P), of all shots.
        valid (Tensor): Which of them are there, bool (B, P); one at least.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Cosine similarity with each prototype, (B, P, h, w), 0 where there is none; the
        most similar one's index, the first of equal ones, int64 (B, h, w); and its vector, the guide (B, C, h, w).
    """
    h, w = query.shape[-2:]
    pixels = query.flatten(2)  # (B, C, hw)
    directions = prototypes / _length(prototypes)
    cosine = (directions * valid.unsqueeze(1)).transpose(1, 2) @ (pixels / _length(pixels))  # (B, P, hw)
    index = cosine.masked_fill(~valid.unsqueeze(2), float('-inf')).argmax(1)  # (B, hw)
    guide = prototypes.gather(2, index.unsqueeze(1).expand_as(pixels))  # (B, C, hw)
    return cosine.unflatten(2, (h, w)), index.unflatten(1, (h, w)), guide.unflatten(2, (h, w))


def _length(vectors: Tensor) -> Tensor:
    """Of vectors along dimension 1, at least EPS."""
    return torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp(min=EPS)
