# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released HSNet checkpoints (juhongm999/hsnet) in mmfss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mmfss.models.layers import foreground, resize
from mmfss.models.layers.hypercorrelation import encode_blocks, hypercorrelation, unit_length
from mmfss.models.layers.voting import count_votes, vote
from mmfss.structures import STAGES

from .imagenet import PLAIN_VGG_INIT_KEYS
from .methods import ReleasedMethod, register
from .names import renamed_model, strip_parallel_prefix
from .reference_outputs import encode
from .variant import Variant, detect_backbone, told_dataset

if TYPE_CHECKING:
    from .parity import Case

# Released pattern -> name here, tried in this order on the whole key. The backbones have torchvision's names;
# those of VGG16 are counted by block here.
HSNET_KEYS: tuple[tuple[str, str], ...] = (
    *((rf'backbone\.{theirs}', f'backbone.{ours}') for theirs, ours in PLAIN_VGG_INIT_KEYS),
    (r'backbone\.(.+)', r'backbone.\1'),
    (r'hpn_learner\.encoder_(layer[234])\.(\d)\.conv1\.(\w+)', r'decode_head.encoders.\1.\2.query.\3'),
    (r'hpn_learner\.encoder_(layer[234])\.(\d)\.conv2\.(\w+)', r'decode_head.encoders.\1.\2.support.\3'),
    (r'hpn_learner\.encoder_(layer[234])\.(\d)\.(\w+)', r'decode_head.encoders.\1.\2.\3'),
    (r'hpn_learner\.encoder_layer\dto(\d)\.(\d)\.conv1\.(\w+)', r'decode_head.mixers.layer\1.\2.query.\3'),
    (r'hpn_learner\.encoder_layer\dto(\d)\.(\d)\.conv2\.(\w+)', r'decode_head.mixers.layer\1.\2.support.\3'),
    (r'hpn_learner\.encoder_layer\dto(\d)\.(\d)\.(\w+)', r'decode_head.mixers.layer\1.\2.\3'),
    (r'hpn_learner\.decoder1\.(\d)\.(\w+)', r'decode_head.refine.\1.\2'),
    (r'hpn_learner\.decoder2\.(\d)\.(\w+)', r'decode_head.classify.\1.\2'),
)
_CLASSIFIERS = ('backbone.fc.', 'backbone.classifier.')  # of ImageNet; released files carry it and nobody uses it


def convert_hsnet(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released HSNet checkpoint as the weights of a FewShotSegmentor. It serves every number of shots.

    Args:
        state (Mapping[str, Tensor]): The released state dict.
        dataset (str, optional): 'pascal', 'coco' or 'fss': the weights do not say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else, or no data set is given; the message names the keys.
    """
    state = {k: v for k, v in strip_parallel_prefix(state).items() if not k.startswith(_CLASSIFIERS)}
    renamed = renamed_model(state, HSNET_KEYS, 'HSNet')
    own = {key.removeprefix('backbone.'): value for key, value in state.items()}
    backbone = 'vgg16' if 'features.0.weight' in own else detect_backbone(own)
    return Variant(method='hsnet', backbone=backbone, dataset=told_dataset(dataset)), renamed


def hsnet_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Correlations, volumes and logits of one shot; what the shots vote for, at image size."""
    query, bank = encode(model, case)
    features, size = query.heads['meta'], case.inputs['query'].shape[-2:]
    found = voting_outputs(model, case)
    if bank.num_shots > 1:
        return found
    support = {name: t.flatten(0, 1) for name, t in bank.tensors.items()}
    parts = {name: part.float() for name, part in model.decode_head.squeeze(features, support).items()}
    logits = found['shot_logits'][:, 0]
    return found | correlations(model, case) | parts | dict(logits=logits, final_logits=resize(logits, size))


def correlations(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """``corr4``, ``corr3``, ``corr2`` (B, L, ha, wa, hb, wb) of the first shots."""
    labels = case.inputs['support_mask'][:, :1]
    queries = model.extract_feat(case.inputs['query']).blocks
    supports = model.support_features(case.inputs['support'][:, 0], labels).blocks
    found = {}
    for stage in STAGES:
        support = encode_blocks(supports[stage], foreground(labels))
        units = [unit_length(block) for block in queries[stage]]
        found[f'corr{stage[-1]}'] = hypercorrelation(units, support, supports[stage][0].shape[-2:])
    return found


def voting_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """``shot_logits`` (B, K, 2, h, w), ``votes`` and ``pred`` (B, H, W); ``rule_pred`` of the case's made-up logits."""
    query, bank = encode(model, case)
    output = model.decode_head(query.heads['meta'], bank)
    logits, size = output.auxiliary['shot_logits'], case.inputs['query'].shape[-2:]
    large = resize(logits.flatten(0, 1), size).unflatten(0, logits.shape[:2])
    found = dict(shot_logits=logits, votes=count_votes(large), pred=vote(large).argmax(1))
    if 'rule_shot_logits' in case.arrays:
        found['rule_pred'] = vote(case.arrays['rule_shot_logits']).argmax(1)
    return found


register(
    ReleasedMethod(
        name='hsnet',
        title='HSNet (juhongm999/hsnet)',
        recognises=lambda state: 'hpn_learner.encoder_layer4.0.conv1.weight' in state,
        convert=convert_hsnet,
        rules=HSNET_KEYS,
        outputs=hsnet_outputs,
        settings=('rule_shot_logits',),
        tolerances=dict(output=1e-4, loss=1e-5, gradient=1e-3),
    )
)
