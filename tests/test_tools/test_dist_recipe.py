# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""tools/dist_train.sh on a config of the paper, in two CPU processes and small images."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny_voc import write_tiny_voc
from tool_runs import REPO, run

from mmfss.registry import MODELS

CONFIG = 'configs/msanet/r101_pascal_1shot.py'
SIDE = 33


@pytest.mark.slow
def test_the_batch_of_the_recipe_is_spread_over_two_processes(tmp_path):
    root = write_tiny_voc(tmp_path / 'VOC')
    for split, classes in (('train_5953', (6, 7)), ('val', (1, 2))):
        names = [f'c{c:02d}_{k}' for c in classes for k in range(7)]
        (root / f'ImageSets/Segmentation/{split}.txt').write_text('\n'.join(names) + '\n')
    init_default_scope('mmfss')
    stage1 = MODELS.build(Config.fromfile(REPO / 'configs/pspnet/r101_pascal.py').model)
    learner = tmp_path / 'runs/pspnet/r101_pascal/fold0/base_learner.pth'
    learner.parent.mkdir(parents=True)
    torch.save(dict(state_dict=stage1.state_dict(), meta=dict(fold=0)), learner)
    train, val = 'train_dataloader.dataset', 'val_dataloader.dataset'
    output = run(
        'dist_train.sh',
        CONFIG,
        2,
        '--fold',
        0,
        '--data-root',
        root,
        '--work-root',
        tmp_path / 'runs',
        '--candidate-area',
        100,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
        f'{train}.query_pipeline.6.crop_size={SIDE}',
        f'{train}.support_pipeline.6.crop_size={SIDE}',
        f'{val}.query_pipeline.1.size={SIDE}',
        f'{val}.support_pipeline.2.size={SIDE}',
        f'{val}.protocol.episodes=4',
    )
    assert 'LR is set based on batch size of 8 and the current batch size is 8' in output
    work_dir = tmp_path / 'runs/msanet/r101_pascal_1shot/fold0'
    assert list(work_dir.glob('best_mIoU_epoch_1.pth'))
    dumped = Config.fromfile(next(work_dir.rglob('*.py')))
    assert dumped.total_batch_size == 8 and dumped.train_dataloader.batch_size == 4
