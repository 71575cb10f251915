# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PFENet's head (Tian et al. 2020): prototype and prior mask, enriched over scales."""

from collections.abc import Callable, Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import MASKED_LAST_STAGE, STAGES, BackboneFeatures, SupportBank

from ..layers import concat_stages, encode_prior, foreground, masked_average, prior_mask, reduction, resize
from ..layers.classifier import classifier
from ..layers.feature_enrichment import FeatureEnrichment
from ..layers.prior_mask import PRIOR_PARTS
from .base_meta_head import IGNORE, BaseMetaHead, MetaOutput, stack_labels


@MODELS.register_module()
class PFENetHead(BaseMetaHead):
    """Prior guided feature enrichment, after the released code (dvlab-research/PFENet).

    Prototypes and prior masks of K shots are plain means: one checkpoint serves every K.

    Args:
        channels (int): C, channels of the reduced features. Defaults to 256.
        bins (Sequence[float]): Scales, see :class:`mmfss.models.layers.feature_enrichment.FeatureEnrichment`. Defaults
            to the released ones of PASCAL-5i; COCO-20i has (1.0, 0.5, 0.25, 0.125).
        auxiliary_weight (float): Of the mean loss over the scales' own logits. Defaults to 1.
        **kwargs: See :class:`BaseMetaHead`.
    """

    query_stages = STAGES
    support_stages = ('layer2', 'layer3', MASKED_LAST_STAGE)

    def __init__(
        self, channels: int = 256, bins: Sequence[float] = (60, 30, 15, 8), auxiliary_weight: float = 1.0, **kwargs
    ):
        super().__init__(**kwargs)
        reduced = self.in_channels['layer2'] + self.in_channels['layer3']
        self.reduce_query, self.reduce_support = reduction(reduced, channels), reduction(reduced, channels)
        self.enrich = FeatureEnrichment(channels, bins)
        self.refine = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
        )
        self.classify = classifier(channels)
        self.auxiliary_weight = auxiliary_weight

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
        """Logits (B, 2, h, w); auxiliary ``inner_0``, ... (B, 2, b, b) of the scales and ``enriched`` (B, C, h, w)."""
        with self.decoding(features.device):
            query, prototype, prior = self.guidance(features, bank).values()
            guided = torch.cat([query, prototype.expand_as(query)], dim=1)
            enriched, inner = self.enrich(guided if self.training else guided.float(), prior)
            auxiliary = {f'inner_{i}': logits for i, logits in enumerate(inner)}
            logits = self.classify(enriched + self.refine(enriched))
        return MetaOutput(logits, auxiliary=dict(auxiliary, enriched=enriched))

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """``loss_final``, and ``loss_auxiliary``: the mean of the scales' losses, each at image size."""
        losses = super().loss(output, bank, data_samples, loss_decode)
        labels = stack_labels(data_samples)
        inner = [
            loss_decode(resize(logits, labels.shape[-2:]), labels, ignore_index=IGNORE)
            for name, logits in output.auxiliary.items()
            if name.startswith('inner_')
        ]
        return dict(losses, loss_auxiliary=self.auxiliary_weight * sum(inner) / len(inner))

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """The kept vectors of the prior mask."""
        return dict(prior_vectors=(-1,), prior_valid=(-1,))
