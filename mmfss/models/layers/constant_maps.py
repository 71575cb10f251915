# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A 1x1 convolution of concatenated maps of which some are the same everywhere: those are a bias."""

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_of_parts(conv: nn.Conv2d, parts: Sequence[Tensor], constant: Collection[int]) -> Tensor:
    """``conv(torch.cat([...], dim=1))`` with the constant parts expanded to the others' size, without expanding them.

    Args:
        conv (nn.Conv2d): 1x1.
        parts (Sequence[Tensor]): In the order of its input channels: (B, C_i, h, w), constant ones (B, C_i, 1, 1).
        constant (Collection[int]): Indices of the constant parts; one part at least is none.

    Returns:
        Tensor: (B, C, h, w).
    """
    weights = conv.weight.split([part.shape[1] for part in parts], dim=1)
    maps = [i for i in range(len(parts)) if i not in constant]

    def run(chosen: Sequence[int], bias: Tensor | None) -> Tensor:
        return F.conv2d(torch.cat([parts[i] for i in chosen], 1), torch.cat([weights[i] for i in chosen], 1), bias)

    total = run(maps, conv.bias)
    return total + run(sorted(constant), None) if constant else total
