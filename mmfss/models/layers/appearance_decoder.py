# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VAT's decoder (Hong et al. 2022): window attention on a map to which the query's appearance is added as it grows."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .masks import resize
from .window_transformer import WindowTransformer

STEPS = ('layer3', 'layer2', 'layer1')  # at the sizes of these stages, in this order


class AppearanceDecoder(nn.Module):
    """Three steps at growing sizes; each is x + transformer(x), then a convolution to fewer channels.

    Args:
        channels (int): C of the map that comes in.
        appearance (Mapping[str, int]): Stage -> channels of the query's map that its step reads beside; a stage that is
            missing adds nothing.
        sides (Mapping[str, int]): Stage -> side of its step.
        window (int): Side of the transformers' windows; the sides are multiples of it.
        heads (int): Of the attention. Defaults to 4.
    """

    def __init__(
        self, channels: int, appearance: Mapping[str, int], sides: Mapping[str, int], window: int, heads: int = 4
    ):
        super().__init__()
        self.appearance, self.sizes = tuple(appearance), {stage: (sides[stage],) * 2 for stage in STEPS}
        widths = (channels, 3 * channels // 4, 3 * channels // 8)
        inputs = [width + appearance.get(stage, 0) for width, stage in zip(widths, STEPS, strict=True)]
        self.transformers = nn.ModuleList(
            WindowTransformer(width, 2, window, self.sizes[stage], heads, final_norm=True)
            for width, stage in zip(inputs, STEPS, strict=True)
        )
        self.reduce = nn.ModuleList(nn.Conv2d(width, out, 1) for width, out in zip(inputs, widths[1:], strict=False))
        self.classify = nn.Sequential(
            nn.Conv2d(inputs[-1], channels // 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 4, 2, 3, padding=1),
        )

    def forward(self, x: Tensor, appearance: Mapping[str, Tensor]) -> list[Tensor]:
        """Decode.

        Args:
            x (Tensor): (B, C, h, w), of the first step's size.
            appearance (Mapping[str, Tensor]): Stage -> map (B, C', side, side) of the query.

        Returns:
            list[Tensor]: What each step gives, the last one the logits (B, 2, side, side).
        """
        found = []
        for i, stage in enumerate(STEPS):
            x = resize(x, self.sizes[stage])
            if stage in self.appearance:
                x = torch.cat([x, appearance[stage]], dim=1)
            tokens = x.permute(0, 2, 3, 1)  # (B, h, w, C)
            x = (tokens + self.transformers[i](tokens)).permute(0, 3, 1, 2)
            x = self.reduce[i](x) if i < len(self.reduce) else x
            found.append(x)
        return [*found[:-1], found[-1], self.classify(x)]
