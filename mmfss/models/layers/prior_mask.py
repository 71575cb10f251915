# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The training-free prior mask (PFENet, Tian et al. 2020; MSANet's M_pr).

For each query pixel the best cosine similarity with any pixel of the masked support, scaled to 0..1 over the image.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfss.utils.precision import operand_precision, same_operands

from .masks import gather_kept, resize
from .similarity import chunked_correlation

EPS = 1e-7
PRIOR_PARTS = ('vectors', 'valid', 'blank')  # of a support, see encode_prior


@operand_precision
def encode_prior(features: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """What a support contributes to the prior mask.

    Args:
        features (Tensor): layer4 output of the supports, (N, C, h, w).
        mask (Tensor): Foreground (N, 1, H, W).

    Returns:
        dict[str, Tensor]: ``vectors`` (N, C, M): support features times the soft mask where it is positive;
        ``valid`` bool (N, M); ``blank`` bool (N,): whether any position has mask 0. Such positions are zero vectors
        with similarity 0, so they bound the maximum from below and need not be stored.
    """
    mask = resize(mask, features.shape[-2:])  # (N, 1, h, w)
    positive = mask.flatten(1) > 0  # (N, hw)
    vectors, valid = gather_kept(features.flatten(2), positive)
    soft, _ = gather_kept(mask.flatten(2), positive)  # (N, 1, M)
    return dict(vectors=(vectors * soft).to(features.dtype), valid=valid, blank=~positive.all(1))


@operand_precision
def prior_mask(query: Tensor, support: Mapping[str, Tensor]) -> Tensor:
    """Prior mask of a query for each of its supports.

    Args:
        query (Tensor): layer4 output of the queries, (B, C, h, w).
        support (Mapping[str, Tensor]): :func:`encode_prior`'s tensors with (B, K) in front.

    Returns:
        Tensor: (B, K, h, w) in 0..1, min-max scaled for each query and support.
    """
    h, w = query.shape[-2:]
    q, s = same_operands(query.flatten(2), support['vectors'])  # (B, C, hw), (B, K, C, M)
    # Scaled to unit length the support's side costs least, and the query's is left to the end. A vector of zeros has
    # similarity 0; padding, whose similarity is minus infinity, is none.
    s = (s / torch.linalg.vector_norm(s, dim=2, keepdim=True, dtype=torch.float32).clamp(min=EPS)).to(s.dtype)
    padding = torch.zeros_like(support['valid'], dtype=s.dtype).masked_fill(~support['valid'], float('-inf'))
    length = torch.linalg.vector_norm(q, dim=1, dtype=torch.float32).clamp(min=EPS)  # (B, hw)

    def best(dots: Tensor, shots: slice) -> Tensor:  # (B, n, k, M) -> (B, n, k)
        similarity = dots.amax(-1).float()
        blank = support['blank'][:, None, shots]  # (B, 1, k)
        return similarity.maximum(similarity.new_zeros(()).where(blank, similarity.new_tensor(float('-inf'))))

    prior = (chunked_correlation(q, s, best, padding) / length.unsqueeze(2)).transpose(1, 2)  # (B, K, hw)
    low, high = prior.amin(-1, keepdim=True), prior.amax(-1, keepdim=True)
    return ((prior - low) / (high - low + EPS)).unflatten(2, (h, w))  # (B, K, h, w)
