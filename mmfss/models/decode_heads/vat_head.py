# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VAT's head (Hong et al. 2022): hypercorrelations aggregated by transformers over four-dimensional windows."""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures

from ..layers import foreground, resize
from ..layers.appearance_decoder import AppearanceDecoder
from ..layers.hypercorrelation import encode_blocks, unit_length
from ..layers.pooled_correlation import pooled_correlations
from ..layers.volume_aggregation import VolumeAggregation, pooling
from .voting_head import VotingHead

# Of the query's appearance: stage -> channels as a part of C, and the dropout in training.
PROJECTIONS = dict(layer3=(2, 0.5), layer2=(4, 0.5), layer1=(8, 0.0))


@MODELS.register_module()
class VATHead(VotingHead):
    """Cost aggregation with a 4D convolutional Swin transformer, after the released code (Seokju-Cho's repository).

    Features are resized to fixed sizes before they are compared: the size of the images changes only what the backbone
    sees.

    Args:
        appearance (Sequence[str]): Stages whose projected query features the decoder reads, of layer3, layer2, layer1.
            Defaults to the released ones of PASCAL-5i; COCO-20i has ('layer1',), FSS-1000 all three. The projections of
            the others stay without use and training, as released weights hold them.
        channels (int): C, of the aggregated volumes. Defaults to 128.
        side (int): To which layer1's maps are resized; each further stage has half of the one before. Defaults to 128.
        window (int): Side of the windows in volumes, whose support planes end with ``side / 16``. Defaults to 4.
        plane_window (int): Side of the windows in the decoder. Defaults to 8.
        **kwargs: See :class:`VotingHead`.

    Raises:
        ValueError: When a stage has no projection, the backbone gives no blocks of layer1, or ``side`` does not fit.
    """

    query_stages = ('layer1', *STAGES)
    support_stages = STAGES
    uses_blocks = True

    def __init__(
        self,
        appearance: Sequence[str] = ('layer2', 'layer1'),
        channels: int = 128,
        side: int = 128,
        window: int = 4,
        plane_window: int = 8,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if unknown := [stage for stage in appearance if stage not in PROJECTIONS]:
            raise ValueError(f'VATHead: appearance={list(appearance)} has {unknown}; choose of {list(PROJECTIONS)}')
        if not self.num_blocks.get('layer1'):
            raise ValueError(
                'VATHead reads the last block of layer1, which this backbone does not give: BlockResNet does, and '
                'BlockFeatureBackbone with four entries in `blocks` and `out_indices`'
            )
        if side % (16 * window) or side % (4 * plane_window):
            raise ValueError(
                f'VATHead: side={side} is no multiple of {16 * window} and {4 * plane_window}: support planes end with '
                f'side / 16 positions, in windows of {window}, and the decoder begins with side / 4, in windows of '
                f'{plane_window}'
            )
        self.sides = {stage: side // 2**i for i, stage in enumerate(self.query_stages)}
        self.aggregate = VolumeAggregation(self.num_blocks, channels, self.sides, window)
        widths = {stage: channels // part for stage, (part, _) in PROJECTIONS.items()}
        self.project = nn.ModuleDict(
            {stage: nn.Conv2d(self.in_channels[stage], width, 1) for stage, width in widths.items()}
        )
        for stage in widths.keys() - set(appearance):
            self.project[stage].requires_grad_(False)
        self.dropout = nn.ModuleDict({stage: nn.Dropout2d(p) for stage, (_, p) in PROJECTIONS.items() if p})
        used = {stage: width for stage, width in widths.items() if stage in appearance}
        self.decode = AppearanceDecoder(channels, used, self.sides, plane_window)

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """For each stage :func:`mmfss.models.layers.hypercorrelation.encode_blocks`, with ``'<stage>_'`` in front."""
        mask = foreground(labels)
        return {
            f'{stage}_{name}': tensor
            for stage in STAGES
            for name, tensor in encode_blocks(self._resized(features, stage), mask).items()
        }

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`.

        ``<stage>_0``, ... (B, C', side, side) are the block features at unit length, ``appearance_<stage>`` (B, C'',
        side, side) the projected ones.
        """
        found = {}
        for stage in self.query_stages:
            if stage in STAGES:
                blocks = self._resized(features, stage)
                found.update({f'{stage}_{i}': unit_length(block) for i, block in enumerate(blocks)})
            if stage in self.decode.appearance:
                found[f'appearance_{stage}'] = self.projected(features, stage)
        return features.keep(extras=found)

    def projected(self, features: BackboneFeatures, stage: str) -> Tensor:
        """A query's appearance in a stage: its last block resized and projected, (B, C'', side, side)."""
        return F.relu(self.project[stage](self._resized(features, stage)[-1]))

    def segment_pairs(self, features: BackboneFeatures, support: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`VotingHead.segment_pairs`: (N, 2, side, side)."""
        return self.steps(features, support)['logits']

    def kept_names(self, stage: str) -> list[str]:
        """What is kept of a support in one stage, without the stage's name in front."""
        return [*(f'vectors_{i}' for i in range(self.num_blocks[stage])), 'places']

    def compared_tensors(self) -> tuple[str, ...]:
        """Everything that is kept of a support."""
        return tuple(f'{stage}_{name}' for stage in STAGES for name in self.kept_names(stage))

    def steps(self, features: BackboneFeatures, support: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All that leads to the logits of pairs.

        Args:
            features (BackboneFeatures): Of N queries, as :meth:`encode_query` left them.
            support (Mapping[str, Tensor]): :meth:`encode_support`'s tensors.

        Returns:
            dict[str, Tensor]: ``logits`` (N, 2, side, side), and on the way what
            :class:`mmfss.models.layers.volume_aggregation.VolumeAggregation` gives and ``decoded_0``, ... of the steps
            of the decoder, (N, C', h, w).
        """
        pooled = {}
        for stage in STAGES:
            query = [features.extras[f'{stage}_{i}'] for i in range(self.num_blocks[stage])]
            kept = {name: support[f'{stage}_{name}'] for name in self.kept_names(stage)}
            pair = pooled_correlations(query, kept, [self.sides[stage]] * 2, *pooling(stage))
            pooled[stage] = tuple(part.float() for part in pair)
        with self.decoding(features.device):
            found = self.aggregate(pooled)
            appearance = {s: self._dropped(s, features.extras[f'appearance_{s}']) for s in self.decode.appearance}
            *decoded, logits = self.decode(found['squeezed'], appearance)
        return dict(found, logits=logits, **{f'decoded_{i}': x for i, x in enumerate(decoded)})

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """The kept support positions."""
        return dict.fromkeys(self.compared_tensors(), (-1,))

    def _resized(self, features: BackboneFeatures, stage: str) -> list[Tensor]:
        """Block features (N, C', side, side) of a stage; of layer1 the last one alone is read."""
        blocks = features.blocks[stage]
        return [resize(block, [self.sides[stage]] * 2) for block in (blocks[-1:] if stage == 'layer1' else blocks)]

    def _dropped(self, stage: str, projected: Tensor) -> Tensor:
        projected = projected if self.training else projected.float()
        return self.dropout[stage](projected) if stage in self.dropout else projected
