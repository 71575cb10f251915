# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Center-pivot 4D convolution (HSNet, Min et al. 2021, section 3.3): two 2D convolutions in place of a 4D kernel.

A volume is (B, C, ha, wa, hb, wb), query plane before support plane, with the channels last in memory. A map on the
support plane of every query position is then a batch of images as it is.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .exporting import exporting
from .similarity import products

# A convolution that pads a plane of so many positions spends most of its taps on padding.
_SMALL_PLANE = 4


class CenterPivotConv4d(nn.Module):
    """Sum of a k x k convolution on the query plane and one on the support plane, each with its own bias.

    Args:
        in_channels (int): C.
        out_channels (int): O.
        kernel_size (int): k, odd.
        stride (int): s, of the support plane: ``support`` steps by it, ``query`` reads every s-th support position.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        self.query = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.support = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)
        self.stride = stride

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, ha, wa, hb, wb) -> (B, O, ha, wa, ceil(hb / s), ceil(wb / s)), channels last in memory."""
        total = self._on_support(volume)
        planes = self.query(to_query_planes(volume[..., :: self.stride, :: self.stride]))
        return total + from_query_planes(planes, total.shape)

    def _on_support(self, volume: Tensor) -> Tensor:
        B, C, ha, wa, hb, wb = volume.shape
        planes = volume.permute(0, 2, 3, 4, 5, 1)  # (B, ha, wa, hb, wb, C)
        if not exporting() and self.stride == 1 and hb * wb <= _SMALL_PLANE:
            rows = planes.reshape(1, B * ha * wa, hb * wb * C)
            matrix = plane_matrix(self.support.weight, (hb, wb))
            found = products(rows, matrix.T.unsqueeze(0), self.support.bias.repeat(1, hb * wb))
            return found.view(B, ha, wa, hb, wb, -1).permute(0, 5, 1, 2, 3, 4)
        maps = planes.reshape(B * ha * wa, hb, wb, C).permute(0, 3, 1, 2)
        if min(hb, wb) < self.stride:
            # In bfloat16 torch's gradient of a strided convolution over less than a stride holds memory never written.
            found = F.conv2d(maps, self.support.weight, self.support.bias, padding=self.support.padding)
            found = found[..., :: self.stride, :: self.stride]
        else:
            found = self.support(maps)  # (B*ha*wa, O, hb', wb')
        return found.permute(0, 2, 3, 1).unflatten(0, (B, ha, wa)).permute(0, 5, 1, 2, 3, 4)


def to_query_planes(volume: Tensor) -> Tensor:
    """(B, C, ha, wa, hb, wb) -> (B*hb*wb, C, ha, wa), channels last in memory."""
    return volume.permute(0, 4, 5, 2, 3, 1).flatten(0, 2).permute(0, 3, 1, 2)


def from_query_planes(planes: Tensor, shape: torch.Size) -> Tensor:
    """(B*hb*wb, C, ha, wa) -> (B, C, ha, wa, hb, wb); ``shape`` says B, hb and wb."""
    return planes.unflatten(0, (shape[0], *shape[4:])).permute(0, 3, 4, 5, 1, 2)


def plane_matrix(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """A convolution with stride 1 and padding k // 2 on a plane of a few positions, as one matrix.

    Args:
        weight (Tensor): (O, C, k, k).
        size (tuple[int, int]): (h, w) of the plane.

    Returns:
        Tensor: (h*w*O, h*w*C), outputs by inputs, positions before channels. Taps on padding have no part in it.
    """
    k, (h, w) = weight.shape[-1], size
    place = torch.cartesian_prod(torch.arange(h), torch.arange(w)).to(weight.device)  # (P, 2)
    tap = place.unsqueeze(0) - place.unsqueeze(1) + k // 2  # (P out, P in, 2)
    there = ((tap >= 0) & (tap < k)).all(2)
    index = (tap[..., 0] * k + tap[..., 1]).where(there, 0)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).index_select(0, index.flatten())  # (P * P, O, C)
    taps = taps.unflatten(0, index.shape) * there[..., None, None]  # (P out, P in, O, C)
    return taps.transpose(1, 2).flatten(2).flatten(0, 1)


class PivotBlock(nn.Sequential):
    """Center-pivot convolutions, each with GroupNorm over everything but its groups of channels, and ReLU.

    Args:
        in_channels (int): Channels of the volume.
        widths (Sequence[int]): Channels after each convolution.
        kernels (Sequence[int]): Kernel sizes.
        strides (Sequence[int]): Support strides.
        groups (int): Of the GroupNorms. Defaults to 4.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        groups: int = 4,
    ):
        layers = []
        for before, width, k, s in zip((in_channels, *widths[:-1]), widths, kernels, strides, strict=True):
            layers += [CenterPivotConv4d(before, width, k, s), VolumeNorm(groups, width), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class VolumeNorm(nn.GroupNorm):
    """GroupNorm of a volume (B, C, ha, wa, hb, wb), which stays channels last in memory.

    torch's own adds millions of numbers one by one where the channels are last, which is off by 1e-3.
    """

    def forward(self, volume: Tensor) -> Tensor:
        B, C = volume.shape[:2]
        rows = volume.permute(0, 2, 3, 4, 5, 1).reshape(B, -1, C)  # (B, positions, C)
        full = rows.float()  # sums of half precision would be rounded, and then subtracted
        sums = torch.stack([full.sum(1), full.square().sum(1)]).double()  # (2, B, C)
        of_groups = sums.unflatten(2, (self.num_groups, -1)).sum(3) / (rows.shape[1] * C // self.num_groups)
        mean, square = of_groups.repeat_interleave(C // self.num_groups, dim=2)  # (B, C) each
        scale = self.weight / (square - mean * mean + self.eps).sqrt()
        shift = self.bias - mean * scale
        normed = torch.addcmul(shift.to(rows.dtype).unsqueeze(1), rows, scale.to(rows.dtype).unsqueeze(1))
        return normed.view(B, *volume.shape[2:], C).permute(0, 5, 1, 2, 3, 4)
