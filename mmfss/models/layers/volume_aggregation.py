# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Cost aggregation with a 4D convolutional Swin transformer (VAT, Hong et al. 2022): three volumes become one map."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .masks import resize
from .pooled_conv4d import PooledConvBlock
from .window_transformer import WindowTransformer

# For each stage, from coarse to fine: the widths as parts of C and (query stride, support stride) of its convolutions,
# which bring every support plane to the same side, and the depth of its transformer.
ENCODERS = dict(
    layer4=((2, 1), ((2, 1), (1, 2)), 4),
    layer3=((2, 1), ((2, 2), (1, 2)), 2),
    layer2=((4, 2, 1), ((2, 2), (1, 2), (1, 2)), 2),
)


def pooling(stage: str) -> tuple[int, int]:
    """(query stride, support stride) of a stage's first convolution, whose input comes pooled."""
    return ENCODERS[stage][1][0]


def resize_query_plane(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, corners aligned: (B, C, ha, wa, hb, wb) -> (B, C, *size, hb, wb)."""
    rows = volume.permute(0, 2, 3, 4, 5, 1)  # (B, ha, wa, hb, wb, C), contiguous: everything else are channels
    maps = resize(rows.flatten(3).permute(0, 3, 1, 2), size)
    return maps.permute(0, 2, 3, 1).unflatten(3, rows.shape[3:]).permute(0, 5, 1, 2, 3, 4)


class VolumeAggregation(nn.Module):
    """Encodes the volumes of layer4, layer3 and layer2 and hands each one's result to the next.

    Args:
        num_blocks (Mapping[str, int]): Stage -> L.
        channels (int): C.
        sides (Mapping[str, int]): Stage -> side of its maps, twice as large for each stage before layer4.
        window (int): Side of the transformers' windows; half of layer4's side is a multiple of it.
        heads (int): Of the attention. Defaults to 4.
    """

    def __init__(
        self, num_blocks: Mapping[str, int], channels: int, sides: Mapping[str, int], window: int, heads: int = 4
    ):
        super().__init__()
        support = sides['layer4'] // 2  # where all encoders end
        self.encoders, self.transformers = nn.ModuleDict(), nn.ModuleDict()
        for stage, (parts, strides, depth) in ENCODERS.items():
            widths = [num_blocks[stage], *(channels // part for part in parts)]
            self.encoders[stage] = nn.ModuleList(
                PooledConvBlock(width, out, *stride)
                for width, out, stride in zip(widths, widths[1:], strides, strict=False)
            )
            volume = [sides[stage] // 2] * 2 + [support] * 2
            self.transformers[stage] = WindowTransformer(channels, depth, window, volume, heads)

    def forward(self, pooled: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Aggregate.

        Args:
            pooled (Mapping[str, tuple[Tensor, Tensor]]): For each stage what
                :func:`mmfss.models.layers.pooled_correlation.pooled_correlations` gives with its :func:`pooling`.

        Returns:
            dict[str, Tensor]: ``squeezed`` (B, C, ha, wa), and on the way ``encoded_layer4``, ``volume_layer4``, ...
            (B, C, ha, wa, hb, wb).
        """
        found, volume = {}, None
        for stage, encoder in self.encoders.items():
            first, *others = encoder
            encoded = first.from_pooled(*pooled[stage])
            for block in others:
                encoded = block(encoded)
            found[f'encoded_{stage}'] = encoded
            if volume is not None:
                encoded = encoded + resize_query_plane(volume, encoded.shape[2:4])
            # The transformer keeps its input, so this is a second skip.
            attended = self.transformers[stage](encoded.permute(0, 2, 3, 4, 5, 1))
            volume = encoded + attended.permute(0, 5, 1, 2, 3, 4)
            found[f'volume_{stage}'] = volume
        found['squeezed'] = volume.mean((4, 5))
        return found
