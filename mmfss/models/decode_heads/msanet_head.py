# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""MSANet's meta learner (Iqbal et al. 2022): four kinds of guidance, merged and decoded."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import SupportBank

from ..backbones import BackboneFeatures
from ..layers import (
    GuidedAttention,
    MetaDecoder,
    ShotWeighting,
    encode_block,
    encode_prior,
    equal_weights,
    gram_matrix,
    mask_pyramid,
    masked_average,
    prior_mask,
    resize,
    scene_difference,
    similarity_map,
)
from ..layers.multi_similarity import SQUEEZINGS
from .base_meta_head import BaseMetaHead, MetaOutput

PARTS = ('prototype', 'similarity', 'prior', 'attention')  # in the order of the merged feature


@MODELS.register_module()
class MSANetHead(BaseMetaHead):
    """Prototype, multi-similarity, prior mask and attention guide the segmentation of the query.

    Args:
        in_channels (Sequence[int]): channels of the stage features layer2, layer3, layer4. The segmentor fills this in
            from its backbone.
        num_blocks (Sequence[int]): number of block features of layer2, layer3, layer4; filled in likewise.
        channels (int): C, channels of the reduced features and the decoder. Defaults to 256.
        similarity_channels (int): channels of the squeezed similarity maps. Defaults to 64.
        parts (Sequence[str]): the guidance to build, of 'prototype', 'similarity', 'prior', 'attention'; what is left
            out costs no parameters and no time (the paper's Table 3). Defaults to all four.
        block_groups (Sequence[int]): the layers (2, 3, 4) whose blocks are compared (the paper's Figure 6).
        last_shot_groups (Sequence[int]): layers whose similarity maps come from the last shot alone. The released code
            does so on VGG16 with block 4, a slip: ``(2, )`` reproduces its 5-shot VGG16 weights. Defaults to none: the
            mean over shots everywhere.
        squeezing (str): which support pixels a similarity map uses: 'released' (mask value at least its positive mean)
            or 'paper' (Eq. 4). Defaults to 'released'.
        shot_weighting (dict, optional): arguments of :class:`mmfss.models.layers.ShotWeighting`, such as
            ``dict(shots=5)``; None weights the shots of prototype and prior equally. Defaults to None.
        dilations (Sequence[int]): of the ASPP. Defaults to (6, 12, 18).
        init_cfg (dict, optional): initialisation config.

    Raises:
        ValueError: for an unknown part, block group or squeezing, or last_shot_groups that are not compared.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_blocks: Sequence[int],
        channels: int = 256,
        similarity_channels: int = 64,
        parts: Sequence[str] = PARTS,
        block_groups: Sequence[int] = (2, 3, 4),
        last_shot_groups: Sequence[int] = (),
        squeezing: str = 'released',
        shot_weighting: dict | None = None,
        dilations: Sequence[int] = (6, 12, 18),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if not set(parts) <= set(PARTS):
            raise ValueError(f'parts={tuple(parts)}: choose from {PARTS}')
        if not block_groups or not set(block_groups) <= {2, 3, 4}:
            raise ValueError(f'block_groups={tuple(block_groups)}: choose from the layers 2, 3, 4')
        if not set(last_shot_groups) <= set(block_groups):
            raise ValueError(
                f'last_shot_groups={tuple(last_shot_groups)}: choose from block_groups={tuple(block_groups)}'
            )
        if squeezing not in SQUEEZINGS:
            raise ValueError(f"squeezing='{squeezing}': choose from {tuple(SQUEEZINGS)}")
        self.parts, self.squeezing = frozenset(parts), squeezing
        self.block_groups, self.last_shot_groups = tuple(sorted(block_groups)), tuple(last_shot_groups)

        reduced = in_channels[0] + in_channels[1]
        widths = dict(prototype=channels, similarity=similarity_channels, prior=1, attention=channels)
        self.reduce_query = self._reduction(reduced, channels)
        if self.parts & {'prototype', 'attention'}:
            self.reduce_support = self._reduction(reduced, channels)
        if 'attention' in self.parts:
            self.attention = GuidedAttention(channels)
        if 'similarity' in self.parts:
            maps = sum(num_blocks[group - 2] for group in self.block_groups)
            self.squeeze = nn.Sequential(
                nn.Conv2d(maps, similarity_channels, 1), nn.BatchNorm2d(similarity_channels), nn.ReLU(inplace=True)
            )
        self.merge = nn.Sequential(
            nn.Conv2d(channels + sum(widths[p] for p in self.parts), channels, 1, bias=False), nn.ReLU(inplace=True)
        )
        self.decoder = MetaDecoder(channels, dilations)
        # Only prototype and prior are averaged with weights; without them there is nothing to weight.
        weighted = shot_weighting and self.parts & {'prototype', 'prior'}
        self.shot_weighting = ShotWeighting(**shot_weighting) if weighted else None

    @staticmethod
    def _reduction(in_channels: int, channels: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.ReLU(inplace=True), nn.Dropout2d(0.5))

    def encode_support(self, features: BackboneFeatures, mask: Tensor) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.encode_support`. Every tensor is (N, ...)."""
        tensors = dict(gram=gram_matrix(features.stages[0]))  # (N, C2, C2)
        if self.parts & {'prototype', 'attention'}:
            reduced = self.reduce_support(self._concat_stages(features))  # (N, C, h, w)
        if 'prototype' in self.parts:
            tensors['prototype'] = masked_average(reduced, mask)  # (N, C)
        if 'attention' in self.parts:
            tensors['attention'] = self.attention(reduced, mask)  # (N, C, h, w)
        if 'prior' in self.parts:
            tensors.update({f'prior_{k}': t for k, t in encode_prior(features.stages[2], mask).items()})
        if 'similarity' in self.parts:
            blocks = [block for group in features.blocks for block in group]
            masks = mask_pyramid(mask, features.mask_sizes, [block.shape[-2:] for block in blocks])
            for i in self._compared_blocks(features):
                for k, t in encode_block(blocks[i], masks[i], self.squeezing).items():
                    tensors[f'block{i}_{k}'] = t
        return tensors

    def guidance(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """The parts of the merged feature, before their concatenation.

        Args:
            features (BackboneFeatures): of B queries.
            bank (SupportBank): of the B episodes.

        Returns:
            dict[str, Tensor]: ``query`` (B, C, h, w) and, as far as they are built, ``prototype`` (B, C, 1, 1),
            ``similarity`` (B, 64, h, w), ``prior`` (B, 1, h, w), ``attention`` (B, C, h, w), in this order; and
            ``adjustment`` psi (B, 1, 1, 1).
        """
        difference = scene_difference(gram_matrix(features.stages[0]), bank['gram'])  # (B, K)
        weights = (self.shot_weighting or equal_weights)(difference)  # (B, K)
        query = self.reduce_query(self._concat_stages(features))  # (B, C, h, w)
        size = query.shape[-2:]
        out = dict(query=query)
        if 'prototype' in self.parts:
            out['prototype'] = torch.einsum('bk,bkc->bc', weights, bank['prototype'])[:, :, None, None]
        if 'similarity' in self.parts:
            out['similarity'] = self.squeeze(torch.cat(self.similarity_maps(features, bank, size), dim=1))
        if 'prior' in self.parts:
            support = {k: bank[f'prior_{k}'] for k in ('vectors', 'valid', 'blank')}
            prior = resize(prior_mask(features.stages[2], support), size)  # (B, K, h, w)
            out['prior'] = torch.einsum('bk,bkhw->bhw', weights, prior).unsqueeze(1)
        if 'attention' in self.parts:
            out['attention'] = resize(bank['attention'].mean(1), size)  # plain mean over shots
        out['adjustment'] = (weights * difference).sum(1)[:, None, None, None]
        return out

    def similarity_maps(self, features: BackboneFeatures, bank: SupportBank, size: Sequence[int]) -> list[Tensor]:
        """One map (B, 1, *size) for each compared block, layer2's first."""
        blocks = [block for group in features.blocks for block in group]
        maps = []
        last = self._blocks_of(features, self.last_shot_groups)
        for i in self._compared_blocks(features):
            shots = slice(-1, None) if i in last else slice(None)
            support = {k: bank[f'block{i}_{k}'][:, shots] for k in ('vectors', 'weight')}  # (B, K or 1, ...)
            maps.append(resize(similarity_map(blocks[i], support), size))
        return maps

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """See :meth:`BaseMetaHead.forward`."""
        parts = self.guidance(features, bank)
        adjustment = parts.pop('adjustment')
        size = parts['query'].shape[-2:]
        merged = torch.cat([p.expand(-1, -1, *size) for p in parts.values()], dim=1)
        return MetaOutput(self.decoder(self.merge(merged)), adjustment)

    def _compared_blocks(self, features: BackboneFeatures) -> list[int]:
        """Indices, over all block features, of those in the compared groups."""
        return self._blocks_of(features, self.block_groups)

    @staticmethod
    def _blocks_of(features: BackboneFeatures, chosen: Sequence[int]) -> list[int]:
        """Indices, over all block features, of those in the groups ``chosen``."""
        groups = [group + 2 for group, blocks in enumerate(features.blocks) for _ in blocks]
        return [i for i, group in enumerate(groups) if group in chosen]

    @staticmethod
    def _concat_stages(features: BackboneFeatures) -> Tensor:
        """layer3 and layer2 at layer3's size: (N, C3 + C2, h, w)."""
        layer2, layer3, _ = features.stages
        return torch.cat([layer3, resize(layer2, layer3.shape[-2:])], dim=1)

    def train(self, mode: bool = True) -> 'MSANetHead':
        """As nn.Module's; the BatchNorm keeps its statistics at 0/1 in training, only its affine part learns."""
        super().train(mode)
        if 'similarity' in self.parts:
            self.squeeze[1].eval()
        return self
