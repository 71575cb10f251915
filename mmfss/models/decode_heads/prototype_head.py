# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A floor without training: nearest of two mean vectors (after Dong & Xing 2018 and PANet, Wang et al. 2019)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, SupportBank

from ..layers import background, foreground, masked_average, resize
from .base_meta_head import BaseMetaHead, MetaOutput


@MODELS.register_module()
class PrototypeHead(BaseMetaHead):
    """Cosine similarity of each query pixel to the supports' mean foreground and mean background vector.

    Features of several stages are scaled to unit length each and concatenated, so each stage has the same say. Pixels
    labelled 255 (void, padding) are in neither mean.

    Args:
        stages (Sequence[int]): Layers used, of 2, 3, 4. Defaults to (3, 4).
        **kwargs: See :class:`BaseMetaHead`.
    """

    def __init__(self, stages: Sequence[int] = (3, 4), **kwargs):
        super().__init__(**kwargs)
        if not stages or not set(stages) <= {2, 3, 4}:
            raise ValueError(f'stages={tuple(stages)}: choose from the layers 2, 3, 4')
        self.stages = tuple(f'layer{i}' for i in stages)
        # layer3 gives the size to which the others are brought.
        self.query_stages = self.support_stages = tuple(sorted({'layer3', *self.stages}))

    def _features(self, features: BackboneFeatures) -> Tensor:
        """(N, C, h, w): the chosen stages at layer3's size."""
        size = features['layer3'].shape[-2:]
        return torch.cat([F.normalize(resize(features[stage], size), dim=1) for stage in self.stages], dim=1)

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """``foreground`` and ``background``: mean vectors (N, C)."""
        maps = self._features(features)
        return dict(
            foreground=masked_average(maps, foreground(labels)), background=masked_average(maps, background(labels))
        )

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``maps`` (B, C, h, w) at unit length."""
        return features.keep(extras=dict(maps=F.normalize(self._features(features), dim=1)))

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Logits (B, 2, h, w): cosine to background and to foreground, -1..1."""
        means = torch.stack([bank['background'].mean(1), bank['foreground'].mean(1)], dim=1)  # (B, 2, C)
        return MetaOutput(torch.einsum('btc,bchw->bthw', F.normalize(means, dim=2), features.extras['maps']))
