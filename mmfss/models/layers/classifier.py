# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The pixel classifier of PFENet and its followers."""

from torch import nn


def classifier(channels: int, dropout: float = 0.1) -> nn.Sequential:
    """3x3 conv without bias, ReLU, channel dropout, 1x1 conv: (N, channels, h, w) -> logits (N, 2, h, w).

    Args:
        channels (int): C, channels in and in between.
        dropout (float): Probability. Defaults to 0.1.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(channels, 2, 1),
    )
