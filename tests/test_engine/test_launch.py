# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmfss.engine import launch
from mmfss.engine.launch import enable_amp, enable_resume, find_last_checkpoint, init_launcher


def test_the_pointer_decides_also_in_a_moved_folder(tmp_path):
    for number in (1, 2, 10):
        (tmp_path / f'epoch_{number}.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/old/place/epoch_2.pth')
    assert find_last_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'


@pytest.mark.parametrize('pointer', [None, '', '/gone/epoch_99.pth'])
def test_without_a_pointer_the_highest_number_decides(tmp_path, pointer):
    for name in ('epoch_2.pth', 'epoch_10.pth', 'best_mIoU_epoch_11.pth', 'base_learner.pth'):
        (tmp_path / name).touch()
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer)
    assert find_last_checkpoint(tmp_path) == tmp_path / 'epoch_10.pth'


def test_nothing_to_resume_from_starts_at_the_beginning(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(launch, 'print_log', lambda message, **kwargs: said.append(message))
    cfg = Config(dict(work_dir=str(tmp_path / 'new')))
    enable_resume(cfg)
    assert cfg.resume is False and 'load_from' not in cfg
    assert 'no checkpoint in' in said[0]


def test_amp_refuses_wrappers_it_cannot_change():
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    enable_amp(cfg)
    with pytest.raises(ValueError, match='--amp'):
        enable_amp(Config(dict(optim_wrapper=dict(type='ApexOptimWrapper'))))


def test_no_launcher_changes_nothing():
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    init_launcher(cfg, 'none')
    assert cfg.launcher == 'none' and 'model_wrapper_cfg' not in cfg


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without a GPU')
def test_a_launcher_that_cannot_work_is_refused(monkeypatch):
    with pytest.raises(ValueError, match='slurm needs a GPU'):
        init_launcher(Config(dict()), 'slurm')
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(ValueError, match='RANK.*dist_train.sh'):
        init_launcher(Config(dict()), 'pytorch')


def batch_config(size=8, total=8):
    return Config(dict(total_batch_size=total, train_dataloader=dict(batch_size=size)))


@pytest.mark.parametrize(
    'size, total, processes, share, says',
    [
        (8, 8, 1, 8, None),
        (8, 8, 8, 1, None),
        (1, 8, 8, 1, None),  # done before
        (1, 8, 2, 4, 'becomes 4'),  # a config dumped by eight processes
        (12, 12, 8, 2, 'does not divide by 8 processes: 2 in each, 16 a step'),
        (3, None, 8, 3, None),
    ],
)
def test_the_total_batch_is_spread_over_the_processes(size, total, processes, share, says, logged):
    cfg = batch_config(size, total)
    launch.spread_batch(cfg, processes)
    assert cfg.train_dataloader.batch_size == share
    assert says in logged[-1] if says else not logged


@pytest.mark.parametrize(
    'options, share',
    [
        ({'total_batch_size': 16}, 2),
        ({'train_dataloader.batch_size': 4}, 4),  # as in mmseg: of each process
        ({'train_dataloader.num_workers': 4}, 1),
    ],
)
def test_the_batch_size_that_was_asked_for_wins(options, share):
    cfg = batch_config()
    cfg.merge_from_dict(options)
    launch.settle_batch_size(cfg, options)
    launch.spread_batch(cfg, 8)
    assert cfg.train_dataloader.batch_size == share


def test_no_launcher_still_gives_one_process_the_whole_total():
    cfg = batch_config(size=1)
    init_launcher(cfg, 'none')
    assert cfg.train_dataloader.batch_size == 8


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='threads are read from /proc')
def test_the_threads_of_a_group_end_before_the_interpreter():
    """One that is left aborts the process now and then, in the last moment of a run that succeeded."""
    script = (
        'import atexit, pathlib, torch\n'
        'from mmengine.config import Config\n'
        'def threads():\n'
        "    return sum('gloo' in (task / 'comm').read_text() for task in pathlib.Path('/proc/self/task').iterdir())\n"
        "atexit.register(lambda: print('at the end:', threads()))  # registered first, runs last\n"
        'from mmfss.engine.launch import init_launcher\n'
        "init_launcher(Config(dict()), 'pytorch')\n"
        'class Runner: pass\n'
        'runner = Runner()\n'
        'runner.model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))\n'
        'runner.hook = Runner()\n'
        'runner.hook.runner = runner  # a circle, as a runner and its hooks are\n'
        'del runner\n'
        "print('running:', threads() > 0)\n"
    )
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    alone = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', LOCAL_WORLD_SIZE='1', MASTER_ADDR='127.0.0.1')
    env = {**os.environ, **alone, 'MASTER_PORT': str(port), 'CUDA_VISIBLE_DEVICES': '-1'}
    done = subprocess.run([sys.executable, '-c', script], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    said = [line for line in done.stdout.splitlines() if line.startswith(('running', 'at the end'))]
    assert said == ['running: True', 'at the end: 0']
