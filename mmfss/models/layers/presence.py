# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Whether an image shows the class at all: is anything as like the supports' object as that is like itself?

A few-shot model marks the most likely thing in whatever it sees, with probabilities that do not tell a wrong thing from
the right one; the features of the frozen backbone do (docs/results.md, "It is not there").
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.precision import full_precision

from .masks import resize_nearest
from .prototype import masked_average

EPS = 1e-6
BEST = 0.05  # share of a photograph


@full_precision
def presence_vectors(features: Tensor, mask: Tensor) -> Tensor:
    """Mean unit feature of each support's object.

    Args:
        features (Tensor): (N, C, h, w).
        mask (Tensor): Foreground (N, 1, H, W).

    Returns:
        Tensor: (N, C), shorter than 1 by as much as the object's pixels differ; zeros for an empty mask.
    """
    return masked_average(F.normalize(features, dim=1), mask)


@full_precision
def presence_map(features: Tensor, vectors: Tensor) -> Tensor:
    """How like the supports' object each pixel is, relative to the object itself.

    The cosine with the mean of all supports' vectors, over the mean cosine of the supports' own objects with it.

    Args:
        features (Tensor): Of B queries, (B, C, h, w).
        vectors (Tensor): :func:`presence_vectors` of K shots, (B, K, C).

    Returns:
        Tensor: (B, 1, h, w), whose mean is 1 on the supports' objects.
    """
    mean = vectors.mean(1)  # (B, C)
    own = mean.square().sum(1).clamp(min=EPS)
    return (F.normalize(features, dim=1) * (mean / own[:, None])[:, :, None, None]).sum(1, keepdim=True)


def presence_score(likeness: Tensor, probability: Tensor, padding: Tensor, threshold: float = 0.5) -> Tensor:
    """How surely an image shows the object: the mean of two numbers.

    One is the likeness of the best pixel of what was found, the other that of the best twentieth of the photograph: the
    first tells an image from another of the same scene, the second does not fail where the wrong thing was found.

    Args:
        likeness (Tensor): :func:`presence_map`, (B, 1, h, w).
        probability (Tensor): Of the foreground, (B, h, w).
        padding (Tensor): Bool (B, H, W), True where there is no photograph.
        threshold (float): What is found has at least this probability; where nothing has, the most probable pixel
            counts. Defaults to 0.5.

    Returns:
        Tensor: (B,), at most about 1; an object that looks unlike the supports has much less.
    """
    photo = (resize_nearest(padding.unsqueeze(1).float(), probability.shape[-2:]) < 0.5).flatten(1)  # (B, hw)
    probability = probability.flatten(1).masked_fill(~photo, -1)
    found = probability >= probability.amax(1, keepdim=True).clamp(max=threshold)
    likeness = likeness.flatten(1).masked_fill(~photo, -1)
    best_found = likeness.masked_fill(~found, -1).amax(1)
    count = (photo.sum(1, keepdim=True) * BEST).long().clamp(min=1)  # (B, 1)
    ranked = likeness.sort(dim=1, descending=True).values
    first = torch.arange(ranked.shape[1], device=ranked.device) < count
    return (best_found + (ranked * first).sum(1) / count.squeeze(1)) / 2
