# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The model of a config, ready to be measured: with a checkpoint, or with random weights that behave like learnt."""

from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from mmfss.registry import MODELS
from mmfss.utils.configs import resolve_config
from mmfss.utils.weights import load_weights, model_state, read_checkpoint

from .episodes import episode
from .random_weights import settle

PRECISIONS = ('float32', 'bfloat16')


@dataclass(frozen=True)
class Setup:
    """What is measured; a value that a process of its own can be given.

    Attributes:
        config (str): Config of stage 2.
        checkpoint (str, optional): None: random weights.
        shots (int): K.
        size (int): Side of the images in pixels.
        share (float): Foreground of the supports, 0..1.
        batch_size (int): Episodes of a call.
        precisions (tuple[str, ...]): Of mmfss, of :data:`PRECISIONS`; the peer computes in float32.
        device (str): 'cpu' or 'cuda'.
        reference (str, optional): Folder of a checkout of the released MSANet, HSNet or VAT.
        plain (str, optional): File of a plain implementation, the peer without a checkout.
        seed (int): Of weights and images.
    """

    config: str
    checkpoint: str | None = None
    shots: int = 1
    size: int = 473
    share: float = 0.19
    batch_size: int = 1
    precisions: tuple[str, ...] = ('float32',)
    device: str = 'cpu'
    reference: str | None = None
    plain: str | None = None
    seed: int = 0

    def episode(self, number: int, batch_size: int | None = None) -> dict[str, torch.Tensor]:
        """Inputs of a call; another number gives other images, so that no cache helps."""
        seed = self.seed + 1000 + number
        return episode(
            batch_size or self.batch_size, self.shots, self.size, self.share, seed, torch.device(self.device)
        )


def read_config(setup: Setup) -> Config:
    """The config of a setup, its model without comparison heads, files of weights and caches.

    Raises:
        FileNotFoundError: When there is no such config.
        ValueError: When it is none of a few-shot segmentor.
    """
    cfg = Config.fromfile(resolve_config(setup.config))
    if 'decode_head' not in cfg.get('model', {}) or not str(cfg.model.get('type')).endswith(
        ('BaseLearnerEnsemble', 'FewShotSegmentor')
    ):
        raise ValueError(f'{setup.config} is no config of stage 2: give one such as those in configs/msanet')
    for field in ('comparison_heads', 'base_checkpoint'):
        cfg.model.pop(field, None)
    if cfg.model.decode_head.get('shot_weighting') and setup.shots > 1:
        cfg.model.decode_head.shot_weighting.shots = setup.shots
    if setup.reference and setup.shots > 1 and cfg.model.decode_head.type == 'MSANetHead':
        # What the released code always has: learned weights of the shots, and on VGG16 a slip.
        cfg.model.decode_head.setdefault('shot_weighting', dict(shots=setup.shots))
        if cfg.model.backbone.type == 'BlockVGG':
            cfg.model.decode_head.last_shot_groups = (2,)
    return cfg


def config_shots(config: str) -> int:
    """K of a config's test episodes.

    Raises:
        FileNotFoundError: When there is no such config.
    """
    dataset = Config.fromfile(resolve_config(config)).get('test_dataloader', {}).get('dataset', {})
    return dataset.get('shots', 1)


def build_model(setup: Setup) -> nn.Module:
    """The model of a setup in eval mode, in float32, on its device.

    Raises:
        FileNotFoundError: When config or checkpoint is missing.
        ValueError: When the config is of something else, or the checkpoint does not fit.
    """
    cfg = read_config(setup)
    init_default_scope('mmfss')
    torch.manual_seed(setup.seed)
    with DefaultScope.overwrite_default_scope('mmfss'):
        model = MODELS.build(cfg.model)
    model.to(setup.device).eval()
    if setup.checkpoint is None:
        settle(model, setup.episode(-1000, batch_size=2), setup.seed)
    else:
        if not Path(setup.checkpoint).is_file():
            raise FileNotFoundError(f'there is no checkpoint {setup.checkpoint}; `none` measures random weights')
        state = model_state(read_checkpoint(setup.checkpoint))
        load_weights(model, state, f'{setup.checkpoint} does not fit the model of {setup.config}')
    return model


def without_cache(model: nn.Module) -> nn.Module:
    """The model without its store of features: calls on their own shall compute everything."""
    if hasattr(model, 'feature_cache'):
        model.feature_cache = None
    return model


def set_precision(model: nn.Module, name: str) -> nn.Module:
    """Let a model compute in a precision at inference.

    Args:
        model (nn.Module): A segmentor in float32.
        name (str): 'float32' or 'bfloat16'.

    Raises:
        ValueError: When the segmentor has no ``precision`` to set, and 'bfloat16' is asked for.
    """
    if hasattr(model, 'precision'):
        model.precision = name
    elif name != 'float32':
        raise ValueError(f'{type(model).__name__} has no `precision` to set: float32 only, not {name}')
    return model
