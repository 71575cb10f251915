# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Which support tokens CyCTR looks at: about as many of the foreground as of the background, at random."""

from typing import NamedTuple

import torch
from torch import Tensor

PAIRINGS = ('released', 'aligned')
_SCALES = ((0.6, 4.0), (0.6, 1.4))  # of the number of tokens in training, with one support and with several


class TokenIndex(NamedTuple):
    """Places among the tokens of all supports, laid end to end.

    Attributes:
        vector (Tensor): int64 (B, N): where a drawn token's vector is.
        label (Tensor): int64 (B, N): where its flags are read.
    """

    vector: Tensor
    label: Tensor


class TokenDraw:
    """Draws a number of foreground and as many background tokens for each support.

    If one kind has too few, all of it is taken and the other gives more. An evaluation draws once for all layers, by
    the episode's seed alone: the same on every device, in every batch and number of processes. Training draws for each
    layer anew, by the global generator, and varies the number.

    Args:
        tokens (int): Of each kind and support. Defaults to 300.
        pairing (str): 'released' repeats a slip of the released code, which is part of its numbers: a drawn token takes
            its flags from the place, among all tokens, that is its rank among its own kind. 'aligned' takes them from
            its own place. Tokens of a kind that is taken whole have their own flags in either case.

    Raises:
        ValueError: When an argument is impossible.
    """

    def __init__(self, tokens: int = 300, pairing: str = 'released'):
        if tokens < 1:
            raise ValueError(f'tokens={tokens}: draw at least 1 of each kind')
        if pairing not in PAIRINGS:
            raise ValueError(f'pairing={pairing!r}: choose from {", ".join(PAIRINGS)}')
        self.tokens, self.pairing = tokens, pairing

    def evaluation(self, foreground: Tensor, shots: int, seed: Tensor, layers: int) -> list[TokenIndex]:
        """One draw for all layers.

        Args:
            foreground (Tensor): bool (B, N), the flags of all tokens.
            shots (int): K, of which they are.
            seed (Tensor): int64 (B,), of the episodes.
            layers (int): How many layers ask.

        Returns:
            list[TokenIndex]: The same for each layer.
        """
        return [self._draw(foreground, self.tokens * shots, seed)] * layers

    def training(self, foreground: Tensor, shots: int, layers: int) -> list[TokenIndex]:
        """A draw for each layer, of a number that the global generator varies; arguments as :meth:`evaluation`."""
        low, high = _SCALES[shots > 1]
        drawn = []
        for _ in range(layers):
            number = int(self.tokens * shots * (low + (high - low) * torch.rand(()).item()))
            seed = torch.randint(2**62, foreground.shape[:1], device=foreground.device)
            drawn.append(self._draw(foreground, max(number, 1), seed))
        return drawn

    def _draw(self, foreground: Tensor, number: int, seed: Tensor) -> TokenIndex:
        vector, rank, drawn = draw_balanced(foreground, number, random_keys(seed, foreground.shape[1]))
        return TokenIndex(vector, torch.where(drawn, rank, vector) if self.pairing == 'released' else vector)


def draw_balanced(foreground: Tensor, number: int, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``number`` of the foreground and as many of the background, without replacement; min(N, 2 * number) in all.

    With fewer foreground tokens than ``number`` all of them are taken and the background fills up, else the other way
    round.

    Args:
        foreground (Tensor): bool (B, N).
        number (int): Of each kind.
        keys (Tensor): int64 (B, N), no two alike in a row: a kind's tokens are drawn by ascending key.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Of the tokens taken, (B, min(N, 2 * number)), foreground first: their places,
        int64; the rank of each among its kind, int64; and whether its kind was drawn from and not taken whole, bool.
    """
    B, N = foreground.shape
    F = foreground.sum(1, keepdim=True)  # (B, 1)
    whole, n = torch.full_like(F, N), torch.full_like(F, number)  # tensors: a recorded graph has symbols for both
    G = whole - F
    few, many = n > F, (n <= F) & (n > G)  # too little foreground; else too little background
    take = torch.where(few, F, torch.where(many, torch.minimum(F, 2 * n - G), n))
    take_background = torch.where(few, torch.minimum(G, 2 * n - F), torch.where(many, G, n))
    drawn = torch.where(foreground, ~few, ~many)  # (B, N)
    rank = torch.where(foreground, foreground.cumsum(1), (~foreground).cumsum(1)) - 1
    place = torch.arange(N, device=keys.device).expand(B, N)
    turn = torch.where(drawn, keys.argsort(1).argsort(1), place) + whole * (~foreground)
    order = turn.argsort(1)  # foreground first, within a kind as they are taken
    taken = (place < take) | ((place >= F) & (place < F + take_background))
    first = (~taken).to(torch.uint8).argsort(dim=1, stable=True)[:, : torch.sym_min(N, 2 * number)]
    vector = order.gather(1, first)
    return vector, rank.gather(1, vector), drawn.gather(1, vector)


def random_keys(seed: Tensor, count: int) -> Tensor:
    """int64 (B, count) of seeds (B,): no two alike in a row, and the same on every device.

    A counter through the mixing steps of splitmix64 (Steele et al. 2014), each of which is a bijection.
    """

    def mixed(x: Tensor, shift: int) -> Tensor:  # the sign is shifted like any other bit
        return x ^ ((x >> shift) & (2 ** (64 - shift) - 1))

    x = seed.unsqueeze(1) + torch.arange(count, device=seed.device) * -7046029254386353131
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        x = mixed(x, shift) * factor
    return mixed(x, 31)
