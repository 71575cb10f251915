# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released VAT checkpoints (Seokju-Cho/Volumetric-Aggregation-Transformer) in mmfss."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mmfss.models.layers import resize
from mmfss.models.layers.hypercorrelation import hypercorrelation
from mmfss.structures import STAGES

from .hsnet import voting_outputs
from .methods import ReleasedMethod, register
from .names import ConversionError, renamed_model, strip_parallel_prefix
from .reference_outputs import encode
from .variant import RELEASED_DATASETS, Variant, detect_backbone

if TYPE_CHECKING:
    from .parity import Case

_LEARNER = r'hpn_learner\.ours\.'
_VOLUMES = ('layer4', 'layer3', 'layer2')  # the released code counts encoders and transformers in this order
_PROJECTIONS = ('layer3', 'layer2', 'layer1')


def _volume_rules(number: int, stage: str) -> tuple[tuple[str, str], ...]:
    encoder, ours = rf'{_LEARNER}encoders\.{number}\.conv4d\.(\d)\.', f'decode_head.aggregate.encoders.{stage}'
    blocks, block = (
        rf'{_LEARNER}transformer\.{number}\.transformer\.layer\.blocks\.',
        'decode_head.aggregate.transformers',
    )
    return (
        (rf'{encoder}0\.query_conv\.(\w+)', rf'{ours}.\1.conv.query.\2'),
        (rf'{encoder}0\.supp_conv\.(\w+)', rf'{ours}.\1.conv.support.\2'),
        (rf'{encoder}1\.(\w+)', rf'{ours}.\1.norm.\2'),
        (rf'{blocks}(\d\.)(?:mlp\.)?(.+)', rf'{block}.{stage}.blocks.\1\2'),
    )


# Released pattern -> name here, tried in this order on the whole key.
VAT_KEYS: tuple[tuple[str, str], ...] = (
    *(rule for number, stage in enumerate(_VOLUMES) for rule in _volume_rules(number, stage)),
    *(
        (rf'{_LEARNER}proj_query_feat\.{number}\.0\.(\w+)', rf'decode_head.project.{stage}.\1')
        for number, stage in enumerate(_PROJECTIONS)
    ),
    (
        rf'{_LEARNER}swin_decoder\.(\d)\.0\.transformer\.layers\.0\.blocks\.(\d\.)(?:mlp\.)?(.+)',
        r'decode_head.decode.transformers.\1.blocks.\2\3',
    ),
    (rf'{_LEARNER}swin_decoder\.(\d)\.0\.transformer\.norm\.(\w+)', r'decode_head.decode.transformers.\1.norm.\2'),
    (rf'{_LEARNER}swin_decoder\.(\d)\.1\.(\w+)', r'decode_head.decode.reduce.\1.\2'),
    (rf'{_LEARNER}decoder\.(\d)\.(\w+)', r'decode_head.decode.classify.\1.\2'),
    (r'backbone\.(.+)', r'backbone.\1'),
)
# Buffers that follow from the sizes, a norm that the released code never applies, ImageNet's classifier.
_LEFT_OUT = re.compile(
    rf'.+\.(attn_mask|relative_position_index)|{_LEARNER}transformer\.\d\.transformer\.norm\.\w+|backbone\.fc\.\w+'
)
# Channels that the second and the first step of the decoder read tell the data set.
_DATASETS = {(128, 128): 'pascal', (96, 128): 'coco', (128, 192): 'fss'}


def _detect_dataset(state: Mapping[str, Tensor], told: str | None) -> str:
    """The data set by the decoder's widths.

    Raises:
        ConversionError: When they fit none, or the user says another.
    """
    keys = [f'hpn_learner.ours.swin_decoder.{step}.1.weight' for step in (1, 0)]
    if missing := [key for key in keys if key not in state]:
        raise ConversionError(f'not a released VAT: {missing} are missing')
    widths = tuple(state[key].shape[1] for key in keys)
    if widths not in _DATASETS:
        raise ConversionError(f'unknown data set: {keys} read {widths} channels, known are {_DATASETS}')
    found = _DATASETS[widths]
    if told not in (None, found):
        raise ConversionError(
            f'its decoder reads {widths} channels: it is of {RELEASED_DATASETS[found][0]}, not of {told}'
        )
    return found


def convert_vat(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released VAT checkpoint as the weights of a FewShotSegmentor. It serves every number of shots.

    Args:
        state (Mapping[str, Tensor]): The released state dict.
        dataset (str, optional): 'pascal', 'coco' or 'fss', compared with what the weights show.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else; the message names the keys.
    """
    state = {key: value for key, value in strip_parallel_prefix(state).items() if not _LEFT_OUT.fullmatch(key)}
    backbone = detect_backbone({key.removeprefix('backbone.'): value for key, value in state.items()})
    renamed = renamed_model(state, VAT_KEYS, 'VAT')
    return Variant(method='vat', backbone=backbone, dataset=_detect_dataset(state, dataset)), renamed


def vat_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Correlations, volumes, appearance, decoder and logits of one shot; what several vote for, at image size."""
    query, bank = encode(model, case)
    found = voting_outputs(model, case)
    shots, size = found['shot_logits'], case.inputs['query'].shape[-2:]
    found['shot_logits'] = resize(shots.flatten(0, 1), size).unflatten(0, shots.shape[:2])
    if bank.num_shots > 1:
        return found
    head, features = model.decode_head, query.heads['meta']
    support = {name: t.flatten(0, 1) for name, t in bank.tensors.items()}
    steps = head.steps(features, support)
    for number, stage in zip((3, 4, 5), STAGES, strict=True):  # as the released code counts them
        maps = [features.extras[f'{stage}_{i}'] for i in range(head.num_blocks[stage])]
        kept = {name: support[f'{stage}_{name}'] for name in head.kept_names(stage)}
        found[f'corr{number}'] = hypercorrelation(maps, kept, maps[0].shape[-2:])
        found |= {f'{part}{number}': steps[f'{part}_{stage}'] for part in ('encoded', 'volume')}
    plain = model.extract_feat(case.inputs['query'])
    for number, stage in zip((4, 3, 2), _PROJECTIONS, strict=True):  # the unused ones too
        found[f'query_feat{number}'] = head.projected(plain, stage)
    found |= {f'decoded{i}': steps[f'decoded_{i}'] for i in range(3)}
    final = resize(steps['logits'], size)
    return found | dict(squeezed=steps['squeezed'], logits=steps['logits'], final_logits=final)


def _recognises(state: Mapping[str, Tensor]) -> bool:
    return 'hpn_learner.ours.swin_decoder.0.1.weight' in state


register(
    ReleasedMethod(
        name='vat',
        title='VAT (Seokju-Cho/Volumetric-Aggregation-Transformer)',
        recognises=_recognises,
        convert=convert_vat,
        rules=VAT_KEYS,
        outputs=vat_outputs,
        tolerances=dict(output=1e-4, loss=1e-5, gradient=1e-3),
    )
)
