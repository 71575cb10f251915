# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Transformer blocks over shifted windows of maps and volumes (Liu et al. 2021; volumes: VAT, Hong et al. 2022)."""

import torch
import torch.nn.functional as F
from mmengine.model import trunc_normal_init
from torch import Tensor, nn

from .shifted_windows import WindowOrder, relative_positions, window_order
from .token_linear import TokenLinear


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learnt bias for each relative position.

    Args:
        channels (int): C of a token.
        heads (int): They share the channels.
        window (int): Side of a window.
        dims (int): 2 for maps, 4 for volumes.
    """

    def __init__(self, channels: int, heads: int, window: int, dims: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f'{heads} heads cannot share {channels} channels')
        self.heads, self.window, self.dims = heads, window, dims
        self.qkv, self.proj = TokenLinear(channels, 3 * channels), TokenLinear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** dims, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, order: WindowOrder) -> Tensor:
        """Tokens (B, L, C) in the windows' order -> the same shape."""
        B, L, C = x.shape
        T = self.window**self.dims
        # (B, L, 3C) -> 3 x (B, windows, heads, T, C / heads)
        parts = self.qkv(x).view(B, L // T, T, 3, self.heads, C // self.heads).permute(3, 0, 1, 4, 2, 5)
        index = relative_positions(self.window, self.dims).to(x.device)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1).to(parts.dtype).contiguous()  # (heads, T, T)
        found, start = [], 0
        for count, mask in order.groups:
            q, k, v = parts[:, :, start : start + count].flatten(1, 2)  # (B * count, heads, T, C / heads)
            added = bias if mask is None else bias + mask.to(bias)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=added.unsqueeze(0))
            found.append(out.transpose(1, 2).reshape(B, count * T, C))
            start += count
        return self.proj(found[0] if len(found) == 1 else torch.cat(found, dim=1))


class WindowBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with exact GELU and no dropout.

    Args:
        channels, heads, window, dims (int): See :class:`WindowAttention`.
        expansion (int): Hidden width over C. Defaults to 4.
    """

    def __init__(self, channels: int, heads: int, window: int, dims: int, expansion: int = 4):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, dims)
        self.fc1 = TokenLinear(channels, expansion * channels)
        self.fc2 = TokenLinear(expansion * channels, channels)

    def forward(self, x: Tensor, order: WindowOrder) -> Tensor:
        """Tokens (B, L, C) in the windows' order -> the same shape."""
        x = x + self.attn(self.norm1(x), order)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class WindowTransformer(nn.Module):
    """Blocks with plain and shifted windows in turn, plain first.

    Args:
        channels (int): C.
        depth (int): Number of blocks.
        heads (int): Of the attention. Defaults to 4.
        window (int): Side of a window; shifts are half of it.
        dims (int): 2 for maps, 4 for volumes.
        final_norm (bool): LayerNorm behind the last block. Defaults to False.
    """

    def __init__(self, channels: int, depth: int, window: int, dims: int, heads: int = 4, final_norm: bool = False):
        super().__init__()
        self.window, self.dims = window, dims
        self.blocks = nn.ModuleList(WindowBlock(channels, heads, window, dims) for _ in range(depth))
        self.norm = nn.LayerNorm(channels) if final_norm else None
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                trunc_normal_init(layer, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sides, C), channels last -> the same shape.

        Raises:
            ValueError: When a side is no multiple of the window.
        """
        sides = tuple(x.shape[1:-1])
        tokens, place = x.flatten(1, -2), None  # (B, L, C); where each token stands
        for i, block in enumerate(self.blocks):
            order = window_order(sides, self.window, self.window // 2 if i % 2 else 0)
            index = order.order if place is None else place[order.order]
            tokens = block(tokens.index_select(1, index.to(x.device)), order)
            place = order.inverse
        if place is not None:
            tokens = tokens.index_select(1, place.to(x.device))
        return (tokens if self.norm is None else self.norm(tokens)).view_as(x)
