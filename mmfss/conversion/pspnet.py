# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of BAM's released base learners (PSPNet) in an mmseg EncoderDecoder."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .methods import ReleasedMethod, base_config, register
from .names import ConversionError, renamed_model, strip_parallel_prefix
from .variant import Variant, detect_backbone, detect_dataset

# Released pattern -> name here, tried in this order on the whole key.
PSPNET_KEYS: tuple[tuple[str, str], ...] = (
    (r'ppm\.features\.(\d)\.1\.(\w+)', r'decode_head.psp_modules.\1.1.conv.\2'),
    (r'ppm\.features\.(\d)\.2\.(\w+)', r'decode_head.psp_modules.\1.1.bn.\2'),
    (r'cls\.0\.(\w+)', r'decode_head.bottleneck.conv.\1'),
    (r'cls\.1\.(\w+)', r'decode_head.bottleneck.bn.\1'),
    (r'cls\.4\.(\w+)', r'decode_head.conv_seg.\1'),
)


def convert_base_learner(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released base learner as the weights of stage 1.

    Args:
        state (Mapping[str, Tensor]): The released state dict: ``layer*``, perhaps the same weights
            once more as ``encoder.*``, ``ppm.features.*`` and ``cls.*``.
        dataset (str, optional): 'pascal' or 'coco', to be compared with what the weights say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else; the message names the keys.
    """
    state = _merge_encoder(strip_parallel_prefix(state))
    renamed = renamed_model(state, PSPNET_KEYS, 'base learner')
    variant = Variant(
        method='pspnet',
        backbone=detect_backbone(state),
        dataset=detect_dataset(state, 'cls.4.weight', dataset),
    )
    return variant, renamed


def _merge_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``encoder.N.*`` is ``layerN.*``: the released module registers its layers twice."""
    merged = {key: value for key, value in state.items() if not key.startswith('encoder.')}
    for key in state.keys() - merged.keys():
        name = re.sub(r'^encoder\.(\d)\.', r'layer\1.', key)
        if name in merged and not torch.equal(merged[name], state[key]):
            raise ConversionError(f'{key} and {name} should be the same weight but differ')
        merged.setdefault(name, state[key])
    return merged


register(
    ReleasedMethod(
        name='pspnet',
        title='the base learner PSPNet (chunbolang/BAM)',
        recognises=lambda state: 'cls.4.weight' in state and any(key.startswith('ppm.') for key in state),
        convert=convert_base_learner,
        config=base_config,
        base_learner=True,
    )
)
