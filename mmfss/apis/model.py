# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A model as inference needs it: config by path or name, weights, fingerprint, test geometry."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from torch import nn

from mmfss.datasets.pipelines import ANNOTATION, IMAGE, SCORING, WEAK, build_transforms, step_kind
from mmfss.engine.model_loading import load_model
from mmfss.models.segmentors import FewShotSegmentor
from mmfss.utils.configs import find_config
from mmfss.utils.weights import add_weights, bare_model

from .preset import CONFIG as PRESET
from .preset import preset_checkpoint

# Fields of a model config that leave what it computes for a user's image as it is.
_WITHOUT_EFFECT = (
    'comparison_heads',
    'feature_cache_gb',
    'precision',
    'feature_cache_dtype',
    'feature_cache_dir',
    'feature_cache_dir_gb',
    'base_checkpoint',
    'loss_decode',
    'log_base_loss',
    'train_cfg',
    'test_cfg',
    'init_cfg',
)


def ready_model(
    config: str | Path | Config | None,
    checkpoint: str | Path | None,
    device: str | torch.device | None,
    model: nn.Module | None,
) -> tuple[nn.Module, Config]:
    """The model that the arguments of :class:`FewShotInferencer` describe, with its fingerprint, and its config.

    Raises:
        FileNotFoundError, TypeError, ValueError: When they do not fit, see there.
    """
    if model is None:
        if isinstance(config, nn.Module) or (config is None and checkpoint is not None):
            raise TypeError('give a config, or a built model as FewShotInferencer(config, model=model)')
        if config is None:
            config, checkpoint = PRESET, preset_checkpoint()
        cfg = find_config(config)
        return build_model(cfg, checkpoint, device), cfg
    if checkpoint is not None:
        raise TypeError(f'a built model has its weights: leave the checkpoint {checkpoint} out')
    model = bare_model(model)
    if not isinstance(model, FewShotSegmentor):
        raise TypeError(f'model is a {type(model).__name__}, which is no FewShotSegmentor')
    config = getattr(model, 'cfg', None) if config is None else config
    if config is None:
        raise TypeError(
            'a built model needs the test pipelines of a config: give FewShotInferencer(config, model=model), or set '
            'model.cfg'
        )
    cfg = find_config(config)
    _check_device(device)
    model = (model if device is None else model.to(device)).eval()
    model.fingerprint = fingerprint(model, cfg.get('model', {}))
    return model, cfg


def build_model(cfg: Config, checkpoint: str | Path | None, device: str | None) -> nn.Module:
    """The model of a config with its weights, without what inference does not need.

    Args:
        cfg (Config): Of stage 2.
        checkpoint (str | Path, optional): Its file; None or 'none' for a method that learns nothing.
        device (str, optional): Where it goes.

    Raises:
        FileNotFoundError, ValueError: When the model cannot be loaded (:func:`mmfss.engine.model_loading.load_model`),
            or there is no such device.
    """
    _check_device(device)
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    if 'model' in cfg:
        cfg.model.pop('comparison_heads', None)  # they have no weights
        cfg.model.feature_cache_gb = 0  # the inferencer keeps banks itself
    model, _ = load_model(cfg, None if checkpoint is None else str(checkpoint), device)
    model.requires_grad_(False)
    model.fingerprint = fingerprint(model, cfg.model)
    return model


def _check_device(device: str | torch.device | None) -> None:
    """Refuse a device that this machine does not have."""
    try:
        if device is not None:
            torch.empty(1, device=device)
    except (AssertionError, RuntimeError) as error:  # without CUDA torch asserts
        raise ValueError(
            f"the device '{device}' cannot be used ({str(error).splitlines()[0]}). Leave it out to take a "
            "GPU where there is one, or say 'cpu'"
        ) from error


def fingerprint(model: nn.Module, config: Mapping) -> str:
    """Tells models apart: a digest of every weight and of what the config says about the computation."""
    digest = hashlib.blake2b(digest_size=12)
    kept = {key: value for key, value in dict(config).items() if key not in _WITHOUT_EFFECT}
    digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    add_weights(digest, model)
    return digest.hexdigest()


class Geometry:
    """The test pipelines of a config for images and masks that are given rather than listed.

    Loading an image, geometry and packing are the config's own transforms; the mask takes the place of the step that
    loads annotations. Left out are weak annotations, and judging at network size: results have the original size.

    Args:
        cfg (Config): With ``test_dataloader.dataset.query_pipeline`` and ``support_pipeline``.

    Raises:
        ValueError: When the pipelines are missing or do not load an image first.
    """

    def __init__(self, cfg: Config) -> None:
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        self._steps = {}
        for kind in ('query_pipeline', 'support_pipeline'):
            steps = build_transforms(dataset.get(kind) or ())
            if not steps or step_kind(steps[0]) != IMAGE:
                raise ValueError(f'{cfg.filename}: test_dataloader.dataset.{kind} must begin with LoadFewShotImage')
            self._steps[kind] = [step for step in steps if step_kind(step) not in (WEAK, SCORING)]
        if not any(step_kind(step) == ANNOTATION for step in self._steps['support_pipeline']):
            raise ValueError(f'{cfg.filename}: test_dataloader.dataset.support_pipeline loads no annotation')

    @property
    def loader(self) -> LoadImageFromFile:
        """The transform that loads a query from a file."""
        return self._steps['query_pipeline'][0]

    def query(self, loaded: dict) -> dict:
        """``inputs`` (3, h, w) and ``data_samples`` of a loaded image (results with ``img``)."""
        return self._run('query_pipeline', loaded)

    def support(self, loaded: dict, mask: np.ndarray) -> dict:
        """As :meth:`query`, with the mask (H, W) 0/1/255 moved along; its sample holds ``gt_sem_seg``."""
        return self._run('support_pipeline', loaded, mask)

    def _run(self, kind: str, results: dict, mask: np.ndarray | None = None) -> dict:
        results = dict(results)
        for step in self._steps[kind][1:]:
            if step_kind(step) != ANNOTATION:
                results = step(results)
            elif mask is not None:
                results['gt_seg_map'] = mask
                results['seg_fields'] = [*results.get('seg_fields', ()), 'gt_seg_map']
        return results
