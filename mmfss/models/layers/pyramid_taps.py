# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PSPNet's head without a convolution of its enlarged pyramid maps (Zhao et al. 2017).

Half the channels of the last 3x3 convolution are maps of 1 to 36 positions, enlarged. Enlarging is linear in the
positions and each of the nine taps is linear in the channels, so a tap may come first, at a few positions, and the sum
of the enlarged, shifted taps is the same map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.psp_head import PSPHead
from torch import Tensor, nn

from .folded_norm import compute_dtype, conv_norm, foldable, folded


def psp_logits(head: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """``head(inputs)``, for an mmseg PSPHead in evaluation with the pyramid's half of its convolution at bin size.

    Args:
        head (nn.Module): A decode head of mmseg.
        inputs (Sequence[Tensor]): The stages, each (N, C, h, w).

    Returns:
        Tensor: Logits (N, classes, h, w).
    """
    return head.cls_seg(psp_feature(head, inputs)) if _fast(head) else head(inputs)


def psp_feature(head: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """What the classifier of a head sees: :func:`psp_logits` without it.

    Args:
        head (nn.Module): A decode head of mmseg that makes one map before its classifier, as PSPHead and FCNHead do.
        inputs (Sequence[Tensor]): The stages, each (N, C, h, w).

    Returns:
        Tensor: (N, channels, h, w).
    """
    if not _fast(head):
        return head._forward_feature(inputs)
    x = head._transform_inputs(inputs)
    conv, norm = head.bottleneck.conv, head.bottleneck.norm
    C, dtype = x.shape[1], compute_dtype(x)
    weight, bias = folded(conv, norm, dtype, slice(0, C))
    total = F.conv2d(x.to(dtype), weight, bias, padding=1)
    for pool, layer in head.psp_modules:
        bins = _conv_module(layer, pool(x))  # (N, P, b, b)
        taps, _ = folded(conv, norm, dtype, slice(C, C + bins.shape[1]))
        total += enlarged_taps(bins.to(dtype), taps, x.shape[-2:], head.align_corners).to(dtype)
        C += bins.shape[1]
    return F.relu_(total)


def enlarged_taps(bins: Tensor, weight: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """``F.conv2d(F.interpolate(bins, size, mode='bilinear', align_corners=...), weight, padding=1)``.

    Args:
        bins (Tensor): (N, P, a, b), few positions.
        weight (Tensor): (C, P, 3, 3).
        size (Sequence[int]): (h, w).
        align_corners (bool): Of the interpolation.

    Returns:
        Tensor: (N, C, h, w).
    """
    rows, columns = (
        _shifted_shares(own, wanted, align_corners, bins) for own, wanted in zip(bins.shape[-2:], size, strict=True)
    )
    taps = torch.einsum('npab,cpyx->ncyaxb', bins, weight)  # each tap at bin size
    return rows @ taps.flatten(4).flatten(2, 3) @ columns.T  # (h, 3a) (N, C, 3a, 3b) (3b, w)


def _shifted_shares(own: int, wanted: int, align_corners: bool, like: Tensor) -> Tensor:
    """(wanted, 3 * own): of each position, and of those before and behind it, the shares of the ``own`` bins.

    Beyond the border the shares are zero, as the convolution's padding is.
    """
    unit = torch.eye(own, device=like.device).unsqueeze(0)
    shares = F.interpolate(unit, wanted, mode='linear', align_corners=align_corners)[0].T  # (wanted, own)
    padded = F.pad(shares, (0, 0, 1, 1))
    return torch.cat([padded[i : i + wanted] for i in range(3)], dim=1).to(like.dtype)


def _fast(head: nn.Module) -> bool:
    return isinstance(head, PSPHead) and _plain(head.bottleneck) and not head.training


def _plain(module: ConvModule) -> bool:
    """Whether it is a 3x3 convolution, BatchNorm and ReLU that can be folded."""
    return (
        module.order == ('conv', 'norm', 'act')
        and module.with_norm
        and foldable(module.conv, module.norm)
        and type(getattr(module, 'activate', None)) is nn.ReLU
        and (module.conv.kernel_size, module.conv.stride, module.conv.padding) == ((3, 3), (1, 1), (1, 1))
        and (module.conv.dilation, module.conv.groups) == ((1, 1), 1)
        and not module.with_explicit_padding
    )


def _conv_module(layer: ConvModule, x: Tensor) -> Tensor:
    """``layer(x)`` with a folded norm where it has the usual order."""
    if layer.order != ('conv', 'norm', 'act') or not layer.with_norm or layer.with_explicit_padding:
        return layer(x)
    x = conv_norm(layer.conv, layer.norm, x)
    return layer.activate(x) if layer.with_activation else x
