# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BatchNorm in eval mode is a scale and a shift for each channel: they go into the convolution before it.

The folded weights are kept beside the network and made anew when a weight or statistic changes, so training, state
dicts and checkpoints know nothing of them.
"""

from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from .exporting import exporting

Folded = tuple[Tensor, Tensor]

# conv -> ({what was asked for: folded}, the state of the tensors that it was made of)
_FOLDED: WeakKeyDictionary[nn.Module, tuple[dict, list]] = WeakKeyDictionary()


def foldable(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the two may run as one convolution: no gradient is recorded, and the norm only scales and shifts."""
    return (
        type(conv) is nn.Conv2d
        and isinstance(norm, _BatchNorm)
        and not norm.training
        and norm.track_running_stats
        and norm.affine
        and conv.padding_mode == 'zeros'
        and not conv.weight.is_inference()  # such tensors do not count their changes
        and not torch.is_grad_enabled()
        and not exporting()
    )


def folded(conv: nn.Conv2d, norm: nn.Module, dtype: torch.dtype, inputs: slice = slice(None)) -> Folded:
    """Weight and bias of conv and norm together, kept until one of their tensors changes.

    Args:
        conv (nn.Conv2d): The convolution.
        norm (nn.Module): The BatchNorm behind it, see :func:`foldable`.
        dtype (torch.dtype): In which they are wanted.
        inputs (slice): Input channels whose weights are wanted. Defaults to all.

    Returns:
        tuple[Tensor, Tensor]: (C_out, C_in, k, k), channels last, and (C_out,).
    """
    sources = [conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    # Every in-place write, loading a checkpoint included, raises a tensor's version.
    state = [None if t is None else (t.data_ptr(), t.device, t._version) for t in sources]
    kept = _FOLDED.get(conv)
    if kept is None or kept[1] != state:
        kept = _FOLDED[conv] = ({}, state)
    key = (dtype, inputs.start, inputs.stop)
    if key not in kept[0]:
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        shift = norm.bias.double() - norm.running_mean.double() * scale
        if conv.bias is not None:
            shift = shift + conv.bias.double() * scale
        kept[0][key] = _scaled(conv.weight[:, inputs], scale, dtype), shift.to(dtype)
    return kept[0][key]


def _scaled(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Filters (C_out, C_in, k, k), each times its own factor (C_out,), channels last, rounded once."""
    found = torch.empty_like(weight, dtype=dtype, memory_format=torch.channels_last)
    # Some at a time: all filters of a base learner take 150 MB in float64, beside the maps of an image.
    for filters, factors, part in zip(weight.split(64), scale.split(64), found.split(64), strict=True):
        part.copy_(filters.double() * factors.view(-1, 1, 1, 1))
    return found


def conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(conv(x))``, as one convolution where possible: (N, C, h, w) -> (N, C', h', w')."""
    # In half precision the shift itself would be rounded, which costs more than folding saves.
    if not foldable(conv, norm) or compute_dtype(x) != torch.float32:
        return norm(conv(x))
    weight, bias = folded(conv, norm, compute_dtype(x))
    return F.conv2d(x.to(weight.dtype), weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def compute_dtype(x: Tensor) -> torch.dtype:
    """Autocast's number format where it is on, else the tensor's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def run_folded(layers: nn.Sequential, x: Tensor) -> Tensor:
    """``layers(x)`` with every BatchNorm folded into the convolution right before it, where possible."""
    waiting = None
    for layer in layers:
        if waiting is not None and isinstance(layer, _BatchNorm):
            x, waiting = conv_norm(waiting, layer, x), None
            continue
        if waiting is not None:
            x, waiting = waiting(x), None
        if type(layer) is nn.Conv2d:
            waiting = layer
        else:
            x = layer(x)
    return x if waiting is None else waiting(x)
