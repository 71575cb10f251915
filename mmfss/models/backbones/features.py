# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every backbone of mmfss hands to a head: three stage features and the block features behind them."""

from dataclasses import dataclass, replace

from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class BackboneFeatures:
    """Features of N images.

    Attributes:
        stages (tuple[Tensor]): three maps, each (N, C, h, w): the outputs of layer2, layer3 and layer4. Their channels
            and sizes may differ.
        blocks (tuple[tuple[Tensor]]): three groups of maps (N, C, h, w), one group for each of layer2, layer3, layer4,
            in the order of computation: what the multi-similarity module compares.
        mask_sizes (tuple[tuple[int, int]]): sizes (h, w) that a foreground mask passes through, by successive bilinear
            resizing, before it reaches the size of the first block feature (spec: 473 -> 238 -> 119 -> 60 on ResNet).
    """

    stages: tuple[Tensor, Tensor, Tensor]
    blocks: tuple[tuple[Tensor, ...], ...]
    mask_sizes: tuple[Size, ...] = ()

    def float(self) -> 'BackboneFeatures':
        """As Tensor.float, for every map."""
        return replace(
            self,
            stages=tuple(stage.float() for stage in self.stages),
            blocks=tuple(tuple(block.float() for block in group) for group in self.blocks),
        )
