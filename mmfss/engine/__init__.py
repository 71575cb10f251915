# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .hooks import (
    AccumulationSchedulerHook,
    BaseLearnerCheckpointHook,
    CheckpointGuardHook,
    EpisodeVisualizationHook,
    FeatureStoreHook,
    FiniteTrainingHook,
    MetaLearnerCheckpointHook,
    PredictionFileHook,
    ResultFileHook,
    SafeCheckpointHook,
)
from .launch import build_runner, find_last_checkpoint, init_launcher
from .module_optimizers import JointOptimWrapper, ModuleOptimizers
from .runner import FewShotRunner
from .stages import ensure_base_learner

__all__ = [
    'AccumulationSchedulerHook',
    'BFloat16OptimWrapper',
    'BaseLearnerCheckpointHook',
    'CheckpointGuardHook',
    'EpisodeVisualizationHook',
    'FeatureStoreHook',
    'FiniteTrainingHook',
    'FewShotRunner',
    'JointOptimWrapper',
    'MetaLearnerCheckpointHook',
    'ModuleOptimizers',
    'PredictionFileHook',
    'ResultFileHook',
    'SafeCheckpointHook',
    'build_runner',
    'ensure_base_learner',
    'find_last_checkpoint',
    'init_launcher',
]
