# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of BAM (chunbolang/BAM) in mmfss: base learner, meta decoder and ensemble, which MSANet took over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mmfss.models.layers import resize
from mmfss.models.layers.generalized import MERGES, generalized_labels
from mmfss.structures import MASKED_LAST_STAGE

from .methods import ReleasedMethod, register
from .names import renamed_model, strip_parallel_prefix
from .reference_outputs import encode, scores_and_guidance
from .variant import Variant, detect_backbone, detect_dataset

if TYPE_CHECKING:
    from .parity import Case

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
ENSEMBLE_LOSSES = dict(loss_final='loss_final', loss_meta='loss_meta', loss_base='base_ce')
BASE_CLASSIFIER = 'learner_base.1.4.weight'  # its outputs are background and base classes
_CHANNELS = 513  # query 256, prototype 256, prior 1
_MERGE = 'init_merge.0.weight'  # the conv over all that guides the query: its inputs tell the methods apart


def merged_channels(state: Mapping[str, Tensor]) -> int | None:
    """How many channels guide the query, None without such a conv: 513 in BAM, 833 in MSANet."""
    return state[_MERGE].shape[1] if _MERGE in state else None


def detect_shots(state: Mapping[str, Tensor]) -> int:
    """K of the convs that weight the shots, 1 where there are none."""
    weight = state.get('kshot_rw.0.weight')
    return 1 if weight is None else weight.shape[1]


def detect_ensemble(method: str, state: Mapping[str, Tensor], dataset: str | None) -> Variant:
    """Backbone, data set and K of a released model with a base learner; ``dataset`` is the user's word.

    Raises:
        ConversionError: When the weights do not tell, or tell something else.
    """
    return Variant(
        method=method,
        backbone=detect_backbone(state),
        dataset=detect_dataset(state, BASE_CLASSIFIER, dataset),
        shots=detect_shots(state),
    )


def shot_options(variant: Variant) -> dict[str, Any]:
    """What the config needs in addition: the number of shots where it is neither 1 nor 5."""
    if variant.shots in (1, 5):
        return {}
    datasets = {f'{phase}_dataloader.dataset.shots': variant.shots for phase in ('train', 'val', 'test')}
    return {'model.decode_head.shot_weighting.shots': variant.shots, **datasets}


def bam_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Everything that BAM's reference cases hold, see :func:`scores_and_guidance`."""
    found, head, inputs = scores_and_guidance(model, case), model.decode_head, case.inputs
    query, bank = encode(model, case)
    features = query.heads['meta']
    difference, weights = head.shot_weights(features, bank)  # (B, K) each
    labels = inputs['support_mask'].flatten(0, 1).unsqueeze(1)
    masked = model.support_features(inputs['support'].flatten(0, 1), labels)[MASKED_LAST_STAGE]
    found |= dict(
        shot_difference=difference,
        shot_weight=weights,
        support_layer4=masked.unflatten(0, difference.shape),
        base_foreground=model.base_foreground(model.scores(head(features, bank), query)['base']),
    )
    if head.shot_weighting is not None and difference.shape[1] == head.shot_weighting.shots:
        ordered = difference.sort(dim=1).values
        found |= dict(kshot_sorted=ordered, kshot_rw_out=head.shot_weighting.layers(ordered[:, :, None, None]))
    for merge in MERGES:
        maps = found['final_logits'], found['base_logits']
        found[f'gfss_{merge}'] = generalized_labels(*maps, merge=merge)
        if f'gfss_square_{merge}' in case.arrays:  # resized once more, to the ground truth's size
            size = case.arrays[f'gfss_square_{merge}'].shape[-2:]
            tau = float(case.arrays['gfss_square_tau'])
            found[f'gfss_square_{merge}'] = generalized_labels(*(resize(m, size) for m in maps), tau, merge)
    return found


def convert_bam(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released BAM checkpoint as the weights of a BaseLearnerEnsemble.

    Args:
        state (Mapping[str, Tensor]): The released state dict.
        dataset (str, optional): 'pascal' or 'coco', to be compared with what the weights say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else; the message names the keys.
    """
    state = strip_parallel_prefix(state)
    renamed = renamed_model(state, BAM_KEYS, 'BAM')
    return detect_ensemble('bam', state, dataset), renamed


register(
    ReleasedMethod(
        name='bam',
        title='BAM (chunbolang/BAM)',
        recognises=lambda state: merged_channels(state) == _CHANNELS,
        convert=convert_bam,
        cfg_options=shot_options,
        rules=BAM_KEYS,
        outputs=bam_outputs,
        settings=('gfss_square_tau',),
        losses=ENSEMBLE_LOSSES,
    )
)
