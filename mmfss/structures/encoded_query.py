# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""EncodedQuery: everything that queries contribute to a segmentation, whatever the supports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .features import BackboneFeatures


@dataclass(frozen=True)
class EncodedQuery:
    """A value like the SupportBank: B images, encoded once, segmented against any number of banks.

    Attributes:
        heads (dict[str, BackboneFeatures]): For each head what it keeps of the images, see
            :meth:`mmfss.models.BaseMetaHead.encode_query`.
        outputs (dict[str, Tensor]): What the segmentor computes of the images alone, each (B, ...).
    """

    heads: Mapping[str, BackboneFeatures]
    outputs: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """B, the number of images."""
        return next(iter(self.heads.values())).batch_size

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self.heads.values())).device

    def visited(self, i: int) -> 'EncodedQuery':
        """With what the i-th of several visitors made of the blocks."""

        def chosen(features: BackboneFeatures) -> BackboneFeatures:
            return replace(features, blocks={s: tuple(b[i] for b in found) for s, found in features.blocks.items()})

        return EncodedQuery({name: chosen(features) for name, features in self.heads.items()}, self.outputs)

    def with_seed(self, episode_seed: Tensor) -> 'EncodedQuery':
        """The same images in episodes of other seeds, int64 (B,)."""
        seed = episode_seed.to(self.device)
        return replace(self, heads={name: replace(own, episode_seed=seed) for name, own in self.heads.items()})

    @property
    def nbytes(self) -> int:
        """Memory that all tensors take, in bytes; what several heads share counts once."""
        sizes: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            sizes[id(tensor)] = tensor.numel() * tensor.element_size()
            return tensor

        self.map(count)
        return sum(sizes.values())

    def map(self, function: Callable[[Tensor], Tensor]) -> 'EncodedQuery':
        """The same with every tensor replaced by ``function`` of it; what heads share stays shared."""
        made: dict[int, Tensor] = {}

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in made:
                made[id(tensor)] = function(tensor)
            return made[id(tensor)]

        heads = {name: features.map(once) for name, features in self.heads.items()}
        return EncodedQuery(heads, {name: once(t) for name, t in self.outputs.items()})
