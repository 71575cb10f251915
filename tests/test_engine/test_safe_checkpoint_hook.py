# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import errno
import os
import pathlib
import re

import numpy as np
import pytest
import torch
from engine_toys import ToyDataset, toy_config
from mmengine.runner import Runner

from mmfss.engine import launch
from mmfss.engine.launch import build_runner, enable_resume
from mmfss.registry import DATASETS
from mmfss.utils.weights import read_checkpoint


@DATASETS.register_module(force=True)
class DescribedToyDataset(ToyDataset):
    """Its metainfo holds more than plain values."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.metainfo.update(root=pathlib.Path('/data'), palette=np.array([[1, 2]]))


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


def test_what_a_data_set_says_of_itself_is_saved_as_plain_values(tmp_path):
    """Else the run's own checkpoints would be refused at --resume: paths and other objects are no plain values."""
    cfg = toy_config(tmp_path, 1)
    cfg.train_dataloader.dataset.type = 'DescribedToyDataset'
    build_runner(cfg).train()
    found = read_checkpoint(tmp_path / 'epoch_1.pth')
    meta = found['meta']['dataset_meta']
    assert meta['root'] == '/data' and meta['palette'] == [[1, 2]] and meta['fold'] == 0
    assert found['message_hub']['runtime_info']['dataset_meta']['root'] == '/data'


@pytest.mark.parametrize('damage', ['cut', 'empty', 'page', 'nan'])
def test_resume_goes_back_to_the_last_checkpoint_that_can_be_used(tmp_path, damage, monkeypatch):
    cfg = toy_config(tmp_path, 2)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2
    build_runner(cfg).train()
    newest = tmp_path / 'epoch_2.pth'
    data = newest.read_bytes()
    if damage == 'nan':
        content = read_checkpoint(newest)
        content['state_dict']['backbone.weight'][0] = float('nan')
        torch.save(content, newest)
    else:
        newest.write_bytes(dict(cut=data[: len(data) // 2], empty=b'', page=b'<!DOCTYPE html>')[damage])
    said = []
    monkeypatch.setattr(launch, 'print_log', lambda message, **kwargs: said.append(message))
    cfg = toy_config(tmp_path, 3)
    enable_resume(cfg)
    assert cfg.resume and cfg.load_from == str(tmp_path / 'epoch_1.pth')
    assert re.search('epoch_2.pth .*Going back to .*epoch_1.pth', said[-1])
    (tmp_path / 'epoch_1.pth').write_bytes(b'')
    with pytest.raises(ValueError, match='--resume: .*epoch_2.pth'):
        enable_resume(cfg)
