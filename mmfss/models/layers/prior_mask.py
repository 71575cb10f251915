# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The training-free prior mask (PFENet, Tian et al. 2020; MSANet's M_pr).

For each query pixel the best cosine similarity with any pixel of the masked support, scaled to 0..1 over the image.
"""

from collections.abc import Mapping

from torch import Tensor

from mmfss.utils.precision import full_precision

from .masks import gather_kept, resize
from .similarity import chunked_correlation

EPS = 1e-7
PRIOR_PARTS = ('vectors', 'valid', 'blank')  # of a support, see encode_prior


@full_precision
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
    vectors, valid = gather_kept((features * mask).flatten(2), positive)
    return dict(vectors=vectors, valid=valid, blank=~positive.all(1))


@full_precision
def prior_mask(query: Tensor, support: Mapping[str, Tensor]) -> Tensor:
    """Prior mask of a query for each of its supports.

    Args:
        query (Tensor): layer4 output of the queries, (B, C, h, w).
        support (Mapping[str, Tensor]): :func:`encode_prior`'s tensors with (B, K) in front.

    Returns:
        Tensor: (B, K, h, w) in 0..1, min-max scaled for each query and support.
    """
    h, w = query.shape[-2:]
    q, s = query.flatten(2), support['vectors']  # (B, C, hw), (B, K, C, M)
    norms = (q.norm(dim=1), s.norm(dim=2))  # (B, hw), (B, K, M)

    def best(dots: Tensor, rows: slice) -> Tensor:  # (B, n, K, M) -> (B, n, K)
        scale = norms[0][:, rows, None, None] * norms[1][:, None] + EPS
        similarity = (dots / scale).masked_fill(~support['valid'][:, None], float('-inf')).amax(-1)
        blank = support['blank'][:, None]  # (B, 1, K)
        return similarity.maximum(similarity.new_zeros(()).where(blank, similarity.new_tensor(float('-inf'))))

    prior = chunked_correlation(q, s, best).transpose(1, 2)  # (B, K, hw)
    low, high = prior.amin(-1, keepdim=True), prior.amax(-1, keepdim=True)
    return ((prior - low) / (high - low + EPS)).unflatten(2, (h, w))  # (B, K, h, w)
