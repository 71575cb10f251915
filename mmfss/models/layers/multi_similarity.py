# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Multi-similarity maps: every block of the backbone compares query and support (MSANet, Eq. 3-6)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfss.utils.precision import operand_precision, same_operands

from .masks import gather_kept
from .similarity import chunked_correlation

EPS = 1e-5


def _unit(x: Tensor) -> Tensor:
    """(N, C, L) scaled to unit length over C, in its own number format."""
    return (x / (torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32) + EPS)).to(x.dtype)


def _released_squeezing(features: Tensor, mask: Tensor) -> Tensor:
    """Keep pixels whose mask value is at least the mean positive mask value (released code)."""
    values = mask.flatten(1)  # (N, L)
    positive = values > 0
    mean = values.sum(1, keepdim=True) / positive.sum(1, keepdim=True).clamp(min=1)
    return positive & (values >= mean)


def _paper_squeezing(features: Tensor, mask: Tensor) -> Tensor:
    """Keep pixels whose masked feature, averaged over channels, is at least its mean over the foreground (Eq. 4)."""
    positive = mask.flatten(1) > 0
    values = (features * mask).flatten(2).mean(1)  # (N, L), float32 as the mask is
    mean = (values * positive).sum(1, keepdim=True) / positive.sum(1, keepdim=True).clamp(min=1)
    return positive & (values >= mean)


SQUEEZINGS = dict(released=_released_squeezing, paper=_paper_squeezing)


@operand_precision
def encode_block(features: Tensor, mask: Tensor, squeezing: str = 'released') -> dict[str, Tensor]:
    """What a support contributes to one similarity map.

    Args:
        features (Tensor): A block feature of the supports, (N, C, h, w).
        mask (Tensor): Soft foreground at the same size, (N, 1, h, w).
        squeezing (str): Which support pixels are kept, 'released' or 'paper' (Eq. 4).

    Returns:
        dict[str, Tensor]: ``vectors`` (N, C, M), the kept pixels at unit length, bfloat16 where the features are;
        ``weight`` (N, M), one over their number, 0 for padding. An empty mask keeps nothing and gives a map of zeros.
    """
    keep = SQUEEZINGS[squeezing](features, mask)
    vectors, valid = gather_kept(features.flatten(2), keep)
    weight = valid.float() / valid.sum(1, keepdim=True).clamp(min=1)
    return dict(vectors=_unit(vectors), weight=weight)


@operand_precision
def similarity_map(query: Tensor, support: Mapping[str, Tensor]) -> Tensor:
    """Mean positive cosine similarity of each query pixel with the kept pixels of each support (Eq. 5).

    Args:
        query (Tensor): The block feature of the queries, (B, C, h, w).
        support (Mapping[str, Tensor]): :func:`encode_block`'s tensors with (B, K) in front.

    Returns:
        Tensor: (B, K, h, w), float32; the paper's map is their mean over K.
    """
    h, w = query.shape[-2:]
    maps, vectors = same_operands(query.flatten(2), support['vectors'])
    share = 1 / (support['weight'] > 0).sum(2).clamp(min=1)  # (B, K); padding has weight 0, and is a zero vector

    def mean(products: Tensor, shots: slice) -> Tensor:  # (B, n, k, M) -> (B, n, k)
        return products.relu_().sum(3, dtype=torch.float32) * share[:, None, shots]

    # Scaling to unit length comes last: it is positive, so it may leave ReLU and mean, and a map is not copied for it.
    length = torch.linalg.vector_norm(maps, dim=1, dtype=torch.float32) + EPS  # (B, hw)
    similarity = chunked_correlation(maps, vectors, mean) / length.unsqueeze(2)  # (B, hw, K)
    return similarity.transpose(1, 2).unflatten(2, (h, w))
