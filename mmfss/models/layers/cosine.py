# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Cosine similarity of every pixel with a few vectors."""

import torch
from torch import Tensor

from mmfss.utils.precision import full_precision

EPS = 1e-8


@full_precision
def cosine_maps(features: Tensor, vectors: Tensor) -> Tensor:
    """Cosine of each pixel with each vector, -1..1, 0 where one of the two is zero.

    Args:
        features (Tensor): (N, C, h, w).
        vectors (Tensor): (N, V, C).

    Returns:
        Tensor: (N, V, h, w).
    """
    dots = torch.einsum('nvc,nchw->nvhw', vectors, features)
    norms = vectors.norm(dim=2)[:, :, None, None] * features.norm(dim=1, keepdim=True)
    return dots / norms.clamp(min=EPS)
