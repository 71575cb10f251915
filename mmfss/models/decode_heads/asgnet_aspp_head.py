# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ASGNet with an ASPP in place of the pyramid: the other context module of its released code."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, SupportBank

from ..layers import PlainASPP, concat_stages, resize
from ..layers.classifier import classifier
from ..layers.constant_maps import conv_of_parts
from .asgnet_head import ASGNetHead
from .base_meta_head import MetaOutput
from .enriched_head import INNER


@MODELS.register_module()
class ASGNetASPPHead(ASGNetHead):
    """``pyramid: False`` of the released code (Reagan1311/ASGNet); no config of its authors uses it.

    The guided query goes through residual blocks, an ASPP and a decoder that adds layer1 of the query, as in DeepLabV3+
    (Chen et al. 2018). Released weights of this form are recognised by their names.

    Args:
        channels (int): See :class:`EnrichedHead`.
        bins (Sequence[float], optional): Of the configs of COCO-20i; there are no scales here, it is not read.
        dilations (Sequence[int]): Of the ASPP. Defaults to (6, 12, 18).
        **kwargs: See :class:`ASGNetHead`.
    """

    query_stages = ('layer1', 'layer2', 'layer3')

    def __init__(
        self,
        channels: int = 256,
        bins: Sequence[float] | None = None,
        dilations: Sequence[int] = (6, 12, 18),
        **kwargs,
    ):
        self.dilations = tuple(dilations)
        super().__init__(channels, (), **kwargs)

    def add_decoder(self, channels: int, bins: Sequence[float]) -> None:
        """Make the modules that :meth:`forward` runs behind the guidance."""
        self.merge = nn.Sequential(
            nn.Conv2d(2 * channels + 1, channels, 3, padding=1, bias=False), nn.ReLU(inplace=True), nn.Dropout2d(0.5)
        )
        self.skips = nn.ModuleList(_two_convs(channels) for _ in range(3))
        self.aspp = PlainASPP(channels, self.dilations)
        for branch in self.aspp.branches:
            branch[0].reset_parameters()  # torch's default, as here in the released code
        self.join = nn.Sequential(
            nn.Conv2d((2 + len(self.dilations)) * channels, channels, 1), nn.ReLU(inplace=True), nn.Dropout2d(0.5)
        )
        self.branch_dropout = nn.Dropout2d(0.5)
        low = channels // 4
        self.reduce_low = nn.Sequential(
            nn.Conv2d(self.in_channels['layer1'], low, 1, bias=False), nn.BatchNorm2d(low), nn.ReLU(inplace=True)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels + low, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        )
        for conv in (self.reduce_low[0], self.decoder[0]):
            nn.init.kaiming_normal_(conv.weight)
        self.classify, self.classify_inner = classifier(channels), classifier(channels)

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``reduced`` (B, C, h, w), ``low`` (B, C / 4, h1, w1) of layer1."""
        return features.keep(
            extras=dict(reduced=self.reduce(concat_stages(features)), low=self.reduce_low(features['layer1']))
        )

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Logits (B, 2, h1, w1) at layer1's size; auxiliary ``inner_0`` (B, 2, h, w) and ``context`` (B, C, h, w)."""
        with self.decoding(features.device):
            context = self.context(torch.cat(self.guided(features, bank), dim=1))
            low = features.extras['low']
            low = low if self.training else low.float()
            decoded = self.decoder(torch.cat([resize(context, low.shape[-2:]), low], dim=1))
            inner = self.classify_inner(context)
            return MetaOutput(self.classify(decoded), auxiliary={f'{INNER}0': inner, 'context': context})

    def context(self, guided: Tensor) -> Tensor:
        """[query, guide, probability] (B, 2 C + 1, h, w) -> (B, C, h, w)."""
        x = self.merge(guided)
        for convs in self.skips:
            x = x.relu()  # in place in the released code, so that the skip connection has it too
            x = x + convs(x)
        conv, relu, dropout = self.join
        parts = [self.branch_dropout(part) for part in self.aspp.parts(x)]
        return dropout(relu(conv_of_parts(conv, parts, constant=(0,))))


def _two_convs(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
    )
