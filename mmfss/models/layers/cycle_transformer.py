# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""CyCTR's transformer (Zhang et al. 2021): the query looks at itself, then at the supports' tokens, twice."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cycle_attention import CycleConsistentAttention
from .deformable_attention import DeformableAttention
from .sine_position import sine_position
from .token_draw import TokenIndex


class SupportTokens(NamedTuple):
    """All positions of an episode's supports, laid end to end.

    Attributes:
        vectors (Tensor): (B, N, C).
        foreground (Tensor): bool (B, N).
        padded (Tensor): bool (B, N).
    """

    vectors: Tensor
    foreground: Tensor
    padded: Tensor

    def pick(self, index: TokenIndex) -> 'SupportTokens':
        """Drawn tokens: vectors of some places, flags of the same or of others."""
        vectors = self.vectors.gather(1, index.vector.unsqueeze(-1).expand(-1, -1, self.vectors.shape[-1]))
        return SupportTokens(vectors, self.foreground.gather(1, index.label), self.padded.gather(1, index.label))


def _feed_forward(channels: int, dropout: float) -> nn.Sequential:
    """C -> 3 C -> C without biases (mmcv's FFN has them), to be added to its input."""
    return nn.Sequential(
        nn.Linear(channels, 3 * channels, bias=False),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(3 * channels, channels, bias=False),
        nn.Dropout(dropout),
    )


class CycleTransformerLayer(nn.Module):
    """Self-attention and cross-attention, a feed-forward network and two norms behind each.

    Args:
        channels (int): C.
        heads (int): M, of both attentions.
        points (int): Places that a position of the query looks at.
        dropout (float): Of every part. Defaults to 0.1.
    """

    def __init__(self, channels: int, heads: int, points: int, dropout: float = 0.1):
        super().__init__()
        self.self_attention = DeformableAttention(channels, heads, points, dropout)
        self.self_dropout = nn.Dropout(dropout)
        self.cross_attention = CycleConsistentAttention(channels, heads, dropout)
        self.feed_forward = nn.ModuleList(_feed_forward(channels, dropout) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(4))
        for network in self.feed_forward:
            for linear in (network[0], network[3]):
                nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, tokens: Tensor, position: Tensor, padded: Tensor, size: tuple[int, int], support: SupportTokens
    ) -> Tensor:
        """Tokens (B, L, C) of the query -> (B, L, C); arguments as those of the two attentions."""
        seen = self.self_attention(tokens, position, padded, size)
        tokens = self.norms[0](tokens + self.self_dropout(seen))
        tokens = self.norms[1](tokens + self.feed_forward[0](tokens))
        tokens = self.norms[2](tokens + self.cross_attention(tokens, *support))
        return self.norms[3](tokens + self.feed_forward[1](tokens))


class CycleTransformer(nn.Module):
    """Layers of :class:`CycleTransformerLayer` on a query's map.

    Args:
        channels (int): C, even and divisible by the number of heads.
        layers (int): Defaults to 2.
        heads (int, optional): Defaults to 12 where they divide C, else 8, as released.
        points (int): See :class:`CycleTransformerLayer`. Defaults to 9.

    Raises:
        ValueError: When the channels do not divide.
    """

    def __init__(self, channels: int, layers: int = 2, heads: int | None = None, points: int = 9):
        super().__init__()
        heads = (12 if channels % 12 == 0 else 8) if heads is None else heads
        if channels % 2 or channels % heads:
            raise ValueError(f'channels={channels} must be even and divisible by the {heads} heads of the transformer')
        self.level_embed = nn.Parameter(torch.empty(1, channels))  # one level; added to the code of positions
        self.layers = nn.ModuleList(CycleTransformerLayer(channels, heads, points) for _ in range(layers))
        nn.init.xavier_uniform_(self.level_embed)

    def forward(self, query: Tensor, padded: Tensor, support: SupportTokens, draws: Sequence[TokenIndex]) -> Tensor:
        """Transform.

        Args:
            query (Tensor): (B, C, h, w).
            padded (Tensor): bool (B, h, w), where the query holds no photograph.
            support (SupportTokens): All of the episode.
            draws (Sequence[TokenIndex]): For each layer the tokens that it sees.

        Returns:
            Tensor: (B, C, h, w).
        """
        B, C, h, w = query.shape
        tokens = query.flatten(2).transpose(1, 2)  # (B, L, C)
        position = sine_position(~padded, C).flatten(2).transpose(1, 2) + self.level_embed
        for layer, draw in zip(self.layers, draws, strict=True):
            tokens = layer(tokens, position, padded.flatten(1), (h, w), support.pick(draw))
        return tokens.transpose(1, 2).reshape(B, C, h, w)
