# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What HSNet's configs say: its data rules, schedule and protocol; and FSS-1000 on a small folder."""

import numpy as np
import pytest
import torch
from helpers import load_script
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from PIL import Image
from shipped import HSNET, HSNET_FSS, REPO, SIDE, read, shrink

from mmfss.engine.protocol_presets import apply_protocol
from mmfss.registry import DATASETS, MODELS


@pytest.mark.parametrize('name', [*HSNET, *HSNET_FSS])
def test_the_published_recipe(name):
    cfg = read(name)
    backbone, dataset, shots = name.removeprefix('hsnet/').split('_')
    train, val, test = (cfg[f'{phase}_dataloader'].dataset for phase in ('train', 'val', 'test'))
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == (40 if dataset == 'coco' else 20)
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-3) and not cfg.param_scheduler
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=2000, val_interval=1)
    assert {train.shots, val.shots, test.shots} == {int(shots[0])}
    assert train.dataset.exclude_novel is False
    assert (train.get('every_pair'), train.get('class_power')) == ((None, 0.0) if dataset == 'coco' else (True, None))
    steps = ['LoadFewShotImage', 'LoadFewShotAnnotations', 'SquashResize', 'PackEpisodeInputs']
    assert [s.type for s in train.query_pipeline] == [s.type for s in train.support_pipeline] == steps
    assert all(d.support_pipeline[1].keep_ignore is False for d in (train, val, test))
    assert val.query_pipeline[2] == dict(type='SquashResize', size=400, antialias=True)
    order, episodes = ('class' if dataset == 'coco' else 'list'), 2400 if dataset == 'fss' else 1000
    protocol = dict(type='HsnetProtocol', order=order, runs=1, episodes=episodes, seed=0)
    assert val.protocol == test.protocol == protocol
    if dataset != 'fss':  # whose files must be there
        before = (test.query_pipeline, test.support_pipeline)
        apply_protocol(cfg)
        changed = cfg.test_dataloader.dataset
        assert (changed.protocol, changed.query_pipeline, changed.support_pipeline) == (protocol, *before)
    if dataset == 'pascal':
        assert train.dataset.ann_file == 'ImageSets/Segmentation/trainaug.txt'


@pytest.mark.parametrize('backbone, learned', [('r50', 2573794), ('r101', 2587394), ('vgg16', 2570018)])
def test_learned_parameters_are_those_of_the_released_code(backbone, learned):
    count = load_script(REPO / 'tools/analysis_tools/count_parameters.py').count_parameters
    with torch.device('meta'):
        assert count(f'configs/hsnet/{backbone}_pascal_1shot.py')[1] == learned


@pytest.fixture
def fss(tmp_path, monkeypatch):
    """A class of each split, three images each."""
    rng = np.random.default_rng(0)
    for split, name in (('train', 'cup'), ('val', 'fan'), ('test', 'owl')):
        (tmp_path / name).mkdir()
        for k in range(1, 4):
            Image.fromarray(rng.integers(0, 255, (30, 30, 3), dtype=np.uint8)).save(tmp_path / f'{name}/{k}.jpg')
            mask = np.zeros((30, 30), np.uint8)
            mask[5:20, 5 : 10 + 5 * k] = 255
            Image.fromarray(mask).save(tmp_path / f'{name}/{k}.png')
        (tmp_path / 'splits').mkdir(exist_ok=True)
        (tmp_path / f'splits/{split}.txt').write_text(f'{name}\n')
    monkeypatch.setenv('MMFSS_DATA_ROOT', str(tmp_path))


def test_fss1000(fss):
    cfg = shrink(read('hsnet/r50_fss_5shot'))
    init_default_scope('mmfss')
    loaders = [cfg[f'{phase}_dataloader'].dataset for phase in ('train', 'val', 'test')]
    for dataset in loaders:
        dataset.shots = 2
        dataset.dataset.update(type='FolderFewShotDataset', splits='splits')  # FSS1000Dataset wants 1,000 classes
    train, val, test = (DATASETS.build(dataset) for dataset in loaders)
    assert len(train) == 3 and (len(val), len(test)) == (2400, 2400)
    assert {e.class_name for e in val.episodes} == {'fan'} and {e.class_name for e in test.episodes} == {'owl'}
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        (sample,) = model.test_step(pseudo_collate([test[0]]))
    assert sample.pred_sem_seg.shape == sample.gt_sem_seg.shape == (SIDE, SIDE)
