# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A rebuilt released checkpoint through converter, tools/test.py and the visualizer."""

import re
import shutil

import golden
import pytest
import torch
from test_two_stages import metrics_of
from tiny_voc import write_tiny_voc
from tool_runs import run

SIDE = 65


@pytest.mark.slow
def test_from_the_released_file_to_numbers_and_pictures(tmp_path):
    root = write_tiny_voc(tmp_path / 'VOC')
    lists = root / 'ImageSets/Segmentation'
    shutil.copy(lists / 'trainaug.txt', lists / 'val.txt')
    torch.save(dict(state_dict=golden.released_weights('r50_pascal_1shot')), tmp_path / 'src.pth')
    printed = run('model_converters/msanet2mmfss.py', tmp_path / 'src.pth', tmp_path / 'dst.pth', '--fold', 2)
    config = re.search(r'config: +(\S+)', printed).group(1)
    dataset = 'test_dataloader.dataset'
    options = [
        '--data-root',
        root,
        '--work-dir',
        tmp_path / 'run',
        '--show-dir',
        tmp_path / 'show',
        '--candidate-area',
        100,
        '--cfg-options',
        'test_dataloader.num_workers=0',
        f'{dataset}.protocol.episodes=6',
        f'{dataset}.protocol.runs=1',
        f'{dataset}.query_pipeline.1.size={SIDE}',
        f'{dataset}.support_pipeline.2.size={SIDE}',
    ]
    numbers = metrics_of(run('test.py', config, tmp_path / 'dst.pth', '--fold', 2, *options))
    assert {'mIoU', 'FB-IoU', 'meta/mIoU'} <= numbers.keys()
    assert len(list((tmp_path / 'show').glob('*.png'))) == 6
    refused = run('test.py', config, tmp_path / 'dst.pth', '--fold', 1, *options, fails=True)
    assert 'fold 2 instead of 1' in refused
