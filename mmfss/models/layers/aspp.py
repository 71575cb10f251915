# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The decoder of BAM and MSANet: an ASPP without normalisation, a residual refinement and a classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .classifier import classifier
from .constant_maps import conv_of_parts


def _conv_relu(
    in_channels: int, channels: int, kernel_size: int, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size, 1, dilation * (kernel_size // 2), dilation, bias=bias),
        nn.ReLU(inplace=True),
    )


class PlainASPP(nn.Module):
    """Five parallel branches, each conv with bias and ReLU: image pooling, 1x1, and one 3x3 for each dilation.

    mmseg's ASPP has a norm and a 1x1 joining conv that the method does not have. The convs start from kaiming normal
    weights (fan in, gain sqrt 2), as in the released codes of BAM and MSANet; their biases from torch's default.

    Args:
        channels (int): C, channels in and of each branch.
        dilations (Sequence[int]): Of the 3x3 branches. Defaults to (6, 12, 18).
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (6, 12, 18)):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _conv_relu(channels, channels, 1, bias=True),
                _conv_relu(channels, channels, 1, bias=True),
                *(_conv_relu(channels, channels, 3, d, bias=True) for d in dilations),
            ]
        )
        for branch in self.branches:
            nn.init.kaiming_normal_(branch[0].weight, mode='fan_in', nonlinearity='relu')

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, (2 + dilations) * C, h, w)."""
        image, *maps = self.parts(x)
        return torch.cat([image.expand_as(x), *maps], dim=1)

    def parts(self, x: Tensor) -> list[Tensor]:
        """The branches' outputs: image pooling (B, C, 1, 1), which is the same everywhere, and maps (B, C, h, w)."""
        return [self.branches[0](x.mean((2, 3), keepdim=True)), *(branch(x) for branch in self.branches[1:])]


class MetaDecoder(nn.Module):
    """Merged guidance -> foreground logits (MSANet, section 3.5; layout of BAM's meta learner).

    Args:
        channels (int): C, channels of the merged feature and all hidden layers.
        dilations (Sequence[int]): Of the ASPP. Defaults to (6, 12, 18).
        dropout (float): Channel dropout before the classifier. Defaults to 0.1.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (6, 12, 18), dropout: float = 0.1):
        super().__init__()
        self.aspp = PlainASPP(channels, dilations)
        self.reduce = _conv_relu((2 + len(dilations)) * channels, channels, 1)
        self.refine = nn.Sequential(*_conv_relu(channels, channels, 3), *_conv_relu(channels, channels, 3))
        self.classify = classifier(channels, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, 2, h, w) of background and foreground."""
        conv, relu = self.reduce
        x = relu(conv_of_parts(conv, self.aspp.parts(x), constant=(0,)))
        return self.classify(x + self.refine(x))
