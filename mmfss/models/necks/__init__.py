# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Modules that make one map of a backbone's stages."""

from .base_learner_neck import BaseLearnerNeck

__all__ = ['BaseLearnerNeck']
