# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A tiny model as files, and photos with masks."""

from pathlib import Path

import cv2
import golden
import numpy as np
import torch
from helpers import TEST_PIPELINES
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from mmfss.registry import MODELS

CONFIG = Path(__file__).parents[1] / 'configs' / 'tiny_1shot.py'


def tiny_config(segmentor: str = 'BaseLearnerEnsemble', pipelines: dict = TEST_PIPELINES) -> Config:
    """A config of stage 2 that keeps the aspect of images, with or without a base learner."""
    cfg = Config.fromfile(CONFIG)
    cfg.test_dataloader.dataset.update(pipelines)
    if segmentor == 'FewShotSegmentor':
        cfg.model.type = segmentor
        cfg.model.pop('base_head')
    return cfg


def floor_config(weights: Path) -> Config:
    """A config that learns nothing; its backbone's weights are those of a trained model, in the folder ``weights``."""
    cfg = tiny_config('FewShotSegmentor')
    cfg.model.decode_head = dict(type='PrototypeHead')
    cfg.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(weights / 'FewShotSegmentor.pth'), prefix='backbone'
    )
    cfg.model.base_checkpoint = None
    return cfg


def write_checkpoint(cfg: Config, path: Path, salt: str = '') -> Path:
    """Weights that follow from their names and ``salt``, whose masks are neither empty nor full."""
    with DefaultScope.overwrite_default_scope('mmfss'):
        model = MODELS.build(cfg.model)
    state = model.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(golden.draw_tensor(salt + name.replace('.bn2.weight', '.bn3.weight'), list(tensor.shape)))
    torch.save(dict(state_dict=state), path)
    return path


def photo(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """(H, W, 3) uint8 RGB with structure."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (6, 8, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 8, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


def disc(height: int = 60, width: int = 80, radius: int = 18) -> np.ndarray:
    """(H, W) bool mask."""
    rows, columns = np.ogrid[:height, :width]
    return (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < radius**2


def save(array: np.ndarray, path: Path) -> Path:
    """An image file of an array; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def photos(folder: Path, number: int = 3) -> Path:
    """A folder of photos 0.png, 1.png, ... of different sizes."""
    for i in range(number):
        save(photo(10 + i, 50 + 7 * i, 70), folder / f'{i}.png')
    return folder
