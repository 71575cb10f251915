# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a recorded graph (torch.export, and ONNX through it) needs done otherwise, with the same result.

While a graph is recorded sizes are symbols: lengths that depend on the data must be outputs of an operator, and nothing
may branch on a size. Four functions ask :func:`exporting` and then take the form given here: ``resize``,
``resize_nearest`` and ``gather_kept`` of masks.py, ``chunked_correlation`` of similarity.py.
"""

from collections.abc import Sequence

import torch
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
