# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A linear classifier fitted to one episode by its supports and its query (RePRI, Boudiaf et al. 2021).

Cross entropy on the supports' labelled pixels, entropy of the query's pixels, and the divergence of the query's share
of foreground from an estimate of it. Gradients are in closed form, so no graph is recorded: the fit runs in
``torch.inference_mode`` too. B episodes are B problems with nothing in common, computed side by side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.precision import without_autocast

from .exporting import exporting
from .masks import FOREGROUND
from .pixel_classifier import EPS, FittedClassifier, PixelRows, pixel_rows

IGNORE = 255


@dataclass(frozen=True)
class FitRecipe:
    """How a classifier is fitted; the defaults are RePRI's.

    Attributes:
        iterations (int): T; T - 1 steps of gradient descent are made, as the released loop does.
        lr (float): Length of a step.
        temperature (float): Factor of the cosine, tau.
        t_pi (Sequence[int]): The query's share of foreground is estimated anew after step ``t - 1`` for every t of
            these, and the weight of the divergence raised by 1.
        entropy_weight (float, optional): lambda_H; None: 1/K.
        proportion_weight (float, optional): lambda_KL at the start; None: 1/K.
    """

    iterations: int = 50
    lr: float = 0.025
    temperature: float = 20.0
    t_pi: Sequence[int] = (10,)
    entropy_weight: float | None = None
    proportion_weight: float | None = None

    def __post_init__(self):
        if self.iterations < 1 or not self.lr > 0 or not self.temperature > 0:
            raise ValueError(f'{self}: iterations is at least 1, lr and temperature are above 0')
        for name in ('entropy_weight', 'proportion_weight'):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise ValueError(f'{name}={value}: a weight is at least 0, or None for 1/K')


# The rows "Oracle" of RePRI's tables: the share of foreground is told and never estimated.
ORACLE_RECIPE = FitRecipe(iterations=300, t_pi=(), entropy_weight=0.1, proportion_weight=1.0)


class TransductiveFit:
    """The problems of B episodes.

    Args:
        query (Tensor): Maps of the queries at unit length (:func:`unit_length`), (B, C, h, w).
        support (Tensor): Likewise of their supports, (B, K, C, h', w'). K is that of the episode with the most shots.
        labels (Tensor): Of the supports at feature size, (B, K, h', w'): 1 foreground, 0 background, 255 neither. A
            shot that an episode does not have is 255 all over.
        valid (Tensor, optional): bool (B, h, w), the query's pixels that count: no padding. Defaults to all.
        num_shots (Tensor, optional): (B,), how many shots an episode has. Defaults to those that are not 255 all over.
        recipe (FitRecipe): How to fit.

    Raises:
        ValueError: When shapes do not agree; the message names them.
    """

    def __init__(
        self,
        query: Tensor,
        support: Tensor,
        labels: Tensor,
        valid: Tensor | None = None,
        num_shots: Tensor | None = None,
        recipe: FitRecipe = FitRecipe(),
    ):
        B, C, h, w = query.shape
        K = support.shape[1]
        if exporting():  # whose sizes are symbols
            pass
        elif support.shape[:3] != (B, K, C) or labels.shape != (B, K, *support.shape[-2:]):
            raise ValueError(
                f'queries {tuple(query.shape)}, supports {tuple(support.shape)} and labels {tuple(labels.shape)} do '
                'not go together: expected (B, C, h, w), (B, K, C, h, w) and (B, K, h, w)'
            )
        elif valid is not None and valid.shape != (B, h, w):
            raise ValueError(f'valid {tuple(valid.shape)} must have the shape of the queries, {(B, h, w)}')
        self.recipe = recipe
        if num_shots is None:
            num_shots = (labels.flatten(2) != IGNORE).any(2).sum(1).clamp(min=1)
        self.shot_share = 1 / num_shots.to(query)  # (B,), RePRI's 1/K
        labels = labels.flatten(1)  # (B, K h' w')
        self.query = PixelRows(pixel_rows(query), None if valid is None else valid.flatten(1))
        self.support = PixelRows(pixel_rows(support), labels != IGNORE)
        self.labels = (labels == FOREGROUND).to(query.dtype)

    def start(self, proportion: Tensor | None = None) -> FittedClassifier:
        """The classifier before the first step: mean vector of the foreground, mean logit of the whole query.

        Args:
            proportion (Tensor, optional): (B, 2), the query's share of background and foreground where it is told.
                Defaults to None: estimated.
        """
        count = self.labels.sum(1, keepdim=True) + EPS
        weight = self.support.weighted_sum(self.labels) / count  # over the pixels of all shots together
        zero = torch.zeros_like(self.shot_share)
        start = FittedClassifier(weight, zero, zero, self._weight('proportion'), self.recipe.temperature)
        start = replace(start, bias=self.query.logits(start).mean(1))  # padding included
        return replace(start, proportion=self.proportion(start) if proportion is None else proportion.to(weight))

    def proportion(self, classifier: FittedClassifier) -> Tensor:
        """Share of background and foreground in the query as the classifier sees it, (B, 2)."""
        return self.query.shares(self.query.probability(classifier))

    def nearest_proportion(self) -> Tensor:
        """Share of the query that is nearer to the supports' mean background and to their mean foreground, (B, 2).

        Not RePRI's: an estimate that does not come from the classifier itself.
        """
        sides = (self.support.valid - self.labels, self.labels)
        means = [self.support.weighted_sum(side) / side.sum(1, keepdim=True).clamp(min=1) for side in sides]
        cosines = [self.query.dots(F.normalize(mean, dim=1)) for mean in means]  # (B, L) each
        return self.query.shares((cosines[1] > cosines[0]).to(cosines[0].dtype))

    def losses(self, classifier: FittedClassifier) -> dict[str, Tensor]:
        """``cross_entropy``, ``entropy`` and ``divergence``, (B,) each, without their weights."""
        p, q = self.support.probability(classifier), self.query.probability(classifier)
        y, mean = self.labels, self.query.shares(q)
        cross_entropy = -(y * (p + EPS).log() + (1 - y) * (1 - p + EPS).log())
        entropy = -(q * (q + EPS).log() + (1 - q) * (1 - q + EPS).log())
        return dict(
            cross_entropy=self.support.mean(cross_entropy),
            entropy=self.query.mean(entropy),
            divergence=(mean * _log_ratio(mean, classifier.proportion)).sum(1),
        )

    def step(self, classifier: FittedClassifier) -> FittedClassifier:
        """One step of gradient descent for weight and bias."""
        lr = self.recipe.lr
        from_support, support_bias = self.support.gradient(classifier, self._support_slope)
        from_query, query_bias = self.query.gradient(classifier, self._query_slope)
        return replace(
            classifier,
            weight=classifier.weight - lr * (from_support + from_query),
            bias=classifier.bias - lr * (support_bias + query_bias),
        )

    def renew(self, classifier: FittedClassifier) -> FittedClassifier:
        """The query's proportion estimated anew, its weight raised by 1."""
        return replace(
            classifier,
            proportion=self.proportion(classifier),
            proportion_weight=classifier.proportion_weight + 1,
        )

    def run(self, proportion: Tensor | None = None) -> FittedClassifier:
        """All steps.

        Args:
            proportion (Tensor, optional): As in :meth:`start`; what is told is never renewed.
        """
        classifier = self.start(proportion)
        for step in range(1, self.recipe.iterations):
            classifier = self.advance(classifier, step, proportion is None)
        return classifier

    def advance(self, classifier: FittedClassifier, step: int, estimated: bool = True) -> FittedClassifier:
        """The step-th step, from 1 on, and what follows it."""
        classifier = self.step(classifier)
        for _ in range(list(self.recipe.t_pi).count(step + 1) if estimated else 0):
            classifier = self.renew(classifier)
        return classifier

    def _weight(self, name: str) -> Tensor:
        value = getattr(self.recipe, f'{name}_weight')
        return self.shot_share if value is None else torch.full_like(self.shot_share, value)

    def _support_slope(self, p: Tensor, classifier: FittedClassifier) -> Tensor:
        """Derivative of the cross entropy by the logits of the supports' pixels, (B, L)."""
        slope = (1 - self.labels) / (1 - p + EPS) - self.labels / (p + EPS)
        return slope * p * (1 - p) / self.support.count

    def _query_slope(self, p: Tensor, classifier: FittedClassifier) -> Tensor:
        """Derivative of entropy and divergence, weighted, by the logits of the query's pixels, (B, L)."""
        ratio = _log_ratio(self.query.shares(p), classifier.proportion)  # (B, 2)
        certainty = (p + EPS).log() - (1 - p + EPS).log()
        divergence = classifier.proportion_weight * (ratio[:, 1] - ratio[:, 0])
        slope = divergence[:, None] - self._weight('entropy')[:, None] * certainty
        return slope * p * (1 - p) / self.query.count


def fit_classifier(
    query: Tensor,
    support: Tensor,
    labels: Tensor,
    valid: Tensor | None = None,
    num_shots: Tensor | None = None,
    proportion: Tensor | str | None = None,
    recipe: FitRecipe = FitRecipe(),
) -> FittedClassifier:
    """Classifiers of B episodes, computed in float32 without gradients; see :class:`TransductiveFit`.

    Args:
        query (Tensor): (B, C, h, w) at unit length, see :func:`unit_length`.
        support (Tensor): (B, K, C, h', w'), likewise.
        labels (Tensor): (B, K, h', w'), 0, 1, 255.
        valid (Tensor, optional): bool (B, h, w).
        num_shots (Tensor, optional): (B,).
        proportion (Tensor | str, optional): (B, 2), the query's share of background and foreground where it is told;
            'nearest' for :meth:`TransductiveFit.nearest_proportion`. Defaults to None: estimated.
        recipe (FitRecipe): How to fit.
    """
    with torch.no_grad(), without_autocast(query.device.type):
        fit = TransductiveFit(query.float(), support.float(), labels, valid, num_shots, recipe)
        return fit.run(fit.nearest_proportion() if isinstance(proportion, str) else proportion)


def _log_ratio(share: Tensor, expected: Tensor) -> Tensor:
    """ln(m / pi); an m that vanished in float32 gives a number, and counts for nothing after its factor 0."""
    return (share / (expected + EPS)).clamp(min=torch.finfo(share.dtype).tiny).log()
