# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .accumulation_scheduler_hook import AccumulationSchedulerHook
from .base_learner_checkpoint_hook import BaseLearnerCheckpointHook, MetaLearnerCheckpointHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .episode_visualization_hook import EpisodeVisualizationHook
from .feature_store_hook import FeatureStoreHook
from .finite_training_hook import FiniteTrainingHook
from .prediction_file_hook import PredictionFileHook
from .result_file_hook import ResultFileHook
from .safe_checkpoint_hook import SafeCheckpointHook

__all__ = [
    'AccumulationSchedulerHook',
    'BaseLearnerCheckpointHook',
    'CheckpointGuardHook',
    'EpisodeVisualizationHook',
    'FeatureStoreHook',
    'FiniteTrainingHook',
    'MetaLearnerCheckpointHook',
    'PredictionFileHook',
    'ResultFileHook',
    'SafeCheckpointHook',
]
