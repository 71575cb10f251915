# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The attention map of MSANet (Eq. 7-9): the masked support decides which channels matter."""

from torch import Tensor, nn

from .masks import resize_nearest


class GuidedAttention(nn.Module):
    """Channel gate computed from the masked support feature, applied to the unmasked one.

    Following the released code the pooling runs over the whole map, not over the mask, and dropout comes before the
    sigmoid.

    Args:
        channels (int): C, channels in and out.
        dropout (float): Probability. Defaults to 0.5.
    """

    def __init__(self, channels: int, dropout: float = 0.5):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1),
            nn.Dropout(dropout),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Attention map of each support.

        Args:
            features (Tensor): Reduced support features (N, C, h, w).
            mask (Tensor): Foreground (N, 1, H, W), resized by nearest neighbour to (h, w).

        Returns:
            Tensor: (N, C, h, w).
        """
        mask = resize_nearest(mask, features.shape[-2:])
        pooled = (features * mask).mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return self.gate(pooled) * features
