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
