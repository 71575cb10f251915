# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A center-pivot convolution of a hypercorrelation that is never made as a whole.

Where the support has no foreground the correlation is exactly 0 and the convolution is its bias, so both branches run
inside the foreground's bounding box, and each computes the correlations that it reads in the layout it wants.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.precision import operand_precision, same_operands

from .center_pivot import CenterPivotConv4d
from .exporting import exporting
from .similarity import products

# Correlations that the support branch holds at once on a CPU: 16 MiB stay in the last cache.
CACHED_CORRELATIONS = 2**22


def vector_numbers(foreground: Tensor) -> Tensor:
    """Which kept vector a position has: bool (B, hb, wb) -> int64 (B, hb, wb), counted from 1, 0 for none."""
    keep = foreground.flatten(1)
    return (keep.cumsum(1) * keep).view(foreground.shape)


def pivot_foreground(
    conv: CenterPivotConv4d, queries: Sequence[Tensor], vectors: Sequence[Tensor], foreground: Tensor
) -> Tensor:
    """``conv`` of the hypercorrelation of one stage.

    Args:
        conv (CenterPivotConv4d): With L input channels.
        queries (Sequence[Tensor]): L block features at unit length, (B, C, ha, wa).
        vectors (Sequence[Tensor]): Of L blocks the supports' vectors (B, C, M), see
            :func:`mmfss.models.layers.hypercorrelation.encode_blocks`.
        foreground (Tensor): Where they are, bool (B, hb, wb).

    Returns:
        Tensor: (B, O, ha, wa, ceil(hb / s), ceil(wb / s)), channels last in memory.
    """
    (B, hb, wb), (ha, wa), s = foreground.shape, queries[0].shape[-2:], conv.stride
    bias = conv.query.bias + conv.support.bias
    volume = bias.expand(B, ha, wa, -(-hb // s), -(-wb // s), -1).contiguous().permute(0, 5, 1, 2, 3, 4)
    bounds, numbers = _bounds(foreground), vector_numbers(foreground)
    _add_query_branch(volume, conv, queries, vectors, numbers, bounds)
    _add_support_branch(volume, conv, queries, vectors, numbers, bounds)
    return volume


def _add_query_branch(volume, conv, queries, vectors, numbers, bounds) -> None:
    """Convolve the query plane at every s-th support position within the bounds."""
    s, k = conv.stride, conv.query.kernel_size[0]
    rows, columns = (_cells(b, s, 0, count) for b, count in zip(bounds, volume.shape[4:], strict=True))
    chosen = numbers[:, ::s, ::s][:, rows, columns]  # (B, p, q)
    found = [
        _positive(_rows_at(v, chosen.flatten(1)), query.flatten(2)) for query, v in zip(queries, vectors, strict=True)
    ]
    planes = torch.stack(found, dim=-1).flatten(0, 1).unflatten(1, volume.shape[2:4])  # (B*p*q, ha, wa, L)
    planes = F.conv2d(planes.permute(0, 3, 1, 2), conv.query.weight, padding=k // 2)  # (B*p*q, O, ha, wa)
    volume[..., rows, columns] += planes.unflatten(0, chosen.shape).permute(0, 3, 4, 5, 1, 2)


def _add_support_branch(volume, conv, queries, vectors, numbers, bounds) -> None:
    """Convolve the part of the support plane that the bounds reach, some query positions at once."""
    s, k = conv.stride, conv.support.kernel_size[0]
    rows, columns = (_cells(b, s, k // 2, count) for b, count in zip(bounds, volume.shape[4:], strict=True))
    window = [slice(cells.start * s, (cells.stop - 1) * s + k) for cells in (rows, columns)]
    chosen = F.pad(numbers, (k // 2,) * 4)[:, window[0], window[1]]  # (B, m, n)
    kept = [_rows_at(v, chosen.flatten(1)).transpose(1, 2) for v in vectors]  # (B, C, m*n)
    maps = [query.flatten(2).transpose(1, 2) for query in queries]  # (B, ha*wa, C)
    for part in _parts(maps[0], chosen.numel() * len(vectors)):
        found = [_positive(q[:, part], v) for q, v in zip(maps, kept, strict=True)]
        planes = torch.stack(found, dim=-1).flatten(0, 1).unflatten(1, chosen.shape[1:])  # (B*n, m, n, L)
        planes = F.conv2d(planes.permute(0, 3, 1, 2), conv.support.weight, stride=s)  # (B*n, O, p, q)
        planes = planes.unflatten(0, (volume.shape[0], -1)).transpose(1, 2)  # (B, O, n, p, q)
        volume.flatten(2, 3)[:, :, part, rows, columns] += planes


def _bounds(foreground: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row and column with foreground in any support; the first ones without any."""
    if exporting():
        return tuple((0, side - 1) for side in foreground.shape[1:])
    found = [foreground.any(0).any(dim).nonzero().flatten().tolist() or [0] for dim in (1, 0)]
    return tuple((places[0], places[-1]) for places in found)


def _cells(bounds: tuple[int, int], stride: int, reach: int, count: int) -> slice:
    """Output cells, of ``count``, whose window of ``reach`` around every ``stride``-th position meets the bounds.

    One at least, so that every weight gets a gradient, be it 0: data-parallel training waits for all of them.
    """
    low, high = bounds
    start = min(max(0, -((reach - low) // stride)), count - 1)
    return slice(start, max(start + 1, min(count, (high + reach) // stride + 1)))


def _parts(maps: Tensor, per_position: int) -> list[slice]:
    """Query positions that are computed at once, of (B, n, C): all but on a CPU."""
    n = maps.shape[1]
    if exporting() or maps.device.type != 'cpu':
        return [slice(0, n)]
    step = max(1, CACHED_CORRELATIONS // per_position)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _rows_at(vectors: Tensor, numbers: Tensor) -> Tensor:
    """Vectors (B, C, M) by their numbers (B, P), zeros for number 0: (B, P, C)."""
    B, C, M = vectors.shape
    filled = torch.cat([vectors.new_zeros(B, 1, C), vectors.transpose(1, 2)], dim=1).flatten(0, 1)
    first = torch.arange(B, device=vectors.device).unsqueeze(1) * (M + 1)
    return filled.index_select(0, (numbers + first).flatten()).unflatten(0, numbers.shape)  # copies whole rows


@operand_precision
def _positive(rows: Tensor, vectors: Tensor) -> Tensor:
    """Dot products of (B, n, C) and (B, C, m) where they are positive, else 0: (B, n, m), float32."""
    return products(*same_operands(rows, vectors)).relu().float()
