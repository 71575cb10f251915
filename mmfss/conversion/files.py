# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Reading released checkpoints and checking what becomes of them against the configs."""

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmfss.datasets import FolderFewShotDataset
from mmfss.registry import DATASETS, MODELS
from mmfss.utils.checkpoint_files import CheckpointFileError
from mmfss.utils.checkpoint_meta import base_class_names
from mmfss.utils.configs import resolve_config
from mmfss.utils.weights import MisfitError, is_missing, load_weights, read_checkpoint
from mmfss.utils.wording import listed

from .names import ConversionError
from .variant import RELEASED_DATASETS, Variant


def read_weights(path: str, trust: bool = False) -> dict[str, Tensor]:
    """The weights in a checkpoint file.

    Args:
        path (str): A bare state dict, or a training checkpoint with one under 'state_dict'.
        trust (bool): Read a file that holds Python objects as well. Such files can run code: only
            for files whose origin you trust. Defaults to False.

    Returns:
        dict[str, Tensor]: Key -> tensor, on CPU.

    Raises:
        FileNotFoundError: When there is no such file.
        ConversionError: When it holds no weights, or objects and ``trust`` is not set.
    """
    if is_missing(path):
        raise FileNotFoundError(f'there is no file {path}')
    try:
        content = read_checkpoint(path, trust=trust or None)
    except CheckpointFileError as error:
        raise ConversionError(error.reason) from error
    state = content.get('state_dict', content) if isinstance(content, Mapping) else {}
    weights = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not weights or len(weights) < len(state):
        found = listed(state, 6) or type(content).__name__
        raise ConversionError(f'holds no state dict, bare or under state_dict; found: {found}')
    return weights


def load_into_config(variant: Variant, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load converted weights strictly into the model of the matching config.

    Args:
        variant (Variant): Says which config.
        state (Mapping[str, Tensor]): Converted weights.

    Returns:
        dict[str, Tensor]: The model's state dict.

    Raises:
        ConversionError: When weights are missing, left over or of another shape.
    """
    cfg = Config.fromfile(resolve_config(variant.config))
    cfg.merge_from_dict(variant.cfg_options)
    init_default_scope('mmfss')
    return load_strictly(MODELS.build(cfg.model), state, variant.config)


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Load a state dict, naming all keys that do not fit, and return the model's.

    Counters of BatchNorm (``num_batches_tracked``) that an old file does not have count as 0.

    Raises:
        ConversionError: When weights are missing, left over or of another shape.
    """
    expected = model.state_dict()
    counters = {
        key: value for key, value in expected.items() if key.endswith('num_batches_tracked') and key not in state
    }
    complete = {**state, **counters}
    try:
        load_weights(model, complete, f'does not fit {name}')
    except MisfitError as error:
        raise ConversionError(str(error)) from error
    return model.state_dict()


def check_fold(variant: Variant, fold: int | None) -> None:
    """Refuse a fold that the data set does not have.

    Raises:
        ConversionError: When the data set has no such fold; the message says which there are.
    """
    name, kind, _ = RELEASED_DATASETS[variant.dataset]
    init_default_scope('mmfss')
    folds = DATASETS.get(kind).num_folds
    if fold is not None and fold not in range(folds):
        raise ConversionError(f'--fold {fold}: {name} has the folds 0 to {folds - 1}')


def checkpoint_meta(variant: Variant, fold: int | None) -> dict:
    """``meta`` of the written checkpoint, as the guards of training and testing read it.

    Weights do not say of which fold they are; without ``fold`` only the data set is known.

    Args:
        variant (Variant): The model.
        fold (int, optional): Its fold.

    Returns:
        dict: ``dataset_meta`` and, for a base learner, ``fold`` and ``base_class_names``.
    """
    init_default_scope('mmfss')
    base, kind = variant.released.base_learner, RELEASED_DATASETS[variant.dataset][1]
    model = dict(classes=('background', 'foreground'), palette=[[0, 0, 0], [220, 20, 60]], shots=variant.shots)
    if issubclass(DATASETS.get(kind), FolderFewShotDataset):  # its classes stand in files of the user
        return dict(dataset_meta=model)
    info = DATASETS.build(dict(type=kind, fold=fold or 0, lazy_init=True, labels='base' if base else None)).metainfo
    meta = dict(class_names=info['class_names'])
    if fold is not None:
        meta.update({key: info[key] for key in ('fold', 'base_class_ids', 'novel_class_ids')})
    if base:
        if fold is not None:
            meta.update({key: info[key] for key in ('classes', 'palette')})
        return dict(dataset_meta=meta, fold=fold, base_class_names=base_class_names(meta))
    return dict(dataset_meta={**meta, **model})
