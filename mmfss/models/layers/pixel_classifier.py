# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A linear classifier of pixels for each episode: its logits, probabilities and gradients in closed form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.precision import full_precision

EPS = 1e-10  # RePRI's, in every quotient and logarithm


@dataclass(frozen=True)
class FittedClassifier:
    """One linear classifier an episode.

    Attributes:
        weight (Tensor): w, (B, C).
        bias (Tensor): b, (B,), in units of the logits: temperature times cosine.
        proportion (Tensor): Share of background and foreground in the query, as last estimated or told: pi, (B, 2).
        proportion_weight (Tensor): lambda_KL, (B,).
        temperature (float): Factor of the cosine, tau.
    """

    weight: Tensor
    bias: Tensor
    proportion: Tensor
    proportion_weight: Tensor
    temperature: float

    def logits(self, features: Tensor) -> Tensor:
        """Temperature times cosine, without the bias: maps (B, C, h, w) at unit length -> (B, h, w)."""
        return PixelRows(pixel_rows(features)).logits(self).unflatten(1, features.shape[-2:])


@full_precision
def unit_length(maps: Tensor) -> Tensor:
    """Each pixel of maps (..., C, h, w) scaled to unit length; zeros stay zeros. They lie channels last in memory."""
    return F.normalize(maps.movedim(-3, -1).contiguous(), dim=-1).movedim(-1, -3)


def pixel_rows(maps: Tensor) -> Tensor:
    """Maps (B, C, h, w) or (B, K, C, h, w) -> pixels as rows, (B, L, C); a view where they lie channels last."""
    return maps.movedim(-3, -1).reshape(maps.shape[0], -1, maps.shape[-3])


class PixelRows:
    """Rows (B, L, C) with a mask of those that count, (B, L)."""

    def __init__(self, rows: Tensor, valid: Tensor | None = None):
        self.rows, self.valid = rows, rows.new_ones(rows.shape[:2]) if valid is None else valid.to(rows.dtype)
        self.length = torch.linalg.vector_norm(rows, dim=2)  # 1, or 0 of a feature of zeros
        self.count = self.valid.sum(1, keepdim=True).clamp(min=1)  # (B, 1)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """(B, L) -> (B, C)."""
        return torch.bmm(weights.unsqueeze(1), self.rows).squeeze(1)

    def dots(self, vectors: Tensor) -> Tensor:
        """Products of the rows with one vector an episode: (B, C) -> (B, L)."""
        # A row on the left: on CPUs fast, and to the bit the same whatever the batch; a column on the right is neither.
        return torch.bmm(vectors.unsqueeze(1), self.rows.transpose(1, 2)).squeeze(1)

    def logits(self, classifier: FittedClassifier) -> Tensor:
        """Temperature times cosine, (B, L)."""
        return classifier.temperature * self.dots(classifier.weight) / self._lengths(classifier)

    def probability(self, classifier: FittedClassifier) -> Tensor:
        """Of the foreground, (B, L)."""
        return (self.logits(classifier) - classifier.bias.unsqueeze(1)).sigmoid()

    def mean(self, values: Tensor) -> Tensor:
        """Over the pixels that count: (B, L) -> (B,)."""
        return (values * self.valid).sum(1) / self.count.squeeze(1)

    def shares(self, p: Tensor) -> Tensor:
        """Mean probability of background and foreground, (B, 2)."""
        return torch.stack([self.mean(1 - p), self.mean(p)], dim=1)

    def gradient(
        self, classifier: FittedClassifier, slope: Callable[[Tensor, FittedClassifier], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Gradients (B, C) for the weight and (B,) for the bias.

        Args:
            classifier (FittedClassifier): Where.
            slope (Callable): (probabilities (B, L), classifier) -> derivative by the logits, (B, L).
        """
        logits = self.logits(classifier)
        p = (logits - classifier.bias.unsqueeze(1)).sigmoid()
        slopes = slope(p, classifier) * self.valid
        by_dot = slopes * classifier.temperature / self._lengths(classifier)
        norm = classifier.weight.norm(dim=1, keepdim=True)
        direction = classifier.weight / norm.where(norm > 0, 1)  # (B, C); zeros of a weight of zeros
        shrinking = (by_dot * logits * self.length).sum(1, keepdim=True) / classifier.temperature
        return self.weighted_sum(by_dot) - shrinking * direction, -slopes.sum(1)

    def _lengths(self, classifier: FittedClassifier) -> Tensor:
        return classifier.weight.norm(dim=1, keepdim=True) * self.length + EPS
