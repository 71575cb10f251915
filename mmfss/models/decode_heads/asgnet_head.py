# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ASGNet's head (Li et al. 2021): superpixel prototypes of the supports, each query pixel guided by its nearest."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, SupportBank

from ..layers import concat_stages, foreground
from ..layers.guided_clustering import superpixel_prototypes
from ..layers.masks import resize_nearest
from ..layers.prototype_allocation import allocate
from ..layers.superpixel_seeds import place_seeds, recount
from .base_meta_head import MetaOutput
from .enriched_head import EnrichedHead

SEED_COUNTS, PROBABILITIES = ('released', 'placed'), ('sum', 'mean')


@MODELS.register_module()
class ASGNetHead(EnrichedHead):
    """Superpixel-guided clustering and guided prototype allocation, after the released code (Reagan1311/ASGNet).

    A support becomes up to S prototypes, without gradient; the prototypes of K shots are joined. One reduction serves
    query and supports, and learns through the query alone.

    Args:
        channels (int): See :class:`EnrichedHead`.
        bins (Sequence[float]): Likewise.
        auxiliary_weight (float): Likewise.
        superpixels (int): S, prototypes of a support at most. Defaults to 5.
        superpixel_area (float): Feature pixels of the foreground for which there is one prototype. Defaults to 100, at
            60x60 and larger.
        training_iterations (int): Rounds of clustering in training. Defaults to 10.
        iterations (int): Likewise in evaluation. Defaults to 5.
        seed_count (str): 'released' counts the seeds as the released model does, which loses some in row and column 0;
            'placed' takes all. Defaults to 'released'.
        probability (str): 'sum' of the similarities with all prototypes, whose scale grows with K, so that weights
            belong to the K they were trained with; 'mean' leaves K free. Defaults to 'sum', as released.
        **kwargs: See :class:`BaseMetaHead`.

    Raises:
        ValueError: When an option or a number is impossible.
    """

    query_stages = support_stages = ('layer2', 'layer3')

    def __init__(
        self,
        channels: int = 256,
        bins: Sequence[float] = (60, 30, 15, 8),
        auxiliary_weight: float = 1.0,
        superpixels: int = 5,
        superpixel_area: float = 100,
        training_iterations: int = 10,
        iterations: int = 5,
        seed_count: str = 'released',
        probability: str = 'sum',
        **kwargs,
    ):
        if superpixels < 1 or superpixel_area <= 0 or min(training_iterations, iterations) < 0:
            raise ValueError(
                f'superpixels={superpixels}, superpixel_area={superpixel_area}, iterations={iterations}, '
                f'training_iterations={training_iterations}: at least 1, above 0, and none below 0'
            )
        if seed_count not in SEED_COUNTS or probability not in PROBABILITIES:
            raise ValueError(
                f'seed_count={seed_count!r}, probability={probability!r}: choose from {", ".join(SEED_COUNTS)} and '
                f'from {", ".join(PROBABILITIES)}'
            )
        super().__init__(channels, bins, auxiliary_weight, **kwargs)
        self.superpixels, self.superpixel_area = superpixels, superpixel_area
        self.training_iterations, self.iterations = training_iterations, iterations
        self.seed_count, self.probability = seed_count, probability

    def add_reductions(self, in_channels: int, channels: int) -> None:
        """One conv for query and support, without ReLU: features have both signs."""
        self.reduce = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.Dropout2d(0.5))

    @torch.no_grad()
    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """``vectors`` (N, C, S), the prototypes, and ``valid``, bool (N, S), which of them are there."""
        mask, reduced = foreground(labels), self.reduce(concat_stages(features))
        seeds, count = self.seeds(mask, reduced.shape[-2:])
        rounds = self.training_iterations if self.training else self.iterations
        vectors, valid = superpixel_prototypes(reduced, mask, seeds, count, rounds)
        return dict(vectors=vectors, valid=valid)

    def seeds(self, mask: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Seeds of masks (N, 1, H, W) at feature size, int64 (N, S, 2), and how many of them count, int64 (N,)."""
        small = resize_nearest(mask, size).squeeze(1) > 0  # not the grid of the aligned resizing
        seeds, placed = place_seeds(small, self.superpixels, self.superpixel_area)
        return seeds, recount(seeds) if self.seed_count == 'released' else placed

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``reduced`` (B, C, h, w)."""
        return features.keep(extras=dict(reduced=self.reduce(concat_stages(features))))

    def guidance(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """What guides the query.

        Args:
            features (BackboneFeatures): Of B queries, encoded.
            bank (SupportBank): Of the B episodes.

        Returns:
            dict[str, Tensor]: ``query`` (B, C, h, w), ``guide`` (B, C, h, w), ``probability`` (B, 1, h, w) and
            ``index`` (B, h, w): the guide's place among the K * S prototypes.
        """
        query = features.extras['reduced']
        prototypes = bank['vectors'].permute(0, 2, 1, 3).flatten(2)  # (B, C, K * S)
        valid = bank['valid'].flatten(1)  # (B, K * S)
        cosine, index, guide = allocate(query, prototypes, valid)
        probability = cosine.sum(1, keepdim=True)
        if self.probability == 'mean':
            probability = probability / valid.sum(1)[:, None, None, None]
        return dict(query=query, guide=guide, probability=probability, index=index)

    def guided(self, features: BackboneFeatures, bank: SupportBank) -> tuple[Tensor, Tensor]:
        """[query, guide] (B, 2 C, h, w), and the probability (B, 1, h, w)."""
        parts = self.guidance(features, bank)
        return torch.cat([parts['query'], parts['guide']], dim=1), parts['probability']

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """See :meth:`EnrichedHead.decode`."""
        with self.decoding(features.device):
            return self.decode(*self.guided(features, bank))
