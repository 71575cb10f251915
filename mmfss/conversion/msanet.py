# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released MSANet checkpoints (AIVResearch/MSANet) in mmfss: those of BAM and its own two parts."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .bam import BAM_KEYS, ENSEMBLE_LOSSES, detect_ensemble, merged_channels, shot_options
from .methods import ReleasedMethod, register
from .names import renamed_model, strip_parallel_prefix
from .variant import Variant

# Released pattern -> name here, tried in this order on the whole key.
MSANET_KEYS: tuple[tuple[str, str], ...] = (
    *BAM_KEYS,
    (r'gam\.gate\.(\d)\.(\w+)', r'decode_head.attention.gate.\1.\2'),
    (r'hyper_final\.(\d)\.(\w+)', r'decode_head.squeeze.\1.\2'),
)
_CHANNELS = 833  # query 256, prototype 256, attention 256, similarity 64, prior 1


def convert_msanet(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released MSANet checkpoint as the weights of a BaseLearnerEnsemble.

    Args:
        state (Mapping[str, Tensor]): The released state dict.
        dataset (str, optional): 'pascal' or 'coco', to be compared with what the weights say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else; the message names the keys.
    """
    state = strip_parallel_prefix(state)
    renamed = renamed_model(state, MSANET_KEYS, 'MSANet')
    return detect_ensemble('msanet', state, dataset), renamed


def msanet_options(variant: Variant) -> dict[str, Any]:
    """What the config needs in addition for released weights: other shots, and on VGG16 their slip.

    With several shots the released code takes block 4's similarity maps from the last one alone.
    """
    slip = {'model.decode_head.last_shot_groups': (2,)} if variant.backbone == 'vgg16' and variant.shots > 1 else {}
    return shot_options(variant) | slip


register(
    ReleasedMethod(
        name='msanet',
        title='MSANet (AIVResearch/MSANet)',
        recognises=lambda state: merged_channels(state) == _CHANNELS,
        convert=convert_msanet,
        cfg_options=msanet_options,
        rules=MSANET_KEYS,
        losses=ENSEMBLE_LOSSES,
        tolerances=dict(output=1e-4, loss=1e-4, gradient=1e-3),
    )
)
