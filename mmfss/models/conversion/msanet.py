# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released MSANet checkpoints (AIVResearch/MSANet) in mmfss."""

from collections.abc import Mapping

from torch import Tensor

from .names import ConversionError, backbone_rules, listed, rename, strip_parallel_prefix
from .variant import Variant, detect_backbone, detect_dataset, detect_shots

# Released pattern -> name here, tried in this order on the whole key.
MSANET_KEYS: tuple[tuple[str, str], ...] = (
    (r'learner_base\.0\.features\.(\d)\.1\.(\w+)', r'base_head.psp_modules.\1.1.conv.\2'),
    (r'learner_base\.0\.features\.(\d)\.2\.(\w+)', r'base_head.psp_modules.\1.1.bn.\2'),
    (r'learner_base\.1\.0\.(\w+)', r'base_head.bottleneck.conv.\1'),
    (r'learner_base\.1\.1\.(\w+)', r'base_head.bottleneck.bn.\1'),
    (r'learner_base\.1\.4\.(\w+)', r'base_head.conv_seg.\1'),
    (r'down_query\.0\.(\w+)', r'decode_head.reduce_query.0.\1'),
    (r'down_supp\.0\.(\w+)', r'decode_head.reduce_support.0.\1'),
    (r'init_merge\.0\.(\w+)', r'decode_head.merge.0.\1'),
    (r'ASPP_meta\.layer6_(\d)\.0\.(\w+)', r'decode_head.decoder.aspp.branches.\1.0.\2'),
    (r'res1_meta\.0\.(\w+)', r'decode_head.decoder.reduce.0.\1'),
    (r'res2_meta\.(\d)\.(\w+)', r'decode_head.decoder.refine.\1.\2'),
    (r'cls_meta\.(\d)\.(\w+)', r'decode_head.decoder.classify.\1.\2'),
    (r'gram_merge\.weight', r'merge_adjustment.weight'),
    (r'cls_merge\.weight', r'merge_base.weight'),
    (r'kshot_rw\.(\d)\.(\w+)', r'decode_head.shot_weighting.layers.\1.\2'),
    (r'gam\.gate\.(\d)\.(\w+)', r'decode_head.attention.gate.\1.\2'),
    (r'hyper_final\.(\d)\.(\w+)', r'decode_head.squeeze.\1.\2'),
)


def rename_msanet_keys(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the keys of a released MSANet state dict.

    Args:
        state (Mapping[str, Tensor]): As released, with or without the prefix ``module.`` of a
            multi-GPU run.

    Returns:
        tuple[dict[str, Tensor], list[str]]: The state dict of a BaseLearnerEnsemble, and the keys
            that no rule knows.
    """
    state = strip_parallel_prefix(state)
    return rename(state, (*MSANET_KEYS, *backbone_rules(state)))


def convert_msanet(state: Mapping[str, Tensor]) -> tuple[Variant, dict[str, Tensor]]:
    """A released MSANet checkpoint as the weights of a BaseLearnerEnsemble.

    Args:
        state (Mapping[str, Tensor]): The released state dict.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else; the message names the keys.
    """
    state = strip_parallel_prefix(state)
    renamed, unknown = rename_msanet_keys(state)
    if unknown:
        raise ConversionError(f'not a released MSANet: unknown keys {listed(unknown)}')
    variant = Variant(
        method='msanet',
        backbone=detect_backbone(state),
        dataset=detect_dataset(state, 'learner_base.1.4.weight'),
        shots=detect_shots(state),
    )
    return variant, renamed
