# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BAM's meta learner (Lang et al. 2022): prototype and prior mask guide the query, shots weigh by their scenes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import MASKED_LAST_STAGE, STAGES, BackboneFeatures, SupportBank

from ..layers import (
    MetaDecoder,
    ShotWeighting,
    concat_stages,
    encode_prior,
    equal_weights,
    foreground,
    gram_matrix,
    masked_average,
    prior_mask,
    reduction,
    resize,
    scene_difference,
)
from ..layers.constant_maps import conv_of_parts
from ..layers.prior_mask import PRIOR_PARTS
from .base_meta_head import BaseMetaHead, MetaOutput


@MODELS.register_module()
class BAMHead(BaseMetaHead):
    """Prototype and prior mask, merged with the query and decoded; and BAM's adjustment factor.

    After the released code (chunbolang/BAM): the merged feature is [query, prototype, prior]; the prior mask compares
    with a support that is masked before its last stage and once more behind it.

    Args:
        channels (int): C, channels of the reduced features and the decoder. Defaults to 256.
        shot_weighting (dict, optional): Arguments of :class:`mmfss.models.layers.ShotWeighting`, such as
            ``dict(shots=5)``; None weights the shots of prototype and prior equally. Defaults to None.
        dilations (Sequence[int]): Of the ASPP. Defaults to (6, 12, 18).
        widths (Mapping[str, int], optional): Channels of each part of the merged feature behind the query, in order;
            for methods that extend this one. Defaults to prototype and prior.
        **kwargs: See :class:`BaseMetaHead`.
    """

    query_stages = STAGES
    support_stages = ('layer2', 'layer3', MASKED_LAST_STAGE)
    prior_stage = MASKED_LAST_STAGE  # of the supports that the prior mask compares with
    reduced_parts = frozenset({'prototype'})  # parts made of the reduced support feature
    restore_order = True  # whether learned shot weights go back to the shots they were computed from

    def __init__(
        self,
        channels: int = 256,
        shot_weighting: dict | None = None,
        dilations: Sequence[int] = (6, 12, 18),
        widths: Mapping[str, int] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.widths = dict(prototype=channels, prior=1) if widths is None else dict(widths)
        reduced = self.in_channels['layer2'] + self.in_channels['layer3']
        self.reduce_query = reduction(reduced, channels)
        if self.widths.keys() & self.reduced_parts:
            self.reduce_support = reduction(reduced, channels)
        self.merge = nn.Sequential(
            nn.Conv2d(channels + sum(self.widths.values()), channels, 1, bias=False), nn.ReLU(inplace=True)
        )
        self.decoder = MetaDecoder(channels, dilations)
        # Only prototype and prior are averaged with weights; without them there is nothing to weight.
        weighted = shot_weighting and self.widths.keys() & {'prototype', 'prior'}
        self.shot_weighting = (
            ShotWeighting(**{'restore_order': self.restore_order, **shot_weighting}) if weighted else None
        )

    @property
    def fixed_shots(self) -> int | None:
        """K that the weights of the shots were learnt for."""
        return None if self.shot_weighting is None else self.shot_weighting.shots

    def scene(self, features: BackboneFeatures) -> Tensor:
        """(N, C2, C2): Gram matrix of layer2, on VGG16 after its resizing to layer3's size."""
        return gram_matrix(resize(features['layer2'], features['layer3'].shape[-2:]))

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.encode_support`. Every tensor is (N, ...)."""
        mask = foreground(labels)
        tensors = dict(gram=self.scene(features))
        if self.widths.keys() & self.reduced_parts:
            tensors.update(self.encode_reduced(self.reduce_support(concat_stages(features)), mask))
        if 'prior' in self.widths:
            tensors.update({f'prior_{k}': t for k, t in encode_prior(features[self.prior_stage], mask).items()})
        return tensors

    def encode_reduced(self, reduced: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """What comes from the reduced support feature (N, C, h, w) and the foreground (N, 1, H, W)."""
        return dict(prototype=masked_average(reduced, mask)) if 'prototype' in self.widths else {}  # (N, C)

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``gram`` and ``reduced`` (B, C, h, w); layer4 for the prior mask."""
        return features.keep(
            stages=('layer4',) if 'prior' in self.widths else (),
            extras=dict(gram=self.scene(features), reduced=self.reduce_query(concat_stages(features))),
        )

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.compare`: scene ``difference`` (B, K), ``prior`` (B, K, h4, w4)."""
        tensors = dict(difference=scene_difference(features.extras['gram'], bank['gram']))
        if 'prior' in self.widths:
            tensors['prior'] = prior_mask(features['layer4'], {k: bank[f'prior_{k}'] for k in PRIOR_PARTS})
        return tensors

    def compared_tensors(self) -> tuple[str, ...]:
        """The Gram matrix, and what the prior mask keeps of a support."""
        return ('gram', *(f'prior_{k}' for k in PRIOR_PARTS))

    def shot_weights(self, features: BackboneFeatures, bank: SupportBank) -> tuple[Tensor, Tensor]:
        """Scene differences est and the weights that follow from them, (B, K) each."""
        difference = self.compared(features, bank)['difference']
        return difference, (self.shot_weighting or equal_weights)(difference)

    def guidance(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """The parts of the merged feature, before their concatenation.

        Args:
            features (BackboneFeatures): Of B queries, encoded.
            bank (SupportBank): Of the B episodes, compared or not.

        Returns:
            dict[str, Tensor]: ``query`` (B, C, h, w) and, as far as they are built, ``prototype`` (B, C, 1, 1) and
            ``prior`` (B, 1, h, w), in the order of concatenation; and ``adjustment`` psi (B, 1, 1, 1).
        """
        bank = self.compared(features, bank)
        difference, weights = self.shot_weights(features, bank)
        query = features.extras['reduced']  # (B, C, h, w)
        size = query.shape[-2:]
        parts = {name: self.guide(name, features, bank, weights, size) for name in self.widths}
        return dict(query=query, **parts, adjustment=(weights * difference).sum(1)[:, None, None, None])

    def guide(
        self, name: str, features: BackboneFeatures, bank: SupportBank, weights: Tensor, size: Sequence[int]
    ) -> Tensor:
        """One part of the merged feature, (B, C, *size) or (B, C, 1, 1); weights are (B, K)."""
        if name == 'prototype':
            return torch.einsum('bk,bkc->bc', weights, bank['prototype'].to(weights.dtype))[:, :, None, None]
        if name != 'prior':
            raise ValueError(f"{type(self).__name__} has no guidance '{name}'")
        prior = resize(bank['prior'], size)  # (B, K, h, w)
        return torch.einsum('bk,bkhw->bhw', weights, prior).unsqueeze(1)

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """See :meth:`BaseMetaHead.forward`."""
        with self.decoding(features.device):
            parts = self.guidance(features, bank)
            adjustment = parts.pop('adjustment')
            if not self.training:
                parts = {name: part.float() for name, part in parts.items()}
            conv, relu = self.merge
            constant = [i for i, name in enumerate(parts) if name == 'prototype']
            return MetaOutput(self.decoder(relu(conv_of_parts(conv, list(parts.values()), constant))), adjustment)

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """The kept vectors of the prior mask."""
        return dict(prior_vectors=(-1,), prior_valid=(-1,)) if 'prior' in self.widths else {}
