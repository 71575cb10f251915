# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Shifted windows in any number of dimensions (Swin transformer, Liu et al. 2021; in four VAT, Hong et al. 2022).

The tokens of a map or volume of some ``sides`` stand in row-major order; T = window**len(sides) of them share a window.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

APART = -100.0  # added between tokens that only the cyclic shift has brought into one window


@dataclass(frozen=True)
class WindowOrder:
    """An order of tokens in which each window's stand together, and windows of one kind too.

    Attributes:
        order (Tensor): int64 (L,): the token at each place.
        inverse (Tensor): int64 (L,): the place of each token.
        counts (tuple[int, ...]): How many windows in a row are of one kind.
        masks (Tensor): What is added to the attention of each kind, (kinds, T, T).
    """

    order: Tensor
    inverse: Tensor
    counts: tuple[int, ...]
    masks: Tensor


def window_order(sides: tuple[int, ...], window: int, shift: int) -> WindowOrder:
    """The windows of a map after a cyclic shift by ``shift`` towards the origin.

    Only the last window of an axis holds tokens of both ends, so windows are of 2**len(sides) kinds at most, whatever
    their number: one mask a kind is enough.

    Args:
        sides (tuple[int, ...]): Of the map or volume.
        window (int): Side of a window.
        shift (int): Tokens; 0 for plain windows.

    Raises:
        ValueError: When a side is no multiple of the window.
    """
    if any(side % window for side in sides):
        raise ValueError(f'windows of side {window} do not fill a map of sides {tuple(sides)}')
    dims, grid = len(sides), [side // window for side in sides]
    tokens = torch.arange(torch.Size(sides).numel()).view(sides)
    shifted = tokens.roll([-shift] * dims, tuple(range(dims)))
    windows = _split(shifted, window)  # (windows, T)
    # Per axis whether a window is the last one, as digits of a binary number.
    last = [torch.arange(n) == n - 1 if shift else torch.zeros(n, dtype=torch.bool) for n in grid]
    kinds = torch.stack(torch.meshgrid(*last, indexing='ij')).flatten(1)  # (dims, windows)
    code = (kinds.long() * 2 ** torch.arange(dims - 1, -1, -1).unsqueeze(1)).sum(0)
    order = windows[code.argsort(stable=True)].flatten()
    counts = code.bincount(minlength=2**dims).tolist()
    digits = [d for d, count in zip(product((False, True), repeat=dims), counts, strict=True) if count]
    masks = torch.stack([_mask(d, window, shift) for d in digits])
    return WindowOrder(order, order.argsort(), tuple(count for count in counts if count), masks)


def _split(tokens: Tensor, window: int) -> Tensor:
    """(*sides) -> (windows, window**dims)."""
    dims = tokens.dim()
    parts = tokens.reshape([n for side in tokens.shape for n in (side // window, window)])
    return parts.permute(*range(0, 2 * dims, 2), *range(1, 2 * dims, 2)).reshape(-1, window**dims)


def _mask(last: tuple[bool, ...], window: int, shift: int) -> Tensor:
    """(T, T): APART between tokens of the two ends of an axis, in windows that are the last of that axis; else 0."""
    end = (torch.arange(window) >= window - shift).long()
    regions = [end if flag else torch.zeros_like(end) for flag in last]
    region = torch.stack(torch.meshgrid(*regions, indexing='ij')).flatten(1)  # (dims, T)
    return torch.where((region[:, :, None] == region[:, None, :]).all(0), 0.0, APART)


def relative_positions(window: int, dims: int) -> Tensor:
    """Row of a position table of (2*window - 1)**dims rows for each pair of a token and one it attends to.

    Returns:
        Tensor: int64 (T, T): over the axes the sum of (own - other + window - 1) * (2*window - 1)**(dims - 1 - axis).
    """
    grid = torch.stack(torch.meshgrid(*[torch.arange(window)] * dims, indexing='ij')).flatten(1)  # (dims, T)
    offset = grid[:, :, None] - grid[:, None, :] + window - 1
    place = (2 * window - 1) ** torch.arange(dims - 1, -1, -1)
    return (offset * place[:, None, None]).sum(0)
