# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PFENet's head (Tian et al. 2020): prototype and prior mask, enriched over scales."""

import torch
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import MASKED_LAST_STAGE, STAGES, BackboneFeatures, SupportBank

from ..layers import concat_stages, encode_prior, foreground, masked_average, prior_mask, reduction, resize
from ..layers.prior_mask import PRIOR_PARTS
from .base_meta_head import MetaOutput
from .enriched_head import EnrichedHead


@MODELS.register_module()
class PFENetHead(EnrichedHead):
    """Prior guided feature enrichment, after the released code (dvlab-research/PFENet).

    Prototypes and prior masks of K shots are plain means: one checkpoint serves every K.

    Args:
        channels (int): See :class:`EnrichedHead`.
        bins (Sequence[float]): Likewise.
        auxiliary_weight (float): Likewise.
        **kwargs: See :class:`BaseMetaHead`.
    """

    query_stages = STAGES
    support_stages = ('layer2', 'layer3', MASKED_LAST_STAGE)

    def add_reductions(self, in_channels: int, channels: int) -> None:
        """A conv each for query and support."""
        self.reduce_query, self.reduce_support = reduction(in_channels, channels), reduction(in_channels, channels)

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """``prototype`` (N, C) and what the prior mask keeps, see :func:`mmfss.models.layers.encode_prior`."""
        mask = foreground(labels)
        prior = encode_prior(features[MASKED_LAST_STAGE], mask)
        prototype = masked_average(self.reduce_support(concat_stages(features)), mask)
        return dict(prototype=prototype, **{f'prior_{k}': t for k, t in prior.items()})

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``reduced`` (B, C, h, w), and layer4 for the prior mask."""
        return features.keep(stages=('layer4',), extras=dict(reduced=self.reduce_query(concat_stages(features))))

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.compare`: ``prior`` (B, K, h, w), of layer4's size."""
        return dict(prior=prior_mask(features['layer4'], {k: bank[f'prior_{k}'] for k in PRIOR_PARTS}))

    def compared_tensors(self) -> tuple[str, ...]:
        """What the prior mask keeps of a support."""
        return tuple(f'prior_{k}' for k in PRIOR_PARTS)

    def guidance(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """``query`` (B, C, h, w), ``prototype`` (B, C, 1, 1) and ``prior`` (B, 1, h, w), means over the shots."""
        query, bank = features.extras['reduced'], self.compared(features, bank)
        prior = resize(bank['prior'], query.shape[-2:])  # (B, K, h, w)
        prototype = bank['prototype'].mean(1)[:, :, None, None]
        return dict(query=query, prototype=prototype, prior=prior.mean(1, keepdim=True))

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """See :meth:`EnrichedHead.decode`."""
        with self.decoding(features.device):
            query, prototype, prior = self.guidance(features, bank).values()
            guided = torch.cat([query, prototype.expand_as(query)], dim=1)
            return self.decode(guided if self.training else guided.float(), prior)

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """The kept vectors of the prior mask."""
        return dict(prior_vectors=(-1,), prior_valid=(-1,))
