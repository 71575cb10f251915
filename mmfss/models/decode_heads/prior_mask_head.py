# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A floor without training: PFENet's prior mask, cut at a threshold."""

import torch
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, SupportBank

from ..layers import encode_prior, foreground, prior_mask
from .base_meta_head import BaseMetaHead, MetaOutput


@MODELS.register_module()
class PriorMaskHead(BaseMetaHead):
    """Foreground is where the prior mask (PFENet, Tian et al. 2020; mean over shots) exceeds a threshold.

    Args:
        threshold (float): Of the prior mask, 0..1. Defaults to 0.5.
        **kwargs: See :class:`BaseMetaHead`.
    """

    query_stages = support_stages = ('layer4',)

    def __init__(self, threshold: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= threshold <= 1:
            raise ValueError(f'threshold={threshold}: a prior mask lies in 0..1')
        self.threshold = threshold

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """The vectors of :func:`mmfss.models.layers.encode_prior`."""
        return encode_prior(features['layer4'], foreground(labels))

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: layer4 alone."""
        return features.keep(stages=('layer4',))

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.compare`: ``prior`` (B, K, h, w)."""
        return dict(prior=prior_mask(features['layer4'], bank.tensors))

    def compared_tensors(self) -> tuple[str, ...]:
        """Everything a support contributes."""
        return ('vectors', 'valid', 'blank')

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Scores (B, 2, h, w): the threshold, and the prior mask."""
        prior = self.compared(features, bank)['prior'].mean(1, keepdim=True)  # (B, 1, h, w)
        return MetaOutput(torch.cat([torch.full_like(prior, self.threshold), prior], dim=1))

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """The kept vectors."""
        return dict(vectors=(-1,), valid=(-1,))
