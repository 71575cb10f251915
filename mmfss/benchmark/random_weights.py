# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Random weights that behave like learnt ones: activations near one, masks neither empty nor full."""

import torch
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

_MERGING = (1.0, 0.3)  # convs that merge two maps start from (1, 0), which would hide the second one
_FEW_INPUTS = 8  # a conv of so few weights shots
_BRANCH = 0.2  # weight of a residual branch's last norm: at 1 a deep network multiplies rounding errors by thousands
_DEVIATION = 1.0  # of the logits: probabilities from 0.2 to 0.8


@torch.no_grad()
def settle(model: nn.Module, inputs: dict[str, Tensor], seed: int) -> None:
    """Give a segmentor its weights.

    Args:
        model (nn.Module): In eval mode; its backbone and base learner keep their convs.
        inputs (dict[str, Tensor]): Episodes whose statistics BatchNorm and the classifier take. Two or more: some maps
            are single pixels.
        seed (int): Of what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.shape[1:] == (2, 1, 1) and parameter.shape[0] == 1:
            parameter.copy_(torch.tensor(_MERGING).view(1, 2, 1, 1))
    for block in model.backbone.modules():
        if hasattr(block, 'downsample'):
            last = [part for part in block.children() if isinstance(part, _BatchNorm)][-1]
            last.weight.fill_(_BRANCH)
    for parameter in model.decode_head.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 0
        if fan_in > _FEW_INPUTS:
            drawn = torch.randn(parameter.shape, generator=generator)
            # Without a mean: behind a ReLU it would drown what differs from place to place.
            drawn -= drawn.mean(tuple(range(1, drawn.dim())), keepdim=True)
            parameter.copy_(drawn * (2 / fan_in) ** 0.5)
    _settle_norms(model, inputs)
    _settle_classifier(model, inputs)


def _segment(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    return model.segment_images(inputs['query'], [bank], inputs['query_padding'])[0]


def _settle_norms(model: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Every BatchNorm takes the statistics of the last batch it sees.

    A neck, which runs image by image and may pool an image to a single pixel, keeps those that it was built with.
    """
    named = model.named_modules()
    norms = [part for name, part in named if isinstance(part, _BatchNorm) and not name.startswith('neck.')]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    _segment(model, inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def _settle_classifier(model: nn.Module, inputs: dict[str, Tensor]) -> None:
    """The conv that ends in two classes gives logits of mean 0 and one deviation."""
    convs = [part for part in model.decode_head.modules() if isinstance(part, nn.Conv2d) and part.out_channels == 2]
    if not convs:
        return
    classifier = max(convs, key=lambda conv: conv.in_channels)  # a small one weights shots
    scores = _segment(model, inputs)
    logits = scores.get('meta', scores['final'])  # (B, 2, h, w)
    mean, deviation = logits.mean((0, 2, 3)), logits.std((0, 2, 3)).clamp(min=1e-6)
    scale = _DEVIATION / deviation
    classifier.weight.mul_(scale.view(2, 1, 1, 1))
    if classifier.bias is not None:
        classifier.bias.sub_(mean).mul_(scale)
