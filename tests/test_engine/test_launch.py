# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
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
