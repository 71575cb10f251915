# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Cycle-consistent cross-attention (CyCTR, Zhang et al. 2021, section 3.3).

A support token is kept where it leads back to its own kind: the token that its best query position likes best has the
same flag, foreground or background. All others are hidden from the query.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .similarity import chunked_correlation

HIDDEN = -10000.0  # added to the scores of hidden tokens; where all are hidden the best of them still counts


@torch.no_grad()
def cycle_consistent(query: Tensor, key: Tensor, foreground: Tensor) -> Tensor:
    """Which tokens lead back to their own kind, in tiles of query positions.

    Args:
        query (Tensor): (G, d, L), G independent sets of L query positions.
        key (Tensor): (G, d, N), of as many sets of N support tokens.
        foreground (Tensor): bool (G, N), the tokens' flags.

    Returns:
        Tensor: bool (G, N).
    """
    best = None  # of each token: score of its best position so far, flag of the token which that position likes best

    def best_of(scores: Tensor, _: slice) -> Tensor:  # (G, n, 1, N) -> (G, n, 1)
        nonlocal best
        scores = scores.squeeze(2)
        liked = foreground.gather(1, scores.max(2).indices)  # (G, n); max is many times as fast as argmax
        score, position = scores.max(1)  # (G, N)
        back = liked.gather(1, position)
        if best is not None:
            better = score > best[0]
            score, back = torch.where(better, score, best[0]), torch.where(better, back, best[1])
        best = score, back
        return liked.unsqueeze(2)

    chunked_correlation(query, key.unsqueeze(1), best_of)
    return foreground == best[1]


class CycleConsistentAttention(nn.Module):
    """Attention of a query's positions to support tokens, each head with its own choice of tokens.

    Args:
        channels (int): C, divisible by ``heads``.
        heads (int): M.
        dropout (float): In training, of the attention weights, of the output, and the probability that a head sees an
            inconsistent token all the same. Defaults to 0.1.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.1):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(channels, channels, bias=False) for _ in range(4))
        self.weight_dropout, self.output_dropout = nn.Dropout(dropout), nn.Dropout(dropout)
        self.inconsistency_dropout = nn.Dropout(dropout)
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, tokens: Tensor, support: Tensor, foreground: Tensor, padded: Tensor) -> Tensor:
        """Attend.

        Args:
            tokens (Tensor): Of the query, (B, L, C).
            support (Tensor): Tokens of the supports, (B, N, C).
            foreground (Tensor): bool (B, N), their flags.
            padded (Tensor): bool (B, N): hidden from all heads, after they had their say in the cycle.

        Returns:
            Tensor: (B, L, C).
        """
        query, key, value = self._heads(self.query(tokens)), self._heads(self.key(support)), self.value(support)
        inconsistent = (~self._consistent(query, key, foreground)).to(query.dtype)
        hidden = (self.inconsistency_dropout(inconsistent) > 0) | padded.unsqueeze(1)  # (B, M, N)
        seen = F.scaled_dot_product_attention(
            query,
            key,
            self._heads(value),
            attn_mask=HIDDEN * hidden.to(query.dtype).unsqueeze(2),
            dropout_p=self.weight_dropout.p if self.training else 0.0,
        )  # (B, M, L, C / M)
        return self.output_dropout(self.output(seen.transpose(1, 2).flatten(2)))

    def consistent(self, tokens: Tensor, support: Tensor, foreground: Tensor) -> Tensor:
        """Which tokens lead back to their own kind in each head, bool (B, M, N); arguments as :meth:`forward`."""
        return self._consistent(self._heads(self.query(tokens)), self._heads(self.key(support)), foreground)

    def _consistent(self, query: Tensor, key: Tensor, foreground: Tensor) -> Tensor:
        flags = foreground.unsqueeze(1).expand(-1, self.heads, -1)  # (B, M, N)
        sets = (x.flatten(0, 1).transpose(1, 2) for x in (query, key))
        return cycle_consistent(*sets, flags.flatten(0, 1)).view_as(flags)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, M, L, C / M)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
