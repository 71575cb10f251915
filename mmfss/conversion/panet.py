# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the checkpoints that PANet's training writes (kaixin96/PANet) in mmfss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmfss.utils.wording import listed

from .methods import ReleasedMethod, register
from .names import ConversionError, rename, strip_parallel_prefix
from .variant import Variant, told_dataset

if TYPE_CHECKING:
    from .parity import Case

# Released pattern -> name here. The odd indices of the outer list are pools.
PANET_KEYS: tuple[tuple[str, str], ...] = tuple(
    (rf'encoder\.backbone\.features\.{2 * block}\.(\d)\.(\w+)', rf'backbone.layer{block}.\1.\2') for block in range(5)
)
_FIRST = 'encoder.backbone.features.0.0.weight'


def convert_panet(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A checkpoint of PANet's training as the weights of a FewShotSegmentor. It serves every number of shots.

    Args:
        state (Mapping[str, Tensor]): The released state dict: the backbone is all there is.
        dataset (str, optional): 'pascal' or 'coco': the weights do not say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else, or no data set is given; the message names the keys.
    """
    renamed, unknown = rename(strip_parallel_prefix(state), PANET_KEYS)
    if unknown:
        raise ConversionError(f'not a PANet checkpoint: unknown keys {listed(unknown, 6)}')
    return Variant(method='panet', backbone='vgg16', dataset=told_dataset(dataset)), renamed


def panet_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Everything that PANet's reference cases hold, of one class a query or of several."""
    inputs, head = case.inputs, model.decode_head
    features = model.encode_query(model.extract_feat(inputs['query'])).heads['meta']
    encode = model.encode_ways if case.several_classes else model.encode_support
    found = encode(inputs['support'], inputs['support_mask'])
    banks = [bank.part('meta') for bank in (found if case.several_classes else [found])]
    output = head.forward_ways(features, banks)
    fg, bg = (torch.stack([bank[name].mean(1) for bank in banks], 1) for name in ('foreground', 'background'))
    return dict(
        feat_query=features[head.stage],
        fg_prototype=fg if case.several_classes else fg[:, 0],  # (B, W, C) or (B, C)
        bg_prototype=bg.mean(1),
        dist=output.auxiliary['scores'],
        logits=output.logits,
    )


register(
    ReleasedMethod(
        name='panet',
        title='PANet (kaixin96/PANet)',
        recognises=lambda state: _FIRST in state,
        convert=convert_panet,
        rules=PANET_KEYS,
        outputs=panet_outputs,
        losses=dict(loss_query='loss_final', loss_align='loss_align'),
    )
)
