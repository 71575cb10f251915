# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Dot products of all query pixels with all support vectors, in tiles that are reduced as soon as they are there."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .exporting import exporting

# Products held at once. On a CPU (float32: 16 MiB) they stay in the last cache until they are reduced; elsewhere
# (256 MiB) the memory is bounded: a 641x641 query against a full support would need 0.2 GiB an image in one piece.
CACHED_PRODUCTS, MAX_PRODUCTS = 2**22, 2**26


def chunked_correlation(
    query: Tensor, support: Tensor, reduce: Callable[[Tensor, slice], Tensor], offset: Tensor | None = None
) -> Tensor:
    """Correlate and reduce, shot by shot and over slices of the query positions (in one piece in a recorded graph).

    Neither side is copied: maps that lie channels last are rows of the product as they are.

    Args:
        query (Tensor): (B, C, N).
        support (Tensor): (B, K, C, M).
        reduce (Callable): Gets the products (B, n, k, M) of n query positions and the slice of the k shots; returns
            (B, n, k). It may overwrite the products.
        offset (Tensor, optional): (B, K, M), added to the products.

    Returns:
        Tensor: The reduced slices joined, (B, N, K).
    """
    B, K, C, M = support.shape
    rows = query.transpose(1, 2)  # (B, N, C)
    if exporting():
        dots = (rows @ support.transpose(1, 2).reshape(B, C, K * M)).unflatten(2, (K, M))
        return reduce(dots if offset is None else dots + offset[:, None], slice(None))
    limit = CACHED_PRODUCTS if query.device.type == 'cpu' else MAX_PRODUCTS
    step = max(1, limit // (B * M))
    shots = []
    for k in range(K):
        added = None if offset is None else offset[:, k]
        parts = []
        for part in rows.split(step, dim=1):
            parts.append(reduce(products(part, support[:, k], added).unsqueeze(2), slice(k, k + 1)))
        shots.append(torch.cat(parts, dim=1))
    return torch.cat(shots, dim=2)


def products(rows: Tensor, vectors: Tensor, offset: Tensor | None = None) -> Tensor:
    """Dot products of rows (B, n, C) and vectors (B, C, M), plus ``offset`` (B, M): (B, n, M).

    On a CPU a convolution computes them: torch's matrix product in float32 is MKL's, which leaves half of an AMD
    processor unused (2.2 times as long); oneDNN's convolution does not. With one thread torch leaves 1x1 convolutions
    to MKL as well, but not two taps of half the channels each, which are the same sum. A recorded graph holds the
    matrix product, for any B.
    """
    if rows.device.type != 'cpu' or exporting():
        return rows @ vectors if offset is None else torch.baddbmm(offset.unsqueeze(1), rows, vectors)
    offsets = [None] * len(rows) if offset is None else offset
    taps = 2 if rows.dtype == torch.float32 and rows.shape[2] % 2 == 0 else 1
    found = [_convolved(x, v, b, taps) for x, v, b in zip(rows, vectors, offsets, strict=True)]  # (1, n, M)
    return found[0] if len(found) == 1 else torch.cat(found)


def _convolved(rows: Tensor, vectors: Tensor, offset: Tensor | None, taps: int) -> Tensor:
    """(n, C) by (C, M): a filter of so many taps for each vector, over maps of n * taps positions: (1, n, M)."""
    C, M = vectors.shape
    # With the strides of channels last, or oneDNN gets a copy.
    maps = rows.reshape(1, 1, -1, C // taps).permute(0, 3, 1, 2)
    filters = vectors.T.reshape(M, 1, taps, C // taps).permute(0, 3, 1, 2)
    return F.conv2d(maps, filters, offset, stride=(1, taps)).permute(0, 2, 3, 1).flatten(1, 2)
