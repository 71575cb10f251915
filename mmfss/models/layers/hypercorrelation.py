# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Hypercorrelations: each block feature compares all positions of query and support (HSNet, Min et al. 2021, Eq. 1).

Of a support only positions with a mask above 0 are kept: everywhere else the correlation is exactly 0. B episodes or
pairs, L blocks of one stage, ha wa the query's size and hb wb the support's, M kept positions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmfss.utils.precision import operand_precision, same_operands

from .masks import gather_kept, resize
from .similarity import products

EPS = 1e-5


@operand_precision
def unit_length(x: Tensor) -> Tensor:
    """(N, C, ...) divided by its length over C plus 1e-5, in its own number format."""
    return (x / (torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32) + EPS)).to(x.dtype)


def encode_blocks(blocks: Sequence[Tensor], mask: Tensor) -> dict[str, Tensor]:
    """What supports contribute to the hypercorrelation of one stage.

    Args:
        blocks (Sequence[Tensor]): L maps (N, C, hb, wb) of one size; channels may differ.
        mask (Tensor): Foreground (N, 1, H, W), resized bilinearly straight to (hb, wb) and kept soft.

    Returns:
        dict[str, Tensor]: ``vectors_0``, ... (N, C, M), one of each block: the masked features at unit length where the
        mask is above 0; ``places`` int64 (N, M): their positions in row-major order counted from 1, 0 for padding,
        whose vectors are 0. M is the longest of the N lists, at least 1.
    """
    soft = resize(mask, blocks[0].shape[-2:]).flatten(2)  # (N, 1, hb*wb)
    keep = soft[:, 0] > 0
    weights, _ = gather_kept(soft, keep)  # (N, 1, M)
    numbers = torch.arange(1, keep.shape[1] + 1, device=keep.device)
    places, _ = gather_kept(numbers.expand(keep.shape[0], 1, -1), keep)  # (N, 1, M)
    vectors = [gather_kept(block.flatten(2), keep)[0] for block in blocks]
    found = {f'vectors_{i}': unit_length((v * weights).to(v.dtype)) for i, v in enumerate(vectors)}
    return dict(found, places=places[:, 0])


def block_vectors(support: Mapping[str, Tensor]) -> list[Tensor]:
    """The L tensors ``vectors_0``, ... of :func:`encode_blocks`."""
    return [support[f'vectors_{i}'] for i in range(len(support) - 1)]


@operand_precision
def correlate(query: Tensor, vectors: Tensor) -> Tensor:
    """Positive cosine similarity of the support vectors of a block with all query positions.

    Args:
        query (Tensor): The block feature at unit length, (B, C, ha, wa).
        vectors (Tensor): (B, C, M), of :func:`encode_blocks`.

    Returns:
        Tensor: (B, M, ha*wa), float32 or as both operands are; 0 for padding.
    """
    maps, rows = same_operands(query.flatten(2), vectors)
    return products(rows.transpose(1, 2), maps).relu()


def place_rows(rows: Tensor, places: Tensor, count: int) -> Tensor:
    """Rows (B, M, ...) at their places (B, M) among ``count``, with rows of zeros elsewhere: (B, count, ...)."""
    index = places.view(*places.shape, *[1] * (rows.dim() - 2)).expand_as(rows)
    plane = rows.new_zeros(rows.shape[0], count + 1, *rows.shape[2:])
    return plane.scatter(1, index, rows)[:, 1:]  # padding has gone to row 0


def hypercorrelation(query: Sequence[Tensor], support: Mapping[str, Tensor], size: Sequence[int]) -> Tensor:
    """All correlations of one stage, with the support's background filled up.

    Args:
        query (Sequence[Tensor]): L block features at unit length, (B, C, ha, wa).
        support (Mapping[str, Tensor]): :func:`encode_blocks`' tensors, of the same B.
        size (Sequence[int]): (hb, wb).

    Returns:
        Tensor: (B, L, ha, wa, hb, wb), at least 0.
    """
    (ha, wa), (hb, wb) = query[0].shape[-2:], size
    planes = [
        place_rows(correlate(block, vectors), support['places'], hb * wb)
        for block, vectors in zip(query, block_vectors(support), strict=True)
    ]
    stacked = torch.stack(planes, dim=1)  # (B, L, hb*wb, ha*wa)
    return stacked.transpose(2, 3).unflatten(3, (hb, wb)).unflatten(2, (ha, wa))
