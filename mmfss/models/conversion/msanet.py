# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released MSANet checkpoints (AIVResearch/MSANet) in mmfss."""

import re
from typing import Dict, List, Mapping, Tuple

from torch import Tensor

# Released pattern -> name here, tried in this order on the whole key.
MSANET_KEYS: Tuple[Tuple[str, str], ...] = (
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
RESNET_KEYS = ((r'layer0\.(.+)', r'backbone.stem.\1'), (r'(layer[1-4]\..+)', r'backbone.\1'))
VGG_KEYS = ((r'(layer[0-4]\..+)', r'backbone.\1'), )


def rename_msanet_keys(state: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Rename the keys of a released MSANet state dict.

    Args:
        state (Mapping[str, Tensor]): as released, with or without the prefix ``module.`` of a multi-GPU run.

    Returns:
        tuple[dict[str, Tensor], list[str]]: the state dict of a BaseLearnerEnsemble, and the keys that no rule knows.
    """
    state = {k.removeprefix('module.'): v for k, v in state.items()}
    # A bottleneck has named convs, a VGG slice has numbered ones.
    backbone = RESNET_KEYS if any(re.match(r'layer1\.\d+\.conv1', k) for k in state) else VGG_KEYS
    renamed, unknown = {}, []
    for key, value in state.items():
        for pattern, name in (*MSANET_KEYS, *backbone):
            match = re.fullmatch(pattern, key)
            if match:
                renamed[match.expand(name)] = value
                break
        else:
            unknown.append(key)
    return renamed, unknown
