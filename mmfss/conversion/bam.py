# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of BAM (chunbolang/BAM) in mmfss: base learner, meta decoder and ensemble, which MSANet took over."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .variant import Variant

# Released pattern -> name here, tried in this order on the whole key.
BASE_LEARNER_KEYS: tuple[tuple[str, str], ...] = (
    (r'learner_base\.0\.features\.(\d)\.1\.(\w+)', r'base_head.psp_modules.\1.1.conv.\2'),
    (r'learner_base\.0\.features\.(\d)\.2\.(\w+)', r'base_head.psp_modules.\1.1.bn.\2'),
    (r'learner_base\.1\.0\.(\w+)', r'base_head.bottleneck.conv.\1'),
    (r'learner_base\.1\.1\.(\w+)', r'base_head.bottleneck.bn.\1'),
    (r'learner_base\.1\.4\.(\w+)', r'base_head.conv_seg.\1'),
)
META_DECODER_KEYS: tuple[tuple[str, str], ...] = (
    (r'down_query\.0\.(\w+)', r'decode_head.reduce_query.0.\1'),
    (r'down_supp\.0\.(\w+)', r'decode_head.reduce_support.0.\1'),
    (r'init_merge\.0\.(\w+)', r'decode_head.merge.0.\1'),
    (r'ASPP_meta\.layer6_(\d)\.0\.(\w+)', r'decode_head.decoder.aspp.branches.\1.0.\2'),
    (r'res1_meta\.0\.(\w+)', r'decode_head.decoder.reduce.0.\1'),
    (r'res2_meta\.(\d)\.(\w+)', r'decode_head.decoder.refine.\1.\2'),
    (r'cls_meta\.(\d)\.(\w+)', r'decode_head.decoder.classify.\1.\2'),
    (r'kshot_rw\.(\d)\.(\w+)', r'decode_head.shot_weighting.layers.\1.\2'),
)
ENSEMBLE_KEYS: tuple[tuple[str, str], ...] = (
    (r'gram_merge\.weight', r'merge_adjustment.weight'),
    (r'cls_merge\.weight', r'merge_base.weight'),
)
BAM_KEYS = (*BASE_LEARNER_KEYS, *META_DECODER_KEYS, *ENSEMBLE_KEYS)
BASE_CLASSIFIER = 'learner_base.1.4.weight'  # its outputs are background and base classes
_MERGE = 'init_merge.0.weight'  # the conv over all that guides the query: its inputs tell the methods apart


def merged_channels(state: Mapping[str, Tensor]) -> int | None:
    """How many channels guide the query, None without such a conv: 513 in BAM, 833 in MSANet."""
    return state[_MERGE].shape[1] if _MERGE in state else None


def detect_shots(state: Mapping[str, Tensor]) -> int:
    """K of the convs that weight the shots, 1 where there are none."""
    weight = state.get('kshot_rw.0.weight')
    return 1 if weight is None else weight.shape[1]


def shot_options(variant: Variant) -> dict[str, Any]:
    """What the config needs in addition: the number of shots where it is neither 1 nor 5."""
    if variant.shots in (1, 5):
        return {}
    datasets = {f'{phase}_dataloader.dataset.shots': variant.shots for phase in ('train', 'val', 'test')}
    return {'model.decode_head.shot_weighting.shots': variant.shots, **datasets}
