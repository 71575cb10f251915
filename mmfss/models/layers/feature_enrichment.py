# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PFENet's feature enrichment module (Tian et al. 2020, section 3.3); ASGNet has the same as its context module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .classifier import classifier
from .exporting import adaptive_average
from .masks import resize


def _conv(in_channels: int, channels: int, kernel_size: int) -> list[nn.Module]:
    """Conv without bias, and ReLU."""
    return [
        nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.ReLU(inplace=True),
    ]


class FeatureEnrichment(nn.Module):
    """The guided query at several scales, each informed by the one before (the inter-scale path).

    Args:
        channels (int): C, channels of the query, of each scale and of the result.
        bins (Sequence[float]): Side of each scale: a whole number above 1 is a side in pixels, which may enlarge a
            small map; a share of 1 at most is one of the map's height.

    Raises:
        ValueError: When there is no bin, or one that is not positive.
    """

    def __init__(self, channels: int, bins: Sequence[float]):
        super().__init__()
        if not bins or min(bins) <= 0:
            raise ValueError(f'bins={tuple(bins)}: give a side in pixels or a share of 1 at most for each scale')
        self.bins = tuple(bins)
        levels = range(len(bins))
        # [query, guide, probability]: 2 C + 1 channels
        self.merge = nn.ModuleList(nn.Sequential(*_conv(2 * channels + 1, channels, 1)) for _ in levels)
        self.pass_on = nn.ModuleList(nn.Sequential(*_conv(2 * channels, channels, 1)) for _ in levels[1:])
        self.refine = nn.ModuleList(
            nn.Sequential(*_conv(channels, channels, 3), *_conv(channels, channels, 3)) for _ in levels
        )
        self.classify = nn.ModuleList(classifier(channels) for _ in levels)
        self.join = nn.Sequential(*_conv(len(bins) * channels, channels, 1))

    def forward(self, guided: Tensor, probability: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Enrich.

        Args:
            guided (Tensor): [query, guide], (B, 2 C, h, w).
            probability (Tensor): Where the class may be, such as the prior mask, (B, 1, h, w).

        Returns:
            tuple[Tensor, list[Tensor]]: Enriched feature (B, C, h, w), auxiliary logits (B, 2, b, b) of each scale.
        """
        size, outputs, logits = guided.shape[-2:], [], []
        for level, bin_ in enumerate(self.bins):
            side = torch.sym_max(torch.sym_int(size[0] * bin_), 1) if bin_ <= 1 else int(bin_)
            pooled = torch.cat([adaptive_average(guided, side), resize(probability, (side, side))], dim=1)
            x = self.merge[level](pooled)  # (B, C, b, b)
            if level:
                x = x + self.pass_on[level - 1](torch.cat([x, resize(outputs[-1], (side, side))], dim=1))
            x = x + self.refine[level](x)
            logits.append(self.classify[level](x))
            outputs.append(resize(x, size))
        return self.join(torch.cat(outputs, dim=1)), logits
