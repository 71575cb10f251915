# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Losses that mmseg lacks."""

from .smoothed_cross_entropy import SmoothedCrossEntropyLoss
from .weighted_cross_entropy import WeightedCrossEntropyLoss

__all__ = ['SmoothedCrossEntropyLoss', 'WeightedCrossEntropyLoss']
