# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Class prototypes by masked average pooling (SG-One / PFENet; MSANet, section 3.3)."""

from torch import Tensor

from mmfss.utils.precision import full_precision

from .masks import resize

EPS = 5e-4  # PFENet's, inherited by BAM and MSANet


@full_precision
def masked_average(features: Tensor, mask: Tensor) -> Tensor:
    """Mean feature under a soft mask.

    Args:
        features (Tensor): (N, C, h, w).
        mask (Tensor): Foreground (N, 1, H, W), resized bilinearly to (h, w) with its soft values kept.

    Returns:
        Tensor: (N, C); zeros for an empty mask.
    """
    mask = resize(mask, features.shape[-2:])
    return (features * mask).sum((2, 3)) / (mask.sum((2, 3)) + EPS)
