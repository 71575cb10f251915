# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a model computes, under the names that released codes give it: for :mod:`mmfss.conversion.parity`."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def own_training(model: nn.Module, case: Case) -> tuple[dict[str, Tensor], dict[str, nn.Parameter]]:
    """Losses of a model on a case as reference losses are computed, and its learned parameters by name."""
    eval_norms(undropped(model.train()))
    return model.loss(case.inputs, case.samples), {n: p for n, p in model.named_parameters() if p.requires_grad}


def undropped(model: nn.Module) -> nn.Module:
    """The model with every dropout at 0, as reference losses are computed."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model
