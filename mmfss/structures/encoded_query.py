# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""EncodedQuery: everything that queries contribute to a segmentation, whatever the supports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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

    @property
    def nbytes(self) -> int:
        """Memory that all tensors take, in bytes; what several heads share is counted for each."""
        maps = sum(t.numel() * t.element_size() for t in self.outputs.values())
        return maps + sum(features.nbytes for features in self.heads.values())

    def pick(self, i: int) -> 'EncodedQuery':
        """Image i alone (B = 1), as copies."""
        heads = {name: features.pick(i) for name, features in self.heads.items()}
        return EncodedQuery(heads, {name: t[i : i + 1].clone() for name, t in self.outputs.items()})

    @classmethod
    def join(cls, parts: Sequence['EncodedQuery']) -> 'EncodedQuery':
        """Several batches as one, in the order given.

        Raises:
            ValueError: When they hold different maps or maps of different sizes.
        """
        names = parts[0].heads
        heads = {name: BackboneFeatures.join([part.heads[name] for part in parts]) for name in names}
        return cls(heads, {k: torch.cat([part.outputs[k] for part in parts]) for k in parts[0].outputs})
