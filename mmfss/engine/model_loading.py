# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A config and a checkpoint to a model that is ready to be used, for tools that need no Runner."""

import os.path as osp
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from mmfss.datasets import EpisodicDataset
from mmfss.registry import DATASETS, MODELS

from .checkpoint_match import meta_differences, model_state, state_differences


def load_model(cfg: Config, checkpoint: str, device: str | None = None) -> tuple[nn.Module, Mapping]:
    """Build ``cfg.model`` with the weights of a checkpoint, every one of them.

    Args:
        cfg (Config): of stage 2; ``model.base_checkpoint`` is not read, the checkpoint holds the base learner.
        checkpoint (str): file written by training or a converter.
        device (str, optional): where the model goes. Defaults to mmengine's choice: a GPU where there is one.

    Returns:
        tuple[nn.Module, Mapping]: the model in eval mode, and the checkpoint's ``meta``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when its weights are not those of the config's model, saying in what they differ.
    """
    if '://' not in checkpoint and not osp.isfile(checkpoint):
        raise FileNotFoundError(f'there is no checkpoint {checkpoint}')
    if 'model' not in cfg:
        raise ValueError(f'{cfg.filename} has no `model`: give a stage-2 config, such as those in configs/msanet')
    init_default_scope(cfg.get('default_scope', 'mmfss'))
    model = MODELS.build(cfg.model)
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    state = model_state(loaded)
    if reasons := state_differences(model.state_dict(), state):
        raise ValueError(
            f'{checkpoint} does not fit the model of {cfg.filename}:\n  - '
            + '\n  - '.join(reasons)
            + '\nGive the config it was trained with.'
        )
    model.load_state_dict(state)
    return model.to(device or get_device()).eval(), loaded.get('meta', {})


def load_test_episodes(cfg: Config, meta: Mapping | None = None) -> EpisodicDataset:
    """The episodes that ``tools/test.py`` judges.

    Args:
        cfg (Config): of stage 2.
        meta (Mapping, optional): ``meta`` of the checkpoint that will segment them.

    Raises:
        ValueError: when the config has no test episodes, or the model was trained on another fold or on other classes.
    """
    config = cfg.get('test_dataloader', {}).get('dataset', {})
    if str(config.get('type')).split('.')[-1] != 'EpisodicDataset':
        raise ValueError(
            f'{cfg.filename}: test_dataloader.dataset is no EpisodicDataset; give a stage-2 config, such '
            'as those in configs/msanet'
        )
    dataset = DATASETS.build(config)
    guard = cfg.get('default_hooks', {}).get('checkpoint_guard') or {}
    reasons = meta_differences(dataset.metainfo, (meta or {}).get('dataset_meta'))
    if reasons and guard.get('check_classes', True):
        raise ValueError(
            'the checkpoint does not fit the data:\n  - ' + '\n  - '.join(reasons) + '\nIt may have been '
            'trained on classes that count as novel here. Use --fold of the training run.'
        )
    return dataset
