# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Small convolutional net that corrects a map of scores by maps of evidence, and sharpens it at a finer resolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .masks import resize

NORM_GROUPS = 8


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input, the first one dilated; zero at the start of training.

    Args:
        channels (int): C.
        dilation (int): Of the first convolution.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.spread_norm = nn.GroupNorm(NORM_GROUPS, channels)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix_norm = nn.GroupNorm(NORM_GROUPS, channels)
        nn.init.zeros_(self.mix_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        return x + self.mix_norm(self.mix(F.relu(self.spread_norm(self.spread(x)))))


class EvidenceNet(nn.Module):
    """Evidence to a correction of a score map: (N, E, h, w) and (N, 1, h, w) -> (N, 1, h, w).

    Its last layer starts at zero, so that training starts from the scores as they are.

    Args:
        in_channels (int): E.
        channels (int): C of the hidden maps. Defaults to 64.
        appearance_channels (int): A, of maps of the query's own look; 0 takes none. Defaults to 0.
        dilations (tuple[int, ...]): Of the residual blocks.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 64,
        appearance_channels: int = 0,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 1),
    ):
        super().__init__()
        self.look = None
        if appearance_channels:
            self.look = nn.Conv2d(appearance_channels, channels, 3, padding=1)
            nn.init.zeros_(self.look.weight)
        self.enter = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.enter_norm = nn.GroupNorm(NORM_GROUPS, channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels, d) for d in dilations))
        self.context = nn.Conv2d(channels, channels, 1)
        self.leave = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, evidence: Tensor, scores: Tensor, appearance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Hidden maps (N, C, h, w) and corrected scores (N, 1, h, w); ``appearance`` is (N, A, h, w)."""
        x = F.relu(self.enter_norm(self.enter(evidence)))
        if self.look is not None:
            x = x + self.look(appearance)
        x = self.blocks(x)
        x = F.relu(x + self.context(x.mean((2, 3), keepdim=True)))
        return x, scores + self.leave(x)


class Sharpening(nn.Module):
    """Corrects scores along the edges of an earlier, finer stage; zero at the start of training.

    Args:
        channels (int): C of the hidden maps.
        edge_channels (int): D, channels of the earlier stage.
    """

    def __init__(self, channels: int, edge_channels: int):
        super().__init__()
        self.edges = nn.Conv2d(edge_channels, 16, 1)
        self.join = nn.Conv2d(channels + 16 + 1, 32, 3, padding=1)
        self.mix = nn.Conv2d(32, 32, 3, padding=1)
        self.leave = nn.Conv2d(32, 1, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, hidden: Tensor, scores: Tensor, edges: Tensor) -> Tensor:
        """(N, C, h, w), (N, 1, h, w) and (N, D, h', w') -> scores (N, 1, h', w')."""
        size = edges.shape[-2:]
        coarse = resize(scores, size)
        x = torch.cat([resize(hidden, size), F.relu(self.edges(edges)), coarse], dim=1)
        return coarse + self.leave(F.relu(self.mix(F.relu(self.join(x)))))
