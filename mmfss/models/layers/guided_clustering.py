# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Superpixel-guided clustering (ASGNet, Li et al. 2021): a support's foreground as a few prototypes."""

import torch
from torch import Tensor

from mmfss.utils.precision import full_precision

from .exporting import exporting
from .masks import gather_kept, resize
from .prototype import masked_average

POSITION_SCALE = 0.1  # of a row or column as a channel: ten feature pixels are a distance of 1
WHOLE = 1 - 1e-5  # of a resized mask: 1 but for rounding, in graphs too; one background pixel weighs more


@full_precision
def superpixel_prototypes(
    features: Tensor, mask: Tensor, seeds: Tensor, count: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Prototypes of each support: centres of clusters that grow from seeds, or one masked average.

    In every round each centre becomes the mean of the region's pixels with weights exp(-distance) that sum to 1 over
    the pixels, not over the centres. Position counts as two more channels.

    Args:
        features (Tensor): (N, C, h, w).
        mask (Tensor): Foreground (N, 1, H, W); the region is where it is 1 at feature size.
        seeds (Tensor): Row and column, int64 (N, S, 2), see :func:`mmfss.models.layers.superpixel_seeds.place_seeds`.
        count (Tensor): How many of them count, int64 (N,); with fewer than 2 there is one prototype, the masked
            average.
        iterations (int): Rounds.

    Returns:
        tuple[Tensor, Tensor]: Prototypes (N, C, S) and which are there, bool (N, S); zeros where there is none, and for
        an empty mask or region.
    """
    C, S = features.shape[1], seeds.shape[1]
    mask = resize(mask, features.shape[-2:])  # (N, 1, h, w)
    clustered = count.unsqueeze(1) > 1  # (N, 1)
    valid = torch.arange(S, device=seeds.device) < count.clamp(min=1).unsqueeze(1)  # (N, S)
    average = masked_average(features, mask).unsqueeze(2)  # (N, C, 1)
    centres = _cluster(_with_position(features), mask.flatten(1) > WHOLE, seeds, iterations)[:, :, :C]  # (N, S, C)
    prototypes = torch.where(clustered.unsqueeze(2), centres.transpose(1, 2), average)
    return prototypes * valid.unsqueeze(1), valid


def _with_position(features: Tensor) -> Tensor:
    """Row and column, scaled for the distance, as two more channels: (N, C, h, w) -> (N, C + 2, h, w)."""
    N, _, h, w = features.shape
    rows, columns = (torch.arange(length, device=features.device) * POSITION_SCALE for length in (h, w))
    position = torch.stack([rows.unsqueeze(1).expand(h, w), columns.expand(h, w)])  # (2, h, w)
    return torch.cat([features, position.expand(N, -1, -1, -1)], dim=1)


def _cluster(features: Tensor, region: Tensor, seeds: Tensor, iterations: int) -> Tensor:
    """Centres (N, S, D) of features (N, D, h, w) in a region, bool (N, hw)."""
    N, D, _, w = features.shape
    pixels = features.flatten(2)  # (N, D, hw)
    place = seeds[:, :, 0] * w + seeds[:, :, 1]  # (N, S); a seed may lie outside of the region
    centres = pixels.gather(2, place.unsqueeze(1).expand(N, D, -1)).transpose(1, 2)  # (N, S, D)
    vectors, inside = gather_kept(pixels, region)  # (N, D, M), (N, M)
    vectors = vectors.transpose(1, 2).contiguous()  # (N, M, D)
    for _ in range(iterations):
        nearness = -distances(centres, vectors)  # (N, S, M)
        # A softmax, since exp(-distance) alone may be 0 everywhere. An empty region has the mean of zeros.
        lowest = torch.finfo(nearness.dtype).min
        centres = nearness.masked_fill(~inside.unsqueeze(1), lowest).softmax(2) @ vectors
    return centres


def distances(centres: Tensor, vectors: Tensor) -> Tensor:
    """Euclidean distances of (N, S, D) to (N, M, D): (N, S, M). Not by a matrix product, which rounds small ones."""
    if exporting():
        return (centres.unsqueeze(2) - vectors.unsqueeze(1)).square().sum(3).sqrt()
    return torch.cdist(centres, vectors, compute_mode='donot_use_mm_for_euclid_dist')
