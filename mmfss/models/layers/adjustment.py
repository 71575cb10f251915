# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BAM's adjustment factor: how far the scene of a support is from that of the query (Lang et al. 2022, Eq. 8-9)."""

from torch import Tensor

from mmfss.utils.precision import full_precision

EPS = 1e-7


@full_precision
def gram_matrix(features: Tensor) -> Tensor:
    """Normalised Gram matrix of a feature map.

    Args:
        features (Tensor): Low-level stage feature (N, C, h, w).

    Returns:
        Tensor: (N, C, C), cosine similarity of the channels.
    """
    flat = features.flatten(2)  # (N, C, hw)
    norm = flat.norm(dim=2, keepdim=True)  # (N, C, 1)
    return flat @ flat.transpose(1, 2) / (norm @ norm.transpose(1, 2) + EPS)


@full_precision
def scene_difference(query: Tensor, support: Tensor) -> Tensor:
    """Frobenius distance of Gram matrices, relative to that of all ones.

    Args:
        query (Tensor): (B, C, C).
        support (Tensor): (B, K, C, C).

    Returns:
        Tensor: (B, K), 0 for equal scenes.
    """
    return (query.unsqueeze(1) - support).flatten(2).norm(dim=2) / query.shape[-1]
