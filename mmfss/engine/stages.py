# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Two-stage training: the base learner first, when there is none yet."""

import gc
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.logging import print_log

from mmfss.utils.checkpoint_files import UntrustedCheckpointError
from mmfss.utils.checkpoint_meta import base_learner_differences
from mmfss.utils.configs import resolve_config, type_name
from mmfss.utils.weights import read_checkpoint, refusal

from .batch_size import settle_batch_size
from .launch import (
    build_runner,
    check_precision,
    enable_amp,
    enable_resume,
    init_launcher,
    saved_checkpoints,
)
from .options import merge_options

_HOOK = 'BaseLearnerCheckpointHook'


def ensure_base_learner(
    cfg: Config, launcher: str = 'none', resume: bool = False, amp: bool = False, last: bool = False
) -> Path | None:
    """Return the base learner's checkpoint, training it first when the file is missing.

    Reads ``cfg.base_learner``: ``checkpoint`` (where the file is or will be), ``config`` (the
    stage-1 config, relative to the working folder or to the repository) and optionally
    ``cfg_options`` (a dict merged into the stage-1 config, as ``--cfg-options`` would).
    Call it after :func:`mmfss.engine.launch.init_launcher`; every process must.

    Args:
        cfg (Config): The stage-2 config.
        launcher (str): The launcher stage 1 runs under: the one of stage 2.
        resume (bool): Let an interrupted stage 1 go on from its last checkpoint.
        amp (bool): Train stage 1 with mixed precision.
        last (bool): Whether there is no stage 2: nothing else is learned.

    Returns:
        Path | None: The checkpoint; None when the config names no base learner.

    Raises:
        ValueError: When the file is there but does not fit, or the config contradicts itself.
        RuntimeError: When stage 1 ended without leaving the file.
    """
    if cfg.get('base_learner') is None:
        return None
    checkpoint = Path(cfg.base_learner.checkpoint)
    loaded = cfg.model.get('base_checkpoint')
    if loaded is not None and Path(loaded) != checkpoint:
        raise ValueError(
            f'base_learner.checkpoint={checkpoint} and model.base_checkpoint={loaded} '
            'must be the same file: set both with --cfg-options.'
        )

    there = [checkpoint.is_file()]
    broadcast_object_list(there)  # one answer for all, or some processes would train alone
    stage1 = _stage1_config(cfg, checkpoint)
    if there[0]:
        _check_fold(checkpoint, cfg)
        _say(f'Base learner: using {checkpoint}.' + (_nothing_else(cfg) if last else ''))
        return checkpoint
    if stage1 is None:
        raise ValueError(
            f'The base learner {checkpoint} is missing and base_learner.config is not '
            'set, so it cannot be trained. Give one of the two.'
        )

    _train(stage1, checkpoint, launcher, resume, amp, 'The only stage' if last else 'Stage 1 of 2')
    if not checkpoint.is_file():
        raise RuntimeError(
            f'Stage 1 ({stage1.filename}) ended but left no {checkpoint}. Its log is in '
            f'{stage1.work_dir}; the hook {_HOOK} writes the file when training ends.'
        )
    if last:
        _say(f'The base learner is done: {checkpoint}.{_nothing_else(cfg)}')
    else:
        _say(f'Stage 1 of 2 is done: {checkpoint}. Stage 2 of 2: training the meta learner.')
    return checkpoint


def _nothing_else(cfg: Config) -> str:
    return f' Nothing else is learned; test it: python tools/test.py {cfg.filename} none --fold {cfg.get("fold")}'


def _stage1_config(cfg: Config, checkpoint: Path) -> Config | None:
    if cfg.base_learner.get('config') is None:
        return None
    stage1 = Config.fromfile(resolve_config(cfg.base_learner.config))
    if cfg.base_learner.get('cfg_options'):
        try:
            options = merge_options(stage1, _flat(cfg.base_learner.cfg_options))
        except ValueError as error:
            raise ValueError(f'base_learner.cfg_options, for {stage1.filename}: {error}') from error
        settle_batch_size(stage1, options)
    for key in ('fold', 'data_root'):
        ours, theirs = cfg.get(key), stage1.get(key)
        if None not in (ours, theirs) and ours != theirs:
            raise ValueError(
                f'{key} is {ours!r} in {cfg.filename} but {theirs!r} in {stage1.filename}. Both '
                f'follow the option --{key.replace("_", "-")}; --cfg-options comes too late for '
                'fields that others are computed from.'
            )
    stage1.work_dir = str(checkpoint.parent)
    return stage1


def _flat(options: Mapping, prefix: str = '') -> dict:
    """Nested dicts to dotted keys: ``merge_from_dict`` replaces what a nested dict touches."""
    flat = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value and '_delete_' not in value:
            flat.update(_flat(value, f'{prefix}{key}.'))
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def _train(stage1: Config, checkpoint: Path, launcher: str, resume: bool, amp: bool, stage: str) -> None:
    """Run stage 1 in this process group and leave nothing of it behind but its files."""
    _say(f'Base learner: {checkpoint} is missing. {stage}: training it with {stage1.filename}.')
    if resume:
        enable_resume(stage1)
    elif saved_checkpoints(Path(stage1.work_dir)):
        _say(
            f'{stage1.work_dir} holds an unfinished stage 1, which starts again now; with '
            '--resume it would go on instead.',
            level=logging.WARNING,
        )
    if amp:
        enable_amp(stage1)
    check_precision(stage1)
    init_launcher(stage1, launcher)
    _add_hook(stage1, checkpoint.name)

    # The runners of both stages live in one process: loggers, message hubs, visualizers and scopes
    # are found by name, so stage 1 gets one that stage 2 cannot have.
    stage1.experiment_name = f'stage1_{Path(stage1.filename).stem}'
    if stage1.get('visualizer') is not None:
        stage1.visualizer.pop('name', None)  # the runner then takes the experiment's
    runner = build_runner(stage1)
    runner.train()
    runner.visualizer.close()
    del runner  # its model, optimiser and data workers go before stage 2 asks for memory
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    barrier()


def _add_hook(stage1: Config, filename: str) -> None:
    """Make sure that the file is written at the end, under the name that stage 2 reads."""
    hooks = [*stage1.get('default_hooks', {}).values(), *(stage1.get('custom_hooks') or [])]
    found = [hook for hook in hooks if type_name(hook) == _HOOK]
    for hook in found:
        hook['filename'] = filename
    if not found:
        custom = list(stage1.get('custom_hooks') or [])
        stage1.custom_hooks = [*custom, dict(type=f'mmfss.{_HOOK}', filename=filename)]


def _check_fold(checkpoint: Path, cfg: Config) -> None:
    """Refuse a base learner that cannot be read or is of another fold before any long work.

    Whether its weights fit is asked where they are loaded, when the model of stage 2 is made; the file is read once.
    """
    try:
        content = read_checkpoint(checkpoint, hold=True)
    except UntrustedCheckpointError:
        raise  # a new training is no cure
    except ValueError as error:
        raise ValueError(
            f'The base learner {checkpoint} cannot be read ({error}). Remove it and '
            'start again: stage 1 will be trained again.'
        ) from error
    if reasons := base_learner_differences(content.get('meta', {}), dict(fold=cfg.get('fold'))):
        raise ValueError(
            refusal(
                f'The base learner {checkpoint} does not fit this config',
                reasons,
                'Remove or rename the file to train a new one, or use another --fold or --work-root.',
            )
        )


def _say(message: str, level: int = logging.INFO) -> None:
    if is_main_process():
        print_log(message, logger='current', level=level)
