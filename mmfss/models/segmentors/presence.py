# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Presence scores of any method: beside the heads' own tensors, a bank may hold what the last stage says of the object.

Evaluation's banks do not hold it, so it costs there nothing.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from mmfss.structures import BackboneFeatures, EncodedQuery, SupportBank

from ..layers import foreground, presence_map, presence_score, presence_vectors, resize
from .feature_extraction import FeatureExtraction

PRESENCE = 'presence'  # the bank's part, and the name of the map among the scores
_VECTORS = f'{PRESENCE}.vectors'


def with_presence(bank: SupportBank, model: FeatureExtraction, images: Tensor, labels: Tensor) -> SupportBank:
    """A bank that also knows how the object looks to the backbone, so that queries get presence scores.

    Args:
        bank (SupportBank): Of the supports, of B episodes and K shots.
        model (FeatureExtraction): The segmentor that made it.
        images (Tensor): Normalised support images (B, K, 3, H, W).
        labels (Tensor): (B, K, H, W): 0, 1, 255.
    """
    features = _last_stage(model.extract_feat(images.flatten(0, 1)))
    vectors = presence_vectors(features, foreground(labels.flatten(0, 1).unsqueeze(1)))
    return replace(bank, tensors={**bank.tensors, _VECTORS: vectors.unflatten(0, labels.shape[:2])})


def without_presence(bank: SupportBank) -> SupportBank:
    """The bank as evaluation has it."""
    return replace(bank, tensors={name: t for name, t in bank.tensors.items() if name != _VECTORS})


def has_presence(bank: SupportBank) -> bool:
    """Whether queries get presence scores by this bank; those that older versions saved give none."""
    return _VECTORS in bank.tensors


def keep_last_stage(query: EncodedQuery, features: BackboneFeatures) -> EncodedQuery:
    """The queries with what :func:`presence_maps` reads of them."""
    return replace(query, outputs={**query.outputs, PRESENCE: _last_stage(features)})


def presence_maps(query: EncodedQuery, bank: SupportBank) -> dict[str, Tensor]:
    """``presence`` (B, 1, h, w) where bank and queries have what it takes, else nothing."""
    if not has_presence(bank) or PRESENCE not in query.outputs:
        return {}
    return {PRESENCE: presence_map(query.outputs[PRESENCE], bank[_VECTORS])}


def presence_scores(
    model: FeatureExtraction, scores: Mapping[str, Tensor], padding: Tensor, threshold: float = 0.5
) -> list[float]:
    """B presence scores of what ``model.segment_images`` gave by one bank; NaN where the bank has none.

    Args:
        model (FeatureExtraction): The segmentor.
        scores (Mapping[str, Tensor]): With ``final`` (B, 2, h, w) and ``presence``.
        padding (Tensor): Bool (B, H, W), True where there is no photograph.
        threshold (float): What is found has at least this probability. Defaults to 0.5.
    """
    if PRESENCE not in scores:
        return [float('nan')] * len(padding)
    probability = model.foreground_probability(scores['final'])  # (B, h, w)
    likeness = resize(scores[PRESENCE], probability.shape[-2:])  # heads may vote at image size
    return presence_score(likeness, probability, padding, threshold).tolist()


def _last_stage(features: BackboneFeatures) -> Tensor:
    """The last stage of a query that was computed; every head reads one."""
    return list(features.stages.values())[-1]
