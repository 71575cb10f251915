# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""HSNet's head (Min et al. 2021): hypercorrelations squeezed by center-pivot 4D convolutions."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures

from ..layers import foreground, resize
from ..layers.center_pivot import PivotBlock, from_query_planes, to_query_planes
from ..layers.exporting import exporting
from ..layers.foreground_pivot import pivot_foreground
from ..layers.hypercorrelation import encode_blocks, unit_length
from .voting_head import VotingHead

WIDTHS = (16, 64, 128)
# Of the three convolutions of each encoder: kernels, and strides on the support plane.
KERNELS = dict(layer4=(3, 3, 3), layer3=(5, 3, 3), layer2=(5, 5, 3))
STRIDES = dict(layer4=(2, 2, 2), layer3=(4, 2, 2), layer2=(4, 4, 2))


@MODELS.register_module()
class HSNetHead(VotingHead):
    """Hypercorrelation squeeze, after the released code (juhongm999/hsnet).

    The correlations of the block features of a stage are the channels of a 4D volume. An encoder for each stage
    squeezes the support plane, and from the last stage on the volumes are joined at the next one's query size.

    Args:
        strides (Mapping[str, Sequence[int]]): Support strides of the encoders of layer2, layer3 and layer4, for
            backbones whose stages do not halve their maps as the released ones do. Their products must bring the three
            support planes to one size. Defaults to the released ones.
        mask_support (bool): Multiply the mask onto the support's features. False is a published ablation with weights
            of its own. Defaults to True.
        **kwargs: See :class:`VotingHead`.
    """

    query_stages = support_stages = ('layer4',)  # the backbone runs as far; only its blocks are read
    uses_blocks = True

    def __init__(self, strides: Mapping[str, Sequence[int]] | None = None, mask_support: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.mask_support = mask_support
        strides = {**STRIDES, **(strides or {})}
        self.encoders = nn.ModuleDict(
            {stage: PivotBlock(self.num_blocks[stage], WIDTHS, KERNELS[stage], strides[stage]) for stage in STAGES}
        )
        width = WIDTHS[-1]
        self.mixers = nn.ModuleDict(
            {stage: PivotBlock(width, (width,) * 3, (3, 3, 3), (1, 1, 1)) for stage in ('layer2', 'layer3')}
        )
        self.refine = _two_convs(width, width, WIDTHS[1], last=nn.ReLU(inplace=True))
        self.classify = _two_convs(WIDTHS[1], WIDTHS[1], 2)

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """Of each stage the foreground's unit vectors ``layer2_vectors_0``, ... (N, C, M), and its ``layer2_mask``.

        The mask is bool (N, h, w), at the stage's size.
        """
        mask = foreground(labels) if self.mask_support else torch.ones_like(labels, dtype=torch.float32)
        tensors = {}
        for stage in STAGES:
            blocks = features.blocks[stage]
            encoded = encode_blocks(blocks, mask)
            tensors |= {f'{stage}_vectors_{i}': encoded[f'vectors_{i}'] for i in range(len(blocks))}
            tensors[f'{stage}_mask'] = resize(mask, blocks[0].shape[-2:])[:, 0] > 0
        return tensors

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: the block features at unit length, ``layer2_0``, ... (B, C, h, w)."""
        blocks = {f'{stage}_{i}': unit_length(b) for stage in STAGES for i, b in enumerate(features.blocks[stage])}
        return features.keep(extras=blocks)

    def compared_tensors(self) -> tuple[str, ...]:
        """All: a query and a support are segmented as a pair."""
        return tuple(name for stage in STAGES for name in (*self._vectors(stage), f'{stage}_mask'))

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """The kept vectors; height and width of the masks."""
        vectors = {name: (-1,) for stage in STAGES for name in self._vectors(stage)}
        return vectors | {f'{stage}_mask': (-2, -1) for stage in STAGES}

    def segment_pairs(self, features: BackboneFeatures, support: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`VotingHead.segment_pairs`: (N, 2, 2h, 2w) for layer2's size h w."""
        with self.decoding(features.device):
            return self.decode(self.squeeze(features, support)['encoded'])

    def squeeze(self, features: BackboneFeatures, support: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What stands between correlations and decoder.

        Args:
            features (BackboneFeatures): Of N queries, as :meth:`encode_query` left them.
            support (Mapping[str, Tensor]): :meth:`encode_support`'s tensors.

        Returns:
            dict[str, Tensor]: ``squeezed4``, ``squeezed3``, ``squeezed2`` and ``mixed43`` (N, 128, ha, wa, hb, wb);
            ``encoded`` (N, 128, h, w), the mean of the last volume over the support plane.
        """
        found, mixed = {}, None
        for stage in reversed(STAGES):
            squeezed = self._encode(stage, features, support)
            found[f'squeezed{stage[-1]}'] = squeezed
            if mixed is None:
                mixed = squeezed
                continue
            mixed = self.mixers[stage](_at_query_size(mixed, squeezed) + squeezed)
            if stage == 'layer3':
                found['mixed43'] = mixed
        return dict(found, encoded=mixed.mean((4, 5)))

    def decode(self, encoded: Tensor) -> Tensor:
        """Logits (N, 2, 2h, 2w) of an encoded volume (N, 128, h, w)."""
        x = self.refine(encoded)
        return self.classify(resize(x, [2 * side for side in x.shape[-2:]]))

    def _encode(self, stage: str, features: BackboneFeatures, support: Mapping[str, Tensor]) -> Tensor:
        first, *rest = self.encoders[stage]
        queries = [features.extras[f'{stage}_{i}'] for i in range(self.num_blocks[stage])]
        vectors = [support[name] for name in self._vectors(stage)]
        volume = pivot_foreground(first, queries, vectors, support[f'{stage}_mask'])
        for layer in rest:
            volume = layer(volume)
        return volume

    def _vectors(self, stage: str) -> list[str]:
        return [f'{stage}_vectors_{i}' for i in range(self.num_blocks[stage])]


def _two_convs(in_channels: int, channels: int, out_channels: int, last: nn.Module | None = None) -> nn.Sequential:
    """Two 3x3 convolutions with a ReLU between."""
    layers = [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels, out_channels, 3, padding=1), *([last] if last else []))


def _at_query_size(volume: Tensor, other: Tensor) -> Tensor:
    """A volume with its query plane resized to another's; the support planes must agree, or be single positions.

    Raises:
        ValueError: When they do not.
    """
    sizes = [tuple(v.shape[4:]) for v in (volume, other)]
    if not exporting() and any(a != b and 1 not in (a, b) for a, b in zip(*sizes, strict=True)):
        raise ValueError(
            f'HSNetHead: the encoders leave support planes of {sizes[0]} and {sizes[1]} positions, which cannot be '
            'added; choose `strides` that bring all stages of this backbone to one size'
        )
    resized = resize(to_query_planes(volume), other.shape[2:4])
    return from_query_planes(resized, volume.shape)
