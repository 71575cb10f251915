# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A config and a checkpoint to a model that is ready to be used, for tools that need no Runner."""

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch import nn

from mmfss.datasets import EpisodicDataset
from mmfss.registry import DATASETS, MODELS
from mmfss.utils.checkpoint_meta import meta_differences
from mmfss.utils.configs import type_name
from mmfss.utils.weights import is_missing, load_weights, model_state, read_checkpoint, refusal

from .weightless import check_needs_no_checkpoint, without_checkpoint


def load_model(cfg: Config, checkpoint: str | None, device: str | None = None) -> tuple[nn.Module, Mapping]:
    """Build ``cfg.model`` with the weights of a checkpoint, every one that it takes.

    Args:
        cfg (Config): Of stage 2. With a checkpoint ``model.base_checkpoint`` is not read: the file holds the base
            learner.
        checkpoint (str, optional): File written by training or a converter; of a method that learns nothing any
            checkpoint with its backbone. None or 'none': a method that learns nothing, with what ``init_weights``
            loads, ImageNet's weights or a base learner's.
        device (str, optional): Where the model goes. Defaults to mmengine's choice: a GPU where there is one.

    Returns:
        tuple[nn.Module, Mapping]: The model in eval mode, which knows its config as ``model.cfg``, and the ``meta`` of
        the checkpoint, or of the base learner that was loaded.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When its weights are not those of the config's model, saying in what they differ; or when the model
            cannot do without a checkpoint.
    """
    without = without_checkpoint(checkpoint)
    if not without and is_missing(checkpoint):
        raise FileNotFoundError(f'there is no checkpoint {checkpoint}')
    if 'model' not in cfg:
        raise ValueError(f'{cfg.filename} has no `model`: give a stage-2 config, such as those in configs/msanet')
    init_default_scope(cfg.get('default_scope', 'mmfss'))
    model = MODELS.build(cfg.model)
    if without:
        check_needs_no_checkpoint(model, cfg)
        model.init_weights()
        loaded = {} if model.base_checkpoint is None else read_checkpoint(model.base_checkpoint)
    else:
        loaded = read_checkpoint(checkpoint)
        load_weights(
            model,
            model_state(loaded),
            f'{checkpoint} does not fit the model of {cfg.filename}',
            'Give the config it was trained with.',
        )
    model.cfg = cfg
    return model.to(device or get_device()).eval(), loaded.get('meta', {})


def load_test_episodes(cfg: Config, meta: Mapping | None = None) -> EpisodicDataset:
    """The episodes that ``tools/test.py`` judges.

    Args:
        cfg (Config): Of stage 2.
        meta (Mapping, optional): ``meta`` of the checkpoint that will segment them.

    Raises:
        ValueError: When the config has no test episodes, or the model was trained on another fold or on other classes.
    """
    config = cfg.get('test_dataloader', {}).get('dataset', {})
    if type_name(config) != 'EpisodicDataset':
        raise ValueError(
            f'{cfg.filename}: test_dataloader.dataset is no EpisodicDataset; give a stage-2 config, such '
            'as those in configs/msanet'
        )
    dataset = DATASETS.build(config)
    guard = cfg.get('default_hooks', {}).get('checkpoint_guard') or {}
    reasons = meta_differences(dataset.metainfo, (meta or {}).get('dataset_meta'))
    if reasons and guard.get('check_classes', True):
        raise ValueError(
            refusal(
                'the checkpoint does not fit the data',
                reasons,
                'It may have been trained on classes that count as novel here. Use --fold of the training run.',
            )
        )
    return dataset
