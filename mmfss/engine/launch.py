# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Process groups, threads and runners: what has to happen before a Runner is made."""

import atexit
import datetime
import gc
import logging
import os
import re
from pathlib import Path

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_world_size, init_dist, is_distributed, is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfss.utils.checkpoint_files import CheckpointFileError, UntrustedCheckpointError
from mmfss.utils.configs import type_name
from mmfss.utils.weights import read_checkpoint

from .batch_size import spread_batch
from .cpu_memory import keep_freed_memory
from .runner import FewShotRunner
from .subprocesses import end_with_parent


def init_launcher(cfg: Config, launcher: str) -> None:
    """Make the process group now and prepare ``cfg`` for it; does nothing for ``'none'``.

    MMEngine would make the group inside the Runner, too late for deciding together which stage to
    train, and on machines without a GPU it would ask for CUDA devices. Here such machines get a
    gloo group and a model wrapper without ``device_ids``, so that gradients are averaged on CPU.
    May be called again for the config of another stage; the group is made only once.

    Args:
        cfg (Config): The config; ``launcher``, ``env_cfg`` and ``model_wrapper_cfg`` are set, and
            the batch size of a process (:func:`mmfss.engine.batch_size.spread_batch`).
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        ValueError: When the launcher cannot work on this machine.
    """
    cfg.launcher = launcher
    if launcher != 'none':
        if launcher == 'pytorch':
            end_with_parent()  # torchrun that is killed ends nobody
        _init_group(cfg, launcher)
    spread_batch(cfg, get_world_size())


def _init_group(cfg: Config, launcher: str) -> None:
    """The process group of a launcher, and what ``cfg`` needs to run in it."""
    env_cfg = cfg.setdefault('env_cfg', {})
    dist_cfg = env_cfg.setdefault('dist_cfg', {})
    if get_device() == 'cpu':
        dist_cfg['backend'] = 'gloo'
        wrapper = cfg.get('model_wrapper_cfg') or dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
        cfg.sync_bn = None  # torch's SyncBatchNorm needs GPUs
        if not is_distributed():
            _init_gloo(launcher, dist_cfg.get('timeout'))
    elif not is_distributed():
        _check_gpus(launcher)
        init_dist(launcher, **{'backend': 'nccl', **dist_cfg})


def _init_gloo(launcher: str, timeout: float | None) -> None:
    if launcher != 'pytorch':
        raise ValueError(
            f'--launcher {launcher} needs a GPU on each process. On machines without '
            'one use tools/dist_train.sh or tools/dist_test.sh (launcher pytorch).'
        )
    needed = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if needed:
        raise ValueError(
            f'--launcher pytorch: {", ".join(needed)} not set. Start the processes '
            'with tools/dist_train.sh CONFIG NUMBER or torch.distributed.run.'
        )
    local = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    if 'OMP_NUM_THREADS' not in os.environ:
        threads = max(1, (os.cpu_count() or 1) // local)
        os.environ['OMP_NUM_THREADS'] = str(threads)
        torch.set_num_threads(threads)
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    one_machine = local == int(os.environ['WORLD_SIZE'])
    if one_machine and Path('/sys/class/net/lo').exists():
        # gloo looks the host name up otherwise, which not every machine can resolve.
        os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    extra = {} if timeout is None else dict(timeout=datetime.timedelta(seconds=timeout))
    torch_dist.init_process_group('gloo', **extra)
    atexit.register(_leave_group)


def _leave_group() -> None:
    """End the group and its threads before the interpreter ends.

    A gloo thread that frees the tensors of its last collective while the interpreter shuts down aborts the process,
    after all its work is done. The threads end with the last reference to the group, and the runner's circles of
    references hold one (its DDP wrapper), so they are collected first.
    """
    if torch_dist.is_initialized():
        gc.collect()
        torch_dist.destroy_process_group()


def _check_gpus(launcher: str) -> None:
    rank, gpus = int(os.environ.get('LOCAL_RANK', '0')), torch.cuda.device_count()
    if launcher == 'pytorch' and torch.cuda.is_available() and rank >= gpus:
        raise ValueError(
            f'process {rank} has no GPU: this machine shows {gpus}. Start at most '
            f'{gpus} processes, or hide the GPUs with CUDA_VISIBLE_DEVICES=-1.'
        )


def build_runner(cfg: Config) -> Runner:
    """The runner of a config: ours, or the one its ``runner_type`` names."""
    keep_freed_memory()
    return RUNNERS.build(cfg) if 'runner_type' in cfg else FewShotRunner.from_cfg(cfg)


def enable_amp(cfg: Config) -> None:
    """Switch automatic mixed precision on, as mmseg's ``--amp`` does.

    A config that trains in bfloat16 already stays as it is.

    Raises:
        ValueError: When the config's optimiser wrapper is of a kind that has no such version.
    """
    kind = type_name(cfg.optim_wrapper) or 'OptimWrapper'
    if kind == 'BFloat16OptimWrapper':
        _warn('--amp changes nothing: this config trains in bfloat16 where the device computes in it.')
    elif kind == 'OptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    elif kind != 'AmpOptimWrapper':
        raise ValueError(f"--amp works with optim_wrapper.type='OptimWrapper', not {kind!r}")


def check_precision(cfg: Config) -> None:
    """Refuse a training in float16 on a machine without a GPU, which mmengine does with an assertion.

    Raises:
        ValueError: When it cannot work; says what to use instead.
    """
    if type_name(cfg.get('optim_wrapper')) == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise ValueError(
            "--amp (optim_wrapper.type='AmpOptimWrapper') needs a GPU. On a CPU leave it out, or train in bfloat16: "
            '--cfg-options optim_wrapper.type=BFloat16OptimWrapper'
        )


def enable_resume(cfg: Config) -> None:
    """Let the run go on from the newest checkpoint of its work dir that can be used, if there is one.

    Raises:
        ValueError: When there are checkpoints and none can be used.
    """
    found = list(_choose(Path(cfg.work_dir))) if is_main_process() else [None, None]
    broadcast_object_list(found)  # the processes must not go on from different files
    checkpoint, problem = found
    if problem is not None:
        raise ValueError(f'--resume: {problem}. Without --resume, training starts at the beginning')
    cfg.resume = checkpoint is not None
    if checkpoint is None:
        _warn(f'--resume: no checkpoint in {cfg.work_dir} yet, training starts at the beginning.')
    else:
        cfg.load_from = str(checkpoint)
        if cfg.get('randomness', {}).get('seed') is None:  # drawn when that run began; its data order follows from it
            cfg.randomness = dict(cfg.get('randomness', {}), seed=read_checkpoint(checkpoint)['meta'].get('seed'))


def find_last_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint to go on from: the newest, or where that is cut off, damaged or not finite, the one before it.

    MMEngine's ``last_checkpoint`` file decides which is the newest; where it is missing, empty or points to a folder
    that has moved, the ``epoch_N.pth`` or ``iter_N.pth`` with the highest number is. Each that is passed over is named
    in the log.

    Args:
        work_dir (str | Path): The work dir of an earlier run; need not exist.

    Returns:
        Path | None: An existing file, or None when there is nothing to go on from. When none of several can be used,
        the newest, whose reader says what is wrong with it.
    """
    return _choose(Path(work_dir))[0]


def _choose(work_dir: Path) -> tuple[Path | None, str | None]:
    """What :func:`find_last_checkpoint` returns, and what is wrong with it when none can be used."""
    candidates, first = saved_checkpoints(work_dir), None
    for place, path in enumerate(candidates):
        if (problem := _problem(path)) is None:
            return path, None
        first = first or problem
        if place + 1 < len(candidates):
            _warn(f'{problem}. Going back to {candidates[place + 1]}.')
    return (candidates[0], first) if candidates else (None, None)


def saved_checkpoints(work_dir: Path) -> list[Path]:
    """Checkpoints of a work dir, the newest first; none is read."""
    numbered = [
        (int(match.group(1)), path)
        for path in work_dir.glob('*.pth')
        if (match := re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem))
    ]
    found = [path for _, path in sorted(numbered, reverse=True)]
    pointer = work_dir / 'last_checkpoint'
    named = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    for path in (Path(named), work_dir / Path(named).name) if named else ():
        if path.is_file():
            # what the pointer passes over is of an earlier, longer run
            number = next((number for number, other in numbered if other.name == path.name), None)
            older = [other for n, other in sorted(numbered, reverse=True) if number is not None and n < number]
            return [path, *older]
    return found


def _problem(path: Path) -> str | None:
    """Why a training cannot go on from a checkpoint; None when it can, or when its reader has to say so."""
    try:
        content = read_checkpoint(path)
    except UntrustedCheckpointError:
        return None  # going back would hide it
    except CheckpointFileError as error:
        return str(error)
    missing = [key for key in ('meta', 'message_hub') if key not in content]
    missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in content.get('meta', ())]
    return f'{path} holds weights only, without {", ".join(missing)}' if missing else None


def _warn(message: str) -> None:
    if is_main_process():
        print_log(message, logger='current', level=logging.WARNING)
