# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Multi-similarity maps: every block of the backbone compares query and support (MSANet, Eq. 3-6)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfss.utils.precision import full_precision

from .masks import gather_kept
from .similarity import chunked_correlation

EPS = 1e-5


@full_precision
def unit_vectors(x: Tensor) -> Tensor:
    """(N, C, ...) scaled to unit length over C."""
    return x / (x.norm(dim=1, keepdim=True) + EPS)


def _released_squeezing(features: Tensor, mask: Tensor) -> Tensor:
    """Keep pixels whose mask value is at least the mean positive mask value (released code)."""
    values = mask.flatten(1)  # (N, L)
    positive = values > 0
    mean = values.sum(1, keepdim=True) / positive.sum(1, keepdim=True).clamp(min=1)
    return positive & (values >= mean)


def _paper_squeezing(features: Tensor, mask: Tensor) -> Tensor:
    """Keep pixels whose masked feature, averaged over channels, is at least its mean over the foreground (Eq. 4)."""
    positive = mask.flatten(1) > 0
    values = (features * mask).flatten(2).mean(1)  # (N, L)
    mean = (values * positive).sum(1, keepdim=True) / positive.sum(1, keepdim=True).clamp(min=1)
    return positive & (values >= mean)


SQUEEZINGS = dict(released=_released_squeezing, paper=_paper_squeezing)


@full_precision
def encode_block(features: Tensor, mask: Tensor, squeezing: str = 'released') -> dict[str, Tensor]:
    """What a support contributes to one similarity map.

    Args:
        features (Tensor): A block feature of the supports, (N, C, h, w).
        mask (Tensor): Soft foreground at the same size, (N, 1, h, w).
        squeezing (str): Which support pixels are kept, 'released' or 'paper' (Eq. 4).

    Returns:
        dict[str, Tensor]: ``vectors`` (N, C, M), the kept pixels at unit length; ``weight`` (N, M), one over their
        number, 0 for padding. An empty mask keeps nothing and gives a map of zeros.
    """
    keep = SQUEEZINGS[squeezing](features, mask)
    vectors, valid = gather_kept(features.flatten(2), keep)
    weight = valid.float() / valid.sum(1, keepdim=True).clamp(min=1)
    return dict(vectors=unit_vectors(vectors), weight=weight)


@full_precision
def similarity_map(query: Tensor, support: Mapping[str, Tensor]) -> Tensor:
    """Mean positive cosine similarity of each query pixel with the kept pixels of each support (Eq. 5).

    Args:
        query (Tensor): :func:`unit_vectors` of the block feature of the queries, (B, C, h, w).
        support (Mapping[str, Tensor]): :func:`encode_block`'s tensors with (B, K) in front.

    Returns:
        Tensor: (B, K, h, w); the paper's map is their mean over K.
    """
    h, w = query.shape[-2:]
    weight = support['weight'].unsqueeze(3)  # (B, K, M, 1)

    def mean(products: Tensor, rows: slice) -> Tensor:  # (B, n, K, M) -> (B, n, K)
        return torch.matmul(products.relu_().transpose(1, 2), weight).squeeze(3).transpose(1, 2)

    found = chunked_correlation(query.flatten(2), support['vectors'], mean)  # (B, hw, K)
    return found.transpose(1, 2).unflatten(2, (h, w))
