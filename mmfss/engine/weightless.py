# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Methods that learn nothing (floors, training-free ones): what they are told by, and what stands for a checkpoint."""

from os import PathLike

from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmfss.registry import MODELS
from mmfss.utils.weights import is_pretrained

NO_CHECKPOINT = 'none'  # in place of a checkpoint on every command line


def without_checkpoint(checkpoint: str | PathLike | None) -> bool:
    """Whether what stands in the checkpoint's place says that there is none: None or the word 'none'."""
    return checkpoint is None or str(checkpoint) == NO_CHECKPOINT


def has_learned_weights(model: nn.Module) -> bool:
    """Whether a model needs a checkpoint; of models that do not say (:attr:`FewShotSegmentor.learned`), it does."""
    return getattr(model, 'learned', True)


def learns(cfg: Config) -> bool:
    """Whether there is anything to train in a config's model; builds it, which takes a second.

    Args:
        cfg (Config): Of either stage. One without a model is taken to learn.
    """
    if 'model' not in cfg:
        return True
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmfss')):
        return has_learned_weights(MODELS.build(cfg.model))


def check_needs_no_checkpoint(model: nn.Module, cfg: Config) -> None:
    """Refuse to use a model as ``init_weights`` makes it where this would leave random weights.

    Args:
        model (nn.Module): As it was built, not yet initialised.
        cfg (Config): Its config, for the message.

    Raises:
        ValueError: When the method has learned weights, or its backbone gets none; one line that says what to give.
    """
    name = cfg.filename or 'this config'
    if has_learned_weights(model):
        method = type(getattr(model, 'decode_head', model)).__name__
        raise ValueError(
            f'{name}: {method} has learned weights and needs a checkpoint: give the file that tools/train.py leaves, '
            f'{cfg.get("work_dir") or "WORK_DIR"}/meta_learner.pth, or a converted one'
        )
    if getattr(model, 'base_checkpoint', None) is None and not is_pretrained(model.backbone):
        raise ValueError(
            f'{name}: without a checkpoint the backbone would have random weights: let model.backbone.init_cfg name '
            "ImageNet's (dict(type='Pretrained', checkpoint=FILE)), or model.base_checkpoint a base learner's"
        )
