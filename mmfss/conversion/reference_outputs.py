# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a model computes, under the names that released codes give it: for :mod:`mmfss.conversion.parity`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmfss.models.layers import resize
from mmfss.models.layers.norms import eval_norms
from mmfss.structures import EncodedQuery, SupportBank

if TYPE_CHECKING:
    from .parity import Case


def encode(model: nn.Module, case: Case) -> tuple[EncodedQuery, SupportBank]:
    """The queries, and the finished bank of the method itself."""
    inputs = case.inputs
    query = model.encode_query(model.extract_feat(inputs['query'], inputs.get('query_padding')))
    bank = model.finish(model.encode_support(inputs['support'], inputs['support_mask']))
    return query, bank.part('meta')


def scores_and_guidance(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Scores at input size, the head's guidance where it names any, and its auxiliary maps.

    Args:
        model (nn.Module): A FewShotSegmentor in eval mode.
        case (Case): Its episodes.

    Returns:
        dict[str, Tensor]: ``final_logits`` (also as ``logits``), and ``meta_logits`` and ``base_logits`` of an
        ensemble, (B, channels, H, W); ``query_feat``, ``prototype``, ``prior``, ``adjust_factor``, ... as the head has.
    """
    query, bank = encode(model, case)
    head, features = model.decode_head, query.heads['meta']
    output = head(features, bank)
    size = case.inputs['query'].shape[-2:]
    found = {f'{name}_logits': resize(score, size) for name, score in model.scores(output, query).items()}
    found['logits'] = found['final_logits']
    names = dict(query='query_feat', adjustment='adjust_factor')
    if hasattr(head, 'guidance'):
        found |= {names.get(name, name): part for name, part in head.guidance(features, bank).items()}
    return found | output.auxiliary


def training_step(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Losses with BatchNorm in training mode, and where its running statistics are after one forward pass.

    Args:
        model (nn.Module): A FewShotSegmentor with an :class:`mmfss.models.EnrichedHead`, as in PFENet and ASGNet.
        case (Case): Its episodes.

    Returns:
        dict[str, Tensor]: ``loss_main_bn_train``, ``loss_aux_bn_train``, and ``after_NAME`` of the backbone's buffers
        by their released names.
    """
    losses = model.train().loss(case.inputs, case.samples)
    moved = {
        re.sub(r'^backbone\.(stem\.)?', lambda stem: 'after_layer0.' if stem[1] else 'after_', name): buffer
        for name, buffer in model.named_buffers()
        if name.startswith('backbone.')
    }
    main, auxiliary = losses['loss_final'].detach(), losses['loss_auxiliary'].detach()
    return dict(moved, loss_main_bn_train=main, loss_aux_bn_train=auxiliary)


def own_training(model: nn.Module, case: Case) -> tuple[dict[str, Tensor], dict[str, nn.Parameter]]:
    """Losses of a model on a case as reference losses are computed, and its parameters by name, learned or not."""
    prepared(model)
    return model.loss(case.inputs, case.samples), dict(model.named_parameters())


def prepared(model: nn.Module) -> nn.Module:
    """The model as reference losses are computed: training, BatchNorm in eval mode, no dropout, released layout."""
    # Where two inputs of a max pool are next to equal, rounding decides who gets the gradient, and in a network without
    # BatchNorm that moves the norms of its first layers by up to 2e-3: the released codes are not channels last.
    undropped(model.train()).to(memory_format=torch.contiguous_format)
    eval_norms(model)
    return model


def undropped(model: nn.Module) -> nn.Module:
    """The model with every dropout at 0, as reference losses are computed."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model
