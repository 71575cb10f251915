# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A classifier that is fitted to each image, on the features of any model (after RePRI, Boudiaf et al. 2021)."""

import copy
import hashlib

from torch import nn

from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS

REFINEMENTS = ('repri',)
_STAGES = ('layer3', 'layer4')


def refined_model(model: FewShotSegmentor, refine: str) -> FewShotSegmentor:
    """A model on the backbone of another one whose answer is fitted to every image.

    RePRI's fit takes the place of the method's own head, which is not asked. Where the model has a neck, its map is
    classified as RePRI does; else the last two stages, whose share of foreground is told by the nearest of two means,
    because features that no base learner has shaped give no good estimate of it.

    Args:
        model (FewShotSegmentor): Any method, in eval mode, with its fingerprint; it stays as it is.
        refine (str): 'repri'.

    Raises:
        ValueError: When there is no such refinement.
    """
    if refine not in REFINEMENTS:
        raise ValueError(f'refine={refine!r}: choose {" or ".join(map(repr, REFINEMENTS))}, or None')
    options = {} if model.with_neck else dict(stages=_STAGES, nearest=True)
    head = MODELS.build(dict(type='RePRIHead', **options))
    if model.with_neck:
        head.query_stages = head.support_stages = model.query_stages()
    refined = copy.copy(model)
    refined.__class__ = FewShotSegmentor  # whatever ensemble it was, one head is left
    kept = {name: part for name, part in model._modules.items() if name in ('data_preprocessor', 'backbone', 'neck')}
    refined._modules = {**kept, 'decode_head': head, 'comparison_heads': nn.ModuleDict()}
    known = f'{model.fingerprint} {refine} {options} {head.recipe}'
    refined.fingerprint = hashlib.blake2b(known.encode(), digest_size=12).hexdigest()
    return refined.eval()
