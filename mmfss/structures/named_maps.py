# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Backbone features as a flat list of named maps, each once, and back again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from .features import BackboneFeatures, Size

SAME, RELU = 'same', 'relu'


@dataclass(frozen=True)
class MapPlan:
    """How :class:`BackboneFeatures` are made of named maps.

    Attributes:
        stages (dict[str, Sequence[str]]): Stage -> (name of its map, 'same' or 'relu'): the last block of a stage is
            the stage as a rule, or the stage before its activation, and is kept once.
        blocks (dict[str, Sequence[str]]): Stage -> names of its blocks' maps.
        neck (str, optional): Name of the neck's map.
        extras (dict[str, str]): Name of an extra -> name of its map.
        sizes (dict[str, Size]): See :class:`BackboneFeatures`.
        image_size (Size): (H, W) of the images.
    """

    stages: dict[str, Sequence[str]]
    blocks: dict[str, Sequence[str]]
    neck: str | None
    extras: dict[str, str]
    sizes: dict[str, Size] = field(default_factory=dict)
    image_size: Size = (0, 0)

    @classmethod
    def of(cls, features: BackboneFeatures, image_size: Size) -> 'MapPlan':
        """A plan for features like these."""
        blocks = {s: [f'{s}.{i}' for i in range(len(maps))] for s, maps in features.blocks.items()}
        stages = {name: _source(name, stage, features.blocks.get(name, ())) for name, stage in features.stages.items()}
        sizes = {name: tuple(size) for name, size in features.sizes.items()}
        neck = None if features.neck is None else 'neck'
        return cls(stages, blocks, neck, {k: f'extra.{k}' for k in features.extras}, sizes, tuple(image_size))

    def maps(self, features: BackboneFeatures) -> dict[str, Tensor]:
        """Name -> map (N, ...), of features made as those that the plan was made for.

        Raises:
            ValueError: When a stage does not follow from its block as it did there.
        """
        found = {name: m for s, names in self.blocks.items() for name, m in zip(names, features.blocks[s], strict=True)}
        for stage, (name, how) in self.stages.items():
            if name not in found:
                found[name] = features[stage]
            elif not torch.equal(_apply(how, found[name]), features[stage]):
                raise ValueError(f'{stage} is not what it was for the first image: its last block says otherwise')
        if self.neck:
            found[self.neck] = features.neck
        return found | {name: features.extras[extra] for extra, name in self.extras.items()}

    def names(self, stages: Sequence[str]) -> list[str]:
        """Maps that features with these stages, and whatever else there is, are made of."""
        own = [self.stages[stage][0] for stage in stages]
        blocks = [name for names in self._blocks(stages).values() for name in names]
        return list(dict.fromkeys([*blocks, *own, *([self.neck] if self.neck else []), *self.extras.values()]))

    def features(self, maps: Mapping[str, Tensor], stages: Sequence[str]) -> BackboneFeatures:
        """Features with these stages."""
        chosen = {stage: self.stages[stage] for stage in stages}
        return BackboneFeatures(
            {stage: _apply(how, maps[name]) for stage, (name, how) in chosen.items()},
            {stage: tuple(maps[name] for name in names) for stage, names in self._blocks(stages).items()},
            maps[self.neck] if self.neck else None,
            {extra: maps[name] for extra, name in self.extras.items()},
            {name: tuple(size) for name, size in self.sizes.items()},
            image_size=tuple(self.image_size),
        )

    def _blocks(self, stages: Sequence[str]) -> dict[str, Sequence[str]]:
        """Blocks that features with these stages have: those of layer1 only with it, as backbones hand them out."""
        return {stage: names for stage, names in self.blocks.items() if stage != 'layer1' or stage in stages}

    def state(self) -> dict:
        """Plain values; ``MapPlan(**state)`` reads them."""
        return asdict(self)


def _source(name: str, stage: Tensor, blocks: Sequence[Tensor]) -> tuple[str, str]:
    for how in (SAME, RELU):
        if blocks and torch.equal(_apply(how, blocks[-1]), stage):
            return f'{name}.{len(blocks) - 1}', how
    return name, SAME


def _apply(how: str, tensor: Tensor) -> Tensor:
    return tensor.relu() if how == RELU else tensor
