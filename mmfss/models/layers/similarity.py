# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Dot products of all query pixels with all support vectors, in tiles that are reduced as soon as they are there."""

from collections.abc import Callable

import torch
from torch import Tensor

from .exporting import exporting

# Products held at once. On a CPU (float32: 1 MiB) they stay in the cache until they are reduced; elsewhere (256 MiB)
# the memory is bounded: a 641x641 query against a full support would need 0.2 GiB an image in one piece.
CACHED_PRODUCTS, MAX_PRODUCTS = 2**18, 2**26


def chunked_correlation(query: Tensor, support: Tensor, reduce: Callable[[Tensor, slice, slice], Tensor]) -> Tensor:
    """Correlate and reduce, shot by shot and over slices of the query positions (in one piece in a recorded graph).

    Neither side is copied: maps that lie channels last are rows of the product as they are.

    Args:
        query (Tensor): (B, C, N).
        support (Tensor): (B, K, C, M).
        reduce (Callable): Gets the products (B, n, k, M) of a slice of n query positions and k shots, and both slices;
            returns (B, n, k). It may overwrite the products.

    Returns:
        Tensor: The reduced slices joined, (B, N, K).
    """
    B, K, C, M = support.shape
    rows = query.transpose(1, 2)  # (B, N, C)
    if exporting():
        flat = support.transpose(1, 2).reshape(B, C, K * M)
        return reduce((rows @ flat).unflatten(2, (K, M)), slice(None), slice(None))
    limit = CACHED_PRODUCTS if query.device.type == 'cpu' else MAX_PRODUCTS
    step = max(1, limit // (B * M))
    shots = []
    for k in range(K):
        parts = []
        for start in range(0, query.shape[2], step):
            n = slice(start, start + step)
            parts.append(reduce((rows[:, n] @ support[:, k]).unsqueeze(2), n, slice(k, k + 1)))
        shots.append(torch.cat(parts, dim=1))
    return torch.cat(shots, dim=2)
