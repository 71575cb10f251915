# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .base_learner_ensemble import BaseLearnerEnsemble
from .few_shot_segmentor import FewShotSegmentor
from .n_way_segmentor import NWaySegmentor

__all__ = ['BaseLearnerEnsemble', 'FewShotSegmentor', 'NWaySegmentor']
