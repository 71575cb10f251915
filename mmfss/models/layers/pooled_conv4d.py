# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""4D convolution with pooling (VAT, Hong et al. 2022): two 2D convolutions, each on a volume pooled in the other plane.

A volume is (B, C, ha, wa, hb, wb), query plane before support plane, with the channels last in memory.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .center_pivot import VolumeNorm, from_query_planes, to_query_planes


def to_support_planes(volume: Tensor) -> Tensor:
    """(B, C, ha, wa, hb, wb) -> (B*ha*wa, C, hb, wb), channels last in memory."""
    return volume.permute(0, 2, 3, 4, 5, 1).flatten(0, 2).permute(0, 3, 1, 2)


def from_support_planes(planes: Tensor, shape: Sequence[int]) -> Tensor:
    """(B*ha*wa, C, hb, wb) -> (B, C, ha, wa, hb, wb); ``shape`` says B, ha and wa."""
    return planes.unflatten(0, (shape[0], *shape[2:4])).permute(0, 3, 1, 2, 4, 5)


def pool_support(volume: Tensor, stride: int) -> Tensor:
    """Largest value of each cell of stride x stride support positions; cells at the far edges may be smaller."""
    if stride == 1:
        return volume
    return from_support_planes(F.max_pool2d(to_support_planes(volume), stride, ceil_mode=True), volume.shape)


def pool_query(volume: Tensor, stride: int) -> Tensor:
    """The same of query positions."""
    if stride == 1:
        return volume
    return from_query_planes(F.max_pool2d(to_query_planes(volume), stride, ceil_mode=True), volume.shape)


class PooledConv4d(nn.Module):
    """One 4D convolution of kernel 3 and padding 1.

    Args:
        in_channels (int): C.
        out_channels (int): O.
        query_stride (int): Of the query plane.
        support_stride (int): Of the support plane.
    """

    def __init__(self, in_channels: int, out_channels: int, query_stride: int, support_stride: int):
        super().__init__()
        self.query_stride, self.support_stride = query_stride, support_stride
        self.query = nn.Conv2d(in_channels, out_channels, 3, stride=query_stride, padding=1)
        self.support = nn.Conv2d(in_channels, out_channels, 3, stride=support_stride, padding=1)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, ha, wa, hb, wb) -> (B, O, ha', wa', hb', wb'), each side its stride's part, rounded up."""
        return self.from_pooled(pool_support(volume, self.support_stride), pool_query(volume, self.query_stride))

    def from_pooled(self, support_pooled: Tensor, query_pooled: Tensor) -> Tensor:
        """The same of a volume that is pooled already.

        Args:
            support_pooled (Tensor): With its support plane pooled, (B, C, ha, wa, hb', wb').
            query_pooled (Tensor): With its query plane pooled, (B, C, ha', wa', hb, wb).

        Returns:
            Tensor: (B, O, ha', wa', hb', wb'), channels last in memory.
        """
        on_query = from_query_planes(self.query(to_query_planes(support_pooled)), support_pooled.shape)
        on_support = from_support_planes(self.support(to_support_planes(query_pooled)), query_pooled.shape)
        return on_support + on_query


class PooledConvBlock(nn.Module):
    """4D convolution with pooling, GroupNorm over the whole volume, ReLU.

    Args:
        in_channels (int): C.
        out_channels (int): O.
        query_stride (int): Of the query plane.
        support_stride (int): Of the support plane.
        group_channels (int): Channels that are normalised together. Defaults to 16.
    """

    def __init__(
        self, in_channels: int, out_channels: int, query_stride: int, support_stride: int, group_channels: int = 16
    ):
        super().__init__()
        self.conv = PooledConv4d(in_channels, out_channels, query_stride, support_stride)
        self.norm = VolumeNorm(max(1, out_channels // group_channels), out_channels)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, ha, wa, hb, wb) -> (B, O, ha', wa', hb', wb')."""
        return F.relu(self.norm(self.conv(volume)), inplace=True)

    def from_pooled(self, support_pooled: Tensor, query_pooled: Tensor) -> Tensor:
        """See :meth:`PooledConv4d.from_pooled`."""
        return F.relu(self.norm(self.conv.from_pooled(support_pooled, query_pooled)), inplace=True)
