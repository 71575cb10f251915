# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""MSANet's meta learner (Iqbal et al. 2022): BAM's with multi-similarity and attention guidance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures, BlockVisitor, Size, SupportBank

from ..layers import (
    GuidedAttention,
    encode_block,
    foreground,
    gram_matrix,
    mask_pyramid,
    resize,
    similarity_map,
)
from ..layers.multi_similarity import SQUEEZINGS
from .bam_head import BAMHead

PARTS = ('prototype', 'similarity', 'prior', 'attention')  # in the order of the merged feature


@MODELS.register_module()
class MSANetHead(BAMHead):
    """Prototype, multi-similarity, prior mask and attention guide the segmentation of the query.

    What it shares with BAM stands in :class:`BAMHead`. Its prior mask compares with a support that is masked only
    behind its last stage, and its learned shot weights are not restored to the shots' order, as in the released code.

    Args:
        channels (int): C, channels of the reduced features and the decoder. Defaults to 256.
        similarity_channels (int): Channels of the squeezed similarity maps. Defaults to 64.
        parts (Sequence[str]): The guidance to build, of 'prototype', 'similarity', 'prior', 'attention'; what is left
            out costs no parameters and no time (the paper's Table 3). Defaults to all four.
        block_groups (Sequence[int]): The layers (2, 3, 4) whose blocks are compared (the paper's Figure 6).
        last_shot_groups (Sequence[int]): Layers whose similarity maps come from the last shot alone. The released code
            does so on VGG16 with block 4, a slip: ``(2, )`` reproduces its 5-shot VGG16 weights. Defaults to none: the
            mean over shots everywhere.
        squeezing (str): Which support pixels a similarity map uses: 'released' (mask value at least its positive mean)
            or 'paper' (Eq. 4). Defaults to 'released'.
        **kwargs: See :class:`BAMHead` (``shot_weighting``, ``dilations``).

    Raises:
        ValueError: When a part, block group or squeezing is unknown, or last_shot_groups are not compared.
    """

    support_stages = STAGES
    prior_stage = 'layer4'
    reduced_parts = frozenset({'prototype', 'attention'})
    restore_order = False

    def __init__(
        self,
        channels: int = 256,
        similarity_channels: int = 64,
        parts: Sequence[str] = PARTS,
        block_groups: Sequence[int] = (2, 3, 4),
        last_shot_groups: Sequence[int] = (),
        squeezing: str = 'released',
        **kwargs,
    ):
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
        widths = dict(prototype=channels, similarity=similarity_channels, prior=1, attention=channels)
        super().__init__(channels, widths={part: widths[part] for part in PARTS if part in parts}, **kwargs)
        self.parts, self.squeezing = frozenset(parts), squeezing
        self.block_groups, self.last_shot_groups = tuple(sorted(block_groups)), tuple(last_shot_groups)
        self.uses_blocks = 'similarity' in self.parts
        if 'attention' in self.parts:
            self.attention = GuidedAttention(channels)
        if self.uses_blocks:
            self.squeeze = nn.Sequential(
                nn.Conv2d(len(self._blocks_of(self.block_groups)), similarity_channels, 1),
                nn.BatchNorm2d(similarity_channels),
                nn.ReLU(inplace=True),
            )

    def scene(self, features: BackboneFeatures) -> Tensor:
        """(N, C2, C2): Gram matrix of layer2 at its own size, as in MSANet's released code."""
        return gram_matrix(features['layer2'])

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.encode_support`. Every tensor is (N, ...)."""
        tensors = super().encode_support(features, labels)
        if 'similarity' in self.parts:
            visit = self.support_visitor(labels)
            for i, (stage, block) in enumerate(self._all_blocks(features)):
                found = visit(stage, block, features.sizes) if isinstance(block, Tensor) else block
                tensors.update({f'block{i}_{k}': t for k, t in found.items()})
        return tensors

    def support_visitor(self, labels: Tensor) -> BlockVisitor | None:
        """See :meth:`BaseMetaHead.support_visitor`: makes :func:`encode_block`'s tensors of the compared blocks."""
        if not self.uses_blocks:
            return None
        mask, begun = foreground(labels), False

        def visit(stage: str, block: Tensor, sizes: Mapping[str, Size]) -> dict[str, Tensor]:
            nonlocal mask, begun
            path = () if begun else self._mask_path(sizes, block.shape[-2:])
            (mask,), begun = mask_pyramid(mask, path, [block.shape[-2:]]), True
            return encode_block(block, mask, self.squeezing) if self._compares(stage) else {}

        return visit

    def query_visitor(self, bank: SupportBank) -> BlockVisitor | None:
        """See :meth:`BaseMetaHead.query_visitor`: makes ``similarity`` (B, K, h, w) of a compared block."""
        if not self.uses_blocks:
            return None
        compared = iter(self._blocks_of(self.block_groups))

        def visit(stage: str, block: Tensor, sizes: Mapping[str, Size]) -> dict[str, Tensor]:
            return dict(similarity=self._similarity(block, bank, next(compared))) if self._compares(stage) else {}

        return visit

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BAMHead.encode_query`, and the compared blocks."""
        encoded = super().encode_query(features)
        if 'similarity' not in self.parts:
            return encoded
        return replace(encoded, blocks={f'layer{i}': features.blocks[f'layer{i}'] for i in self.block_groups})

    def encode_reduced(self, reduced: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See :meth:`BAMHead.encode_reduced`; ``attention`` is (N, C, h, w)."""
        tensors = super().encode_reduced(reduced, mask)
        if 'attention' in self.parts:
            tensors['attention'] = self.attention(reduced, mask)
        return tensors

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """See :meth:`BAMHead.compare`; ``similarity`` (B, K, blocks, h, w) of every compared block, layer2's first."""
        tensors = super().compare(features, bank)
        if 'similarity' in self.parts:
            size = features.extras['reduced'].shape[-2:]
            compared = [block for stage in features.blocks.values() for block in stage]
            maps = []
            for i, block in zip(self._blocks_of(self.block_groups), compared, strict=True):
                found = self._similarity(block, bank, i) if isinstance(block, Tensor) else block['similarity']
                maps.append(resize(found, size))
            tensors['similarity'] = torch.stack(maps, dim=2)
        return tensors

    @staticmethod
    def _similarity(block: Tensor, bank: SupportBank, i: int) -> Tensor:
        """(B, K, h, w) of the queries' i-th block (B, C, h, w)."""
        return similarity_map(block, {k: bank[f'block{i}_{k}'] for k in ('vectors', 'weight')})

    def compared_tensors(self) -> tuple[str, ...]:
        """See :meth:`BAMHead.compared_tensors`, and the blocks."""
        blocks = self._blocks_of(self.block_groups) if 'similarity' in self.parts else ()
        return (*super().compared_tensors(), *(f'block{i}_{k}' for i in blocks for k in ('vectors', 'weight')))

    def guide(
        self, name: str, features: BackboneFeatures, bank: SupportBank, weights: Tensor, size: Sequence[int]
    ) -> Tensor:
        """See :meth:`BAMHead.guide`; ``similarity`` is (B, 64, h, w), ``attention`` (B, C, h, w)."""
        if name == 'similarity':
            return self.squeeze(torch.cat(self.similarity_maps(features, bank), dim=1))
        if name == 'attention':
            return resize(bank['attention'].mean(1, dtype=torch.float32), size)  # plain mean over shots
        return super().guide(name, features, bank, weights, size)

    def similarity_maps(self, features: BackboneFeatures, bank: SupportBank) -> list[Tensor]:
        """One map (B, 1, h, w) for each compared block of encoded queries, layer2's first: the mean over the shots."""
        maps, last = self.compared(features, bank)['similarity'], self._blocks_of(self.last_shot_groups)  # (B, K, ...)
        blocks = self._blocks_of(self.block_groups)
        return [
            (maps[:, -1, i] if block in last else maps[:, :, i].mean(1)).unsqueeze(1) for i, block in enumerate(blocks)
        ]

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """Kept vectors of prior mask and blocks; height and width of the attention."""
        dims = super().open_dims()
        if 'attention' in self.parts:
            dims['attention'] = (-2, -1)
        if 'similarity' in self.parts:
            dims |= {f'block{i}_{k}': (-1,) for i in self._blocks_of(self.block_groups) for k in ('vectors', 'weight')}
        return dims

    def _mask_path(self, sizes: Mapping[str, Size], first: Size) -> list[Size]:
        """Sizes (h, w) that the mask passes before the first block: the released code resizes it step by step.

        It starts at twice the side of the first feature it correlates. On ResNet that is layer1's last block, whose map
        it drops (473 -> 238 -> 119 -> 60); elsewhere it is the first compared block (VGG16: 473 -> 120 -> 60 -> 30).
        """
        if 'layer1' in self.num_blocks:
            h, w = sizes['layer1']
            return [(2 * h, 2 * w), (h, w)]
        h, w = first
        return [(2 * h, 2 * w)]

    @staticmethod
    def _all_blocks(features: BackboneFeatures) -> Iterator[tuple[str, Tensor | dict]]:
        return ((stage, block) for stage in STAGES for block in features.blocks[stage])

    def _compares(self, stage: str) -> bool:
        return int(stage.removeprefix('layer')) in self.block_groups

    def _blocks_of(self, groups: Sequence[int]) -> list[int]:
        """Indices, over all block features, of those in the layers ``groups``."""
        layers = [stage for stage in STAGES for _ in range(self.num_blocks[stage])]
        return [i for i, layer in enumerate(layers) if layer in {f'layer{group}' for group in groups}]

    def train(self, mode: bool = True) -> 'MSANetHead':
        """As nn.Module's; the BatchNorm keeps its statistics at 0/1 in training, only its affine part learns."""
        super().train(mode)
        if 'similarity' in self.parts:
            self.squeeze[1].eval()
        return self
