# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of RePRI's released checkpoints (mboudiaf/RePRI-for-Few-Shot-Segmentation), which are of stage 1, in mmfss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.models.decode_heads.repri_head import RePRIHead
from mmfss.models.layers import TransductiveFit, resize
from mmfss.models.layers.transductive_fit import ORACLE_RECIPE
from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, SupportBank
from mmfss.utils.configs import resolve_config

from .methods import ReleasedMethod, register
from .names import renamed_model, strip_parallel_prefix
from .reference_outputs import encode, prepared
from .variant import Variant, detect_backbone, detect_dataset

if TYPE_CHECKING:
    from .parity import Case

# Released pattern -> name here, tried in this order on the whole key.
REPRI_KEYS: tuple[tuple[str, str], ...] = (
    (r'ppm\.features\.(\d)\.1\.(\w+)', r'neck.base_head.psp_modules.\1.1.conv.\2'),
    (r'ppm\.features\.(\d)\.2\.(\w+)', r'neck.base_head.psp_modules.\1.1.bn.\2'),
    (r'bottleneck\.0\.(\w+)', r'neck.base_head.bottleneck.conv.\1'),
    (r'bottleneck\.1\.(\w+)', r'neck.base_head.bottleneck.bn.\1'),
    (r'classifier\.(\w+)', r'neck.base_head.conv_seg.\1'),
)
_BIASES = ('bias', 'bias_init', 'bias_path')
_CLASSIFIER = 'classifier.weight'


def convert_repri(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released checkpoint, which is a PSPNet, as backbone and neck of a FewShotSegmentor with RePRIHead.

    Args:
        state (Mapping[str, Tensor]): The released state dict. It serves every number of shots.
        dataset (str, optional): 'pascal' or 'coco', to be compared with what the weights say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else; the message names the keys.
    """
    state = strip_parallel_prefix(state)
    renamed = renamed_model(state, REPRI_KEYS, 'RePRI model')
    variant = Variant(
        method='repri', backbone=detect_backbone(state), dataset=detect_dataset(state, _CLASSIFIER, dataset)
    )
    return variant, renamed


def repri_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Everything that RePRI's reference cases hold.

    The released code leaves out what the query's annotation calls void; ``..._padding`` are without that, as here by
    default, and ``..._oracle`` with the true share of foreground.
    """
    truth = case.arrays['query_mask']
    query, bank = encode(model, case)
    features = query.heads['meta']
    bank = bank.with_summary({**bank.summary, 'query_labels': truth})
    released = RePRIHead(valid='truth')
    oracle = RePRIHead(valid='truth', oracle=True, recipe=asdict(ORACLE_RECIPE))
    heads = dict(prob=released, prob_padding=model.decode_head, prob_oracle=oracle)
    outputs = {name: head(features, bank) for name, head in heads.items()}
    found = {name: resize(output.logits, truth.shape[-2:]).softmax(1)[:, 1] for name, output in outputs.items()}
    found |= {name.replace('prob', 'pi'): output.auxiliary['proportion'] for name, output in outputs.items()}
    fitted = outputs['prob'].auxiliary
    base_logits = model.neck.base_head.cls_seg(model.extract_feat(case.inputs['query']).neck)
    labels = case.arrays['query_base_mask'].long()
    return dict(
        found,
        feat_query=features.extras['maps'],
        feat_support=bank['features'],
        logits=fitted['logits'],
        bias=fitted['bias'],
        prototype=fitted['weight'],
        base_logits=base_logits,
        loss_base_plain=F.cross_entropy(resize(base_logits, labels.shape[-2:]), labels, ignore_index=255),
        **_steps(released, features, bank),
    )


def _steps(head: RePRIHead, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
    """The classifier at the start, and losses and bias before each step, (B, steps)."""
    problem = head.problem(features, bank)
    problem.pop('proportion')
    fit, paths = TransductiveFit(**problem, recipe=head.recipe), []
    start = classifier = fit.start()
    for step in range(1, head.recipe.iterations):
        losses = fit.losses(classifier)
        kinds = dict(ce=losses['cross_entropy'], kl=losses['divergence'], entropy=losses['entropy'])
        paths.append(dict(kinds, bias=classifier.bias))
        classifier = fit.advance(classifier, step)
    found = {f'{name}_path': torch.stack([path[name] for path in paths], dim=1) for name in paths[0]}
    return dict(found, prototype_init=start.weight, bias_init=start.bias, pi_init=start.proportion)


def repri_training(model: nn.Module, case: Case) -> tuple[dict[str, Tensor], dict[str, nn.Parameter]]:
    """A step of stage 1, the only training: loss of its config's model on the queries and their base classes."""
    stage1 = prepared(_stage1(model, case))
    samples = [SegDataSample(gt_sem_seg=sample.gt_base_seg) for sample in case.samples]
    losses = stage1.loss(case.inputs['query'], samples)
    names = {'decode_head': 'neck.base_head', 'backbone': 'backbone'}
    parameters = {
        f'{ours}.{name}': parameter
        for part, ours in names.items()
        for name, parameter in getattr(stage1, part).named_parameters()
    }
    return dict(loss_base=losses['decode.loss_ce']), parameters


def _stage1(model: nn.Module, case: Case) -> nn.Module:
    """The model of stage 1 with the weights of a model of stage 2."""
    backbone = detect_backbone(case.released_weights())
    cfg = Config.fromfile(resolve_config(f'configs/repri/base_{backbone}_{case.dataset}.py'))
    with DefaultScope.overwrite_default_scope('mmfss'):
        stage1 = MODELS.build(cfg.model)
    stage1.backbone.load_state_dict(model.backbone.state_dict())
    stage1.decode_head.load_state_dict(model.neck.base_head.state_dict())
    return stage1


register(
    ReleasedMethod(
        name='repri',
        title='RePRI (mboudiaf/RePRI-for-Few-Shot-Segmentation)',
        recognises=lambda state: _CLASSIFIER in state and 'bottleneck.0.weight' in state,
        convert=convert_repri,
        rules=REPRI_KEYS,
        outputs=repri_outputs,
        losses=dict(loss_base='loss_base'),
        # A bias of about 18 that differs by 0.01 between episodes is known to the precision of its size alone.
        tolerances={'output': 1e-4, **{f'output/{name}': 1e-3 for name in _BIASES}, 'loss': 1e-5, 'gradient': 1e-4},
        training=repri_training,
    )
)
