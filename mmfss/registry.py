# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The 21 registries of mmfss: read this first.

Everything a config can name with ``type=`` is registered here under the scope ``mmfss``. Each registry is a child of
MMSegmentation's registry of the same name, so ``type='FCNHead'`` or ``type='mmseg.FCNHead'`` are found as well. Its
``locations`` list mmseg's module before ours: the parent's classes must exist before a child lookup can fall back
to them, and listing both makes ``custom_imports`` unnecessary in configs.
"""

from mmengine.registry import Registry
from mmseg import registry as _mmseg


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    """A registry of scope ``mmfss`` below ``parent``, importing the parent's locations first."""
    return Registry(name, parent=parent, scope='mmfss', locations=[*parent._locations, *locations])


# Running
RUNNERS = _child('runner', _mmseg.RUNNERS, 'mmfss.engine')
RUNNER_CONSTRUCTORS = _child('runner constructor', _mmseg.RUNNER_CONSTRUCTORS)
LOOPS = _child('loop', _mmseg.LOOPS)
HOOKS = _child('hook', _mmseg.HOOKS, 'mmfss.engine')
LOG_PROCESSORS = _child('log processor', _mmseg.LOG_PROCESSORS)

# Data
DATASETS = _child('dataset', _mmseg.DATASETS, 'mmfss.datasets')
DATA_SAMPLERS = _child('data sampler', _mmseg.DATA_SAMPLERS)
TRANSFORMS = _child('transform', _mmseg.TRANSFORMS, 'mmfss.datasets.transforms')
TASK_UTILS = _child('task util', _mmseg.TASK_UTILS, 'mmfss.datasets')

# Models
MODELS = _child('model', _mmseg.MODELS, 'mmfss.models')
MODEL_WRAPPERS = _child('model wrapper', _mmseg.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child('weight initializer', _mmseg.WEIGHT_INITIALIZERS)

# Optimisation
OPTIMIZERS = _child('optimizer', _mmseg.OPTIMIZERS)
OPTIM_WRAPPERS = _child('optim wrapper', _mmseg.OPTIM_WRAPPERS, 'mmfss.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('optim wrapper constructor', _mmseg.OPTIM_WRAPPER_CONSTRUCTORS, 'mmfss.engine')
PARAM_SCHEDULERS = _child('parameter scheduler', _mmseg.PARAM_SCHEDULERS)

# Judging and looking
METRICS = _child('metric', _mmseg.METRICS, 'mmfss.evaluation')
EVALUATOR = _child('evaluator', _mmseg.EVALUATOR)
VISUALIZERS = _child('visualizer', _mmseg.VISUALIZERS, 'mmfss.visualization')
VISBACKENDS = _child('vis_backend', _mmseg.VISBACKENDS)
INFERENCERS = _child('inferencer', _mmseg.INFERENCERS, 'mmfss.apis')

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'EVALUATOR',
    'HOOKS',
    'INFERENCERS',
    'LOG_PROCESSORS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'MODEL_WRAPPERS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'RUNNERS',
    'RUNNER_CONSTRUCTORS',
    'TASK_UTILS',
    'TRANSFORMS',
    'VISBACKENDS',
    'VISUALIZERS',
    'WEIGHT_INITIALIZERS',
]
