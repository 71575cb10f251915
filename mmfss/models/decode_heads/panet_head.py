# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PANet's head (Wang et al. 2019): cosine to one mean vector a class, aligned in both directions."""

from collections.abc import Callable, Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, SupportBank

from ..layers import foreground
from ..layers.alignment import alignment_loss
from ..layers.cosine import cosine_maps
from ..layers.half_pixel import average_at_full_size, resize_half_pixel
from .base_meta_head import BaseMetaHead, MetaOutput

EPS = 1e-5  # added to a mask's number of pixels
VOID = 255


@MODELS.register_module()
class PANetHead(BaseMetaHead):
    """Prototype alignment network, after the released code (kaixin96/PANet). It has no weights: the backbone learns.

    The background of a support is everything that is no class of the episode, pixels labelled 255 included. Prototypes
    are plain means over the shots: one set of weights can be tested with any K.

    Args:
        scale (float): Factor of the cosine. Defaults to 20.
        align_weight (float): Of the alignment loss; 0 leaves it out. Defaults to 1.
        stage (str): Stage whose features are compared. Defaults to 'layer4'.
        **kwargs: See :class:`BaseMetaHead`.
    """

    def __init__(self, scale: float = 20.0, align_weight: float = 1.0, stage: str = 'layer4', **kwargs):
        super().__init__(**kwargs)
        self.scale, self.align_weight, self.stage = scale, align_weight, stage
        self.query_stages = self.support_stages = (stage,)

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """``foreground`` and ``background``: mean vectors (N, C), zero for an empty mask.

        In training also what the alignment loss reads: ``maps`` (N, C, h, w) and ``labels`` (N, H, W) of 1, 0 and, for
        other classes of the episode, 255.
        """
        maps, own = features[self.stage], foreground(labels)
        rest = ((labels == 0) | (labels == VOID)).float()
        found = dict(foreground=average_at_full_size(maps, own, EPS), background=average_at_full_size(maps, rest, EPS))
        if self.training and self.align_weight:
            targets = torch.where(own + rest > 0, own, VOID).squeeze(1)
            found |= dict(maps=maps, labels=targets.to(torch.uint8))
        return found

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: the one stage."""
        return features.keep(stages=(self.stage,))

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Logits (B, 2, H, W): :meth:`forward_ways` of one class."""
        return self.forward_ways(features, [bank])

    def forward_ways(self, features: BackboneFeatures, banks: Sequence[SupportBank]) -> MetaOutput:
        """Logits (B, 1 + W, H, W) at image size, where the released code resizes them with half-pixel centres.

        The background's prototype is the mean over the classes. Auxiliary ``scores`` (B, 1 + W, h, w) are the same at
        feature size, and in training ``query`` (B, C, h, w).
        """
        own = [bank['foreground'].mean(1) for bank in banks]  # (B, C) each
        rest = torch.stack([bank['background'].mean(1) for bank in banks]).mean(0)  # (B, C)
        query = features[self.stage]
        scores = self.scale * cosine_maps(query, torch.stack([rest, *own], dim=1))  # (B, 1 + W, h, w)
        auxiliary = dict(scores=scores, **(dict(query=query) if self.training else {}))
        return MetaOutput(resize_half_pixel(scores, features.image_size), auxiliary=auxiliary)

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """``loss_final`` of the queries, and ``loss_align`` of the supports."""
        return self.loss_ways(output, [bank], data_samples, loss_decode)

    def loss_ways(
        self,
        output: MetaOutput,
        banks: Sequence[SupportBank],
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """See :meth:`loss`."""
        losses = super().loss_ways(output, banks, data_samples, loss_decode)
        if not self.align_weight:
            return losses
        maps, labels = (torch.stack([bank[name] for bank in banks], dim=1) for name in ('maps', 'labels'))
        align = alignment_loss(output.auxiliary['query'], output.auxiliary['scores'], maps, labels, self.scale)
        return dict(losses, loss_align=self.align_weight * align)
