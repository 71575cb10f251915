# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Deformable self-attention on one map (Zhu et al. 2021), as CyCTR has it.

Every position looks at a few learned places around it. Sampling is ``grid_sample``: the operator that mmcv and the
authors compile computes the same, and mmcv's module has further biases and a residual of its own.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformableAttention(nn.Module):
    """Attention of all positions of a map to ``points`` sampled places each, in several heads.

    Args:
        channels (int): C, divisible by ``heads``.
        heads (int): M.
        points (int): P, places of a head. Defaults to 9.
        dropout (float): In training, of the points' weights, and of whole positions' values. Defaults to 0.1.
    """

    def __init__(self, channels: int, heads: int, points: int = 9, dropout: float = 0.1):
        super().__init__()
        self.heads, self.points = heads, points
        self.offsets = nn.Linear(channels, heads * points * 2)
        self.weights = nn.Linear(channels, heads * points)
        self.value = nn.Linear(channels, channels, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)
        self.weight_dropout, self.value_dropout = nn.Dropout(dropout), nn.Dropout(dropout)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """At first point i of a head lies i + 1 steps away in the head's own direction; all weigh the same."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction /= direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1).view(1, -1, 1)
        self.offsets.weight.zero_()
        self.offsets.bias.copy_((direction.unsqueeze(1) * steps).flatten())
        self.weights.weight.zero_()
        self.weights.bias.zero_()
        for linear in (self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, tokens: Tensor, position: Tensor, padded: Tensor, size: tuple[int, int]) -> Tensor:
        """Attend.

        Args:
            tokens (Tensor): (B, L, C), the map's positions row by row.
            position (Tensor): Code of the positions, (B, L, C); decides where to look, not what is seen there.
            padded (Tensor): bool (B, L): nothing is seen there.
            size (tuple[int, int]): (h, w), L = h * w.

        Returns:
            Tensor: (B, L, C).
        """
        (B, L, C), M, P, (h, w) = tokens.shape, self.heads, self.points, size
        value = self.value(tokens).masked_fill(padded.unsqueeze(-1), 0.0)
        if self.training:  # a position is dropped for all heads, and the others are not scaled
            kept = self.value_dropout(value.new_ones(B, L, 1)) > 0
            value = value * kept
        maps = value.view(B, L, M, -1).permute(0, 2, 3, 1).reshape(B * M, C // M, h, w)
        query = tokens + position
        weights = self.weight_dropout(self.weights(query).view(B, L, M, P).softmax(-1))
        weights = weights.transpose(1, 2).reshape(B * M, 1, L, P)
        offsets = self.offsets(query).view(B, L, M, P, 2).transpose(1, 2).reshape(B * M, L, P, 2)  # (x, y) in pixels
        x, y = (_centres(h, w, offsets) + offsets).unbind(-1)  # (B * M, L, P)
        places = torch.stack([x * (2 / w) - 1, y * (2 / h) - 1], dim=-1)
        seen = F.grid_sample(maps, places, mode='bilinear', padding_mode='zeros', align_corners=False)
        joined = (seen * weights).sum(-1)  # (B * M, C / M, L)
        return self.output(joined.view(B, C, L).transpose(1, 2))


def _centres(h: int, w: int, like: Tensor) -> Tensor:
    """(1, L, 1, 2): (x, y) of the middle of each position, in pixels from the map's corner."""
    y, x = torch.meshgrid(
        torch.arange(h, device=like.device) + 0.5, torch.arange(w, device=like.device) + 0.5, indexing='ij'
    )
    return torch.stack([x, y], dim=-1).view(1, h * w, 1, 2).to(like.dtype)
