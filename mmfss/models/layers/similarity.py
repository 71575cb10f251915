# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Dot products of all query pixels with all support vectors, in slices that bound the memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from .exporting import exporting

# Products held at once (float32: 256 MiB). A 641x641 query against five full supports would need 3.4 GiB in one piece.
MAX_PRODUCTS = 2**26


def chunked_correlation(query: Tensor, support: Tensor, reduce: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Correlate and reduce, over slices of the query positions (in one piece in a recorded graph).

    Args:
        query (Tensor): (B, C, N).
        support (Tensor): (B, K, C, M).
        reduce (Callable): Gets the products (B, n, K, M) of a slice of n query positions and the slice; returns
            (B, n, ...).

    Returns:
        Tensor: The reduced slices joined, (B, N, ...).
    """
    B, K, C, M = support.shape
    flat = support.transpose(1, 2).reshape(B, C, K * M)
    if exporting():
        return reduce((query.transpose(1, 2) @ flat).unflatten(2, (K, M)), slice(None))
    step = max(1, MAX_PRODUCTS // (B * K * M))
    parts = []
    for start in range(0, query.shape[2], step):
        rows = slice(start, start + step)
        products = query[:, :, rows].transpose(1, 2) @ flat  # (B, n, K*M)
        parts.append(reduce(products.unflatten(2, (K, M)), rows))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
