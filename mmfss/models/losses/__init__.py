# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Losses that mmseg lacks."""

from .weighted_cross_entropy import WeightedCrossEntropyLoss

__all__ = ['WeightedCrossEntropyLoss']
