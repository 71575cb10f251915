# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import errno
import os
import pathlib

import pytest
import torch
from engine_toys import toy_config
from mmengine.runner import Runner

from mmfss.engine.launch import enable_resume


def pth_files(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


def fill_disk_at(monkeypatch, name):
    """The disk is full from the moment a file of this name is written."""
    real, full = os.replace, []

    def replace(source, target):
        if pathlib.Path(target).name == name:
            full.append(name)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, 'replace', replace)


def test_only_the_latest_and_the_best_checkpoint_stay(tmp_path):
    Runner.from_cfg(toy_config(tmp_path, epochs=3, scores=(10.0, 30.0, 20.0))).train()
    assert pth_files(tmp_path) == ['best_mIoU_epoch_2.pth', 'epoch_3.pth']


@pytest.mark.parametrize('name', ['epoch_2.pth', 'best_mIoU_epoch_2.pth'])
def test_a_full_disk_costs_no_earlier_checkpoint_and_resume_goes_on(tmp_path, monkeypatch, name):
    with monkeypatch.context() as patch:
        fill_disk_at(patch, name)
        with pytest.raises(OSError, match=name):
            Runner.from_cfg(toy_config(tmp_path, epochs=3)).train()
    # With max_keep_ckpts=1 mmengine removes epoch_1.pth before it writes epoch_2.pth.
    left = pth_files(tmp_path)
    assert 'best_mIoU_epoch_1.pth' in left
    assert ('epoch_1.pth' in left) if name == 'epoch_2.pth' else ('epoch_2.pth' in left)
    assert not list(tmp_path.glob('.*.half'))
    for file in left:
        assert torch.load(tmp_path / file, weights_only=False)['state_dict']

    cfg = toy_config(tmp_path, epochs=3)
    enable_resume(cfg)
    assert cfg.resume and pathlib.Path(cfg.load_from).name in left
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.epoch == 3
    assert 'epoch_3.pth' in pth_files(tmp_path)


def test_a_metric_that_is_not_there_is_named(tmp_path):
    cfg = toy_config(tmp_path, epochs=1)
    cfg.default_hooks.checkpoint.save_best = 'mDice'
    with pytest.raises(KeyError, match='mDice.*mIoU'):
        Runner.from_cfg(cfg).train()
