# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Transformer blocks over shifted windows of maps and volumes (Liu et al. 2021; volumes: VAT, Hong et al. 2022)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import trunc_normal_init
from torch import Tensor, nn

from .shifted_windows import relative_positions, window_order
from .token_linear import TokenLinear


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learnt bias for each relative position.

    Args:
        channels (int): C of a token.
        heads (int): They share the channels.
        window (int): Side of a window, which holds T = window**dims tokens.
        dims (int): 2 for maps, 4 for volumes.

    Raises:
        ValueError: When the heads cannot share the channels.
    """

    def __init__(self, channels: int, heads: int, window: int, dims: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f'{heads} heads cannot share {channels} channels')
        self.heads, self.tokens = heads, window**dims
        self.qkv, self.proj = TokenLinear(channels, 3 * channels), TokenLinear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** dims, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer('position_rows', relative_positions(window, dims), persistent=False)

    def forward(self, x: Tensor, counts: Sequence[int], masks: Tensor) -> Tensor:
        """Attend.

        Args:
            x (Tensor): Tokens (B, L, C), the T of each window together.
            counts (Sequence[int]): How many windows in a row are of one kind.
            masks (Tensor): What is added to each kind's attention, (kinds, T, T).

        Returns:
            Tensor: (B, L, C).
        """
        B, L, C = x.shape
        T = self.tokens
        # (B, L, 3C) -> (3, B, windows, heads, T, C / heads)
        parts = self.qkv(x).view(B, L // T, T, 3, self.heads, C // self.heads).permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.position_rows].permute(2, 0, 1)  # (heads, T, T)
        found, start = [], 0
        for count, mask in zip(counts, masks, strict=True):
            q, k, v = parts[:, :, start : start + count].flatten(1, 2)  # (B * count, heads, T, C / heads)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=(bias + mask).to(q.dtype).unsqueeze(0))
            found.append(out.transpose(1, 2).reshape(B, count * T, C))
            start += count
        return self.proj(found[0] if len(found) == 1 else torch.cat(found, dim=1))


class WindowBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with exact GELU and no dropout.

    Args:
        channels (int): C of a token.
        heads (int): Of the attention.
        window (int): Side of a window.
        dims (int): 2 for maps, 4 for volumes.
        expansion (int): Hidden width over C. Defaults to 4.
    """

    def __init__(self, channels: int, heads: int, window: int, dims: int, expansion: int = 4):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, dims)
        self.fc1 = TokenLinear(channels, expansion * channels)
        self.fc2 = TokenLinear(expansion * channels, channels)

    def forward(self, x: Tensor, counts: Sequence[int], masks: Tensor) -> Tensor:
        """See :meth:`WindowAttention.forward`: (B, L, C) -> the same shape."""
        x = x + self.attn(self.norm1(x), counts, masks)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class WindowTransformer(nn.Module):
    """Blocks with plain and shifted windows in turn, plain first.

    Args:
        channels (int): C.
        depth (int): Number of blocks.
        window (int): Side of a window; shifts are half of it.
        sides (Sequence[int]): Of the maps or volumes, multiples of the window.
        heads (int): Of the attention. Defaults to 4.
        final_norm (bool): LayerNorm behind the last block. Defaults to False.

    Raises:
        ValueError: When a side is no multiple of the window.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        window: int,
        sides: Sequence[int],
        heads: int = 4,
        final_norm: bool = False,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(WindowBlock(channels, heads, window, len(sides)) for _ in range(depth))
        self.norm = nn.LayerNorm(channels) if final_norm else None
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                trunc_normal_init(layer, std=0.02)
        with torch.device('cpu'):  # also where weights get no memory yet: counts are read from it
            orders = [window_order(tuple(sides), window, shift) for shift in (0, window // 2)]  # shared by the blocks
            tokens = torch.arange(len(orders[0].order))
        self.counts = [order.counts for order in orders]
        for i, order in enumerate(orders):
            self.register_buffer(f'masks{i}', order.masks, persistent=False)
        places = [tokens, *(orders[i % 2].inverse for i in range(depth))]
        wanted = [*(orders[i % 2].order for i in range(depth)), tokens]
        # Where the tokens of each block, and of the result, stand in what the one before gave.
        moves = torch.stack([place[order] for place, order in zip(places, wanted, strict=True)])
        self.register_buffer('moves', moves, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sides, C), channels last -> the same shape."""
        tokens, masks = x.flatten(1, -2), (self.masks0, self.masks1)  # (B, L, C)
        for i, (block, move) in enumerate(zip(self.blocks, self.moves, strict=False)):
            tokens = block(tokens.index_select(1, move), self.counts[i % 2], masks[i % 2])
        tokens = tokens.index_select(1, self.moves[-1])
        return (tokens if self.norm is None else self.norm(tokens)).view(x.shape)
