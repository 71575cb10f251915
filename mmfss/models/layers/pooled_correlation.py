# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Hypercorrelations pooled in one plane, without the volume they are of (VAT, Hong et al. 2022).

A 4D convolution with pooling reads the volume twice, with the support plane or the query plane pooled. The volume of
layer2 has 64**4 positions a block, each of the two a quarter of it, and support positions outside of the foreground
need not be computed: they are 0, and so is a cell that holds no others.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .hypercorrelation import block_vectors, correlate


def largest_row(rows: Tensor, cells: Tensor, count: int) -> Tensor:
    """Largest value of all rows in a cell.

    Args:
        rows (Tensor): (B, M, n), at least 0.
        cells (Tensor): int64 (B, M): the cell of each row, from 1; 0 for rows that are in none.
        count (int): Number of cells.

    Returns:
        Tensor: (B, count, n); 0 where a cell has no row.
    """
    B, _, n = rows.shape
    found = rows.new_zeros(B * (count + 1), n)
    # As one list over all episodes: torch is ten times as fast along the first dimension.
    index = cells + torch.arange(B, device=cells.device).unsqueeze(1) * (count + 1)
    found = found.scatter_reduce(0, index.view(-1, 1).expand(-1, n), rows.flatten(0, 1), 'amax')
    return found.view(B, count + 1, n)[:, 1:]


def pooled_correlations(
    query: Sequence[Tensor],
    support: Mapping[str, Tensor],
    size: Sequence[int],
    query_stride: int,
    support_stride: int,
) -> tuple[Tensor, Tensor]:
    """What :meth:`mmfss.models.layers.pooled_conv4d.PooledConv4d.from_pooled` reads of a stage.

    Args:
        query (Sequence[Tensor]): L block features at unit length, (B, C, ha, wa).
        support (Mapping[str, Tensor]): Of :func:`mmfss.models.layers.hypercorrelation.encode_blocks`, same B.
        size (Sequence[int]): (hb, wb).
        query_stride (int): Side of the cells of the query plane, which they fill.
        support_stride (int): The same of the support plane.

    Returns:
        tuple[Tensor, Tensor]: The correlations with the support plane pooled, (B, L, ha, wa, hb', wb'), and with the
        query plane pooled, (B, L, ha', wa', hb, wb), each as its convolution reads it in memory.
    """
    (ha, wa), (hb, wb), places = query[0].shape[-2:], size, support['places']
    small_a, small_b = [[side // s for side in p] for s, p in ((query_stride, (ha, wa)), (support_stride, (hb, wb)))]
    row, column = (places - 1).div(wb, rounding_mode='floor'), (places - 1) % wb
    cells = row.div(support_stride, rounding_mode='floor') * small_b[1] + column // support_stride + 1
    cells = torch.where(places > 0, cells, 0)
    support_pooled, query_pooled = [], []
    for block, vectors in zip(query, block_vectors(support), strict=True):
        rows = correlate(block, vectors)  # (B, M, ha*wa)
        support_pooled.append(largest_row(rows, cells, small_b[0] * small_b[1]))
        maps = F.max_pool2d(rows.unflatten(2, (ha, wa)), query_stride) if query_stride > 1 else rows
        query_pooled.append(largest_row(maps.flatten(2), places, hb * wb).transpose(1, 2))
    by_support = torch.stack(support_pooled, dim=-1).unflatten(2, (ha, wa)).unflatten(1, small_b)
    by_query = torch.stack(query_pooled, dim=-1).unflatten(2, (hb, wb)).unflatten(1, small_a)
    return by_support.permute(0, 5, 3, 4, 1, 2), by_query.permute(0, 5, 1, 2, 3, 4)
