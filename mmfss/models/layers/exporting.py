# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a recorded graph (torch.export, and ONNX through it) needs done otherwise, with the same result.

While a graph is recorded sizes are symbols: lengths that depend on the data must be outputs of an operator, and nothing
may branch on a size. Five functions ask :func:`exporting` and then take the form given here: ``resize``,
``resize_nearest`` and ``gather_kept`` of masks.py, ``chunked_correlation`` of similarity.py, ``adaptive_average`` here.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def exporting() -> bool:
    """Whether torch.export is recording."""
    return getattr(torch.compiler, 'is_exporting', bool)()  # torch < 2.7 cannot tell, nor export these models


def surely_equal(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether sizes are equal for every input that the graph will see, not only for the one at hand."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return all(statically_known_true(x == y) for x, y in zip(a, b, strict=True))


def first_kept(keep: Tensor) -> Tensor:
    """Indices (N, M) of the kept positions (N, L), in their own order; the graph finds M out for each input."""
    L = keep.shape[1]
    longest = keep.sum(1).max().clamp(min=1).item()
    torch._check(longest >= 1)
    torch._check(longest <= L)
    order = torch.arange(L, device=keep.device, dtype=torch.float32)
    return (keep.float() * (2 * L) - order).topk(longest, dim=1).indices  # ONNX has no stable sort


def nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """``F.interpolate(x, size, mode='nearest')`` with torch's rounding; ONNX's own divides where torch multiplies."""
    places = []
    for own, wanted in zip(x.shape[-2:], size, strict=True):
        step = torch.scalar_tensor(own, device=x.device) / torch.scalar_tensor(wanted, device=x.device)
        index = (torch.arange(wanted, device=x.device, dtype=torch.float32) * step).floor().long()
        places.append(index.clamp(max=own - 1))
    return x[..., places[0].unsqueeze(1), places[1]]


def adaptive_average(x: Tensor, side: int) -> Tensor:
    """``F.adaptive_avg_pool2d(x, side)``: (N, C, h, w) -> (N, C, side, side)."""
    return average_grid(x, side) if exporting() else F.adaptive_avg_pool2d(x, side)


def average_grid(x: Tensor, side: int) -> Tensor:
    """As ``F.adaptive_avg_pool2d(x, side)``, as two matrix products: (N, C, h, w) -> (N, C, side, side)."""

    def shares(length: int) -> Tensor:  # (side, length), each row an average
        cell, position = torch.arange(side, device=x.device).unsqueeze(1), torch.arange(length, device=x.device)
        start, end = cell * length // side, ((cell + 1) * length + side - 1) // side
        return ((position >= start) & (position < end)).to(x.dtype) / (end - start).to(x.dtype)

    return shares(x.shape[-2]) @ x @ shares(x.shape[-1]).transpose(0, 1)
