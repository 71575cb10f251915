# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What VAT's configs say: size, colours, schedule and protocol beside HSNet's data rules."""

import pytest
import torch
from helpers import load_script
from mmengine.registry import init_default_scope
from shipped import REPO, SIDE, VAT, VAT_FSS, read, shrink

from mmfss.engine.protocol_presets import apply_protocol
from mmfss.registry import DATASETS, MODELS


@pytest.mark.parametrize('name', [*VAT, *VAT_FSS])
def test_the_published_recipe(name):
    cfg = read(name)
    _, dataset, shots = name.removeprefix('vat/').split('_')
    train, val, test = (cfg[f'{phase}_dataloader'].dataset for phase in ('train', 'val', 'test'))
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == 16
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=5e-4, weight_decay=0.0) and not cfg.param_scheduler
    epochs, size = (400, 417) if dataset == 'coco' else (300, 473)
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
    assert {train.shots, val.shots, test.shots} == {int(shots[0])} and cfg.size == size
    assert train.dataset.exclude_novel is False
    assert (train.get('every_pair'), train.get('class_power')) == ((None, 0.0) if dataset == 'coco' else (True, None))
    steps = ['LoadFewShotImage', 'LoadFewShotAnnotations', 'RandomPhotometry', 'SquashResize', 'PackEpisodeInputs']
    assert [s.type for s in train.query_pipeline] == [s.type for s in train.support_pipeline] == steps
    for data in (train, val, test):
        assert not data.query_pipeline[0].to_float32 and not data.support_pipeline[0].to_float32
        assert 'keep_ignore' not in data.query_pipeline[1] and data.support_pipeline[1].keep_ignore is False
        assert dict(type='SquashResize', size=size) in [*data.query_pipeline] and data.support_pipeline[-2].size == size
    if dataset != 'fss':  # whose files must be there
        before = [s.type for s in test.query_pipeline]
        apply_protocol(cfg)
        changed = cfg.test_dataloader.dataset
        assert changed.protocol == test.protocol and [s.type for s in changed.query_pipeline] == before
        assert changed.query_pipeline[2] == dict(type='SquashResize', size=size, antialias=False)
        assert not changed.query_pipeline[0].to_float32


@pytest.mark.parametrize('dataset', ['pascal', 'coco', 'fss'])
def test_the_data_set_decides_what_the_decoder_reads(dataset):
    init_default_scope('mmfss')
    with torch.device('meta'):
        head = MODELS.build(read(f'vat/r50_{dataset}_1shot').model).decode_head
    widths = [t.blocks[0].norm1.normalized_shape[0] for t in head.decode.transformers]
    assert widths == dict(pascal=[128, 128, 64], coco=[128, 96, 64], fss=[192, 128, 64])[dataset]


def test_learned_parameters_without_what_a_data_set_does_not_use():
    count = load_script(REPO / 'tools/analysis_tools/count_parameters.py').count_parameters
    layer3, layer2 = (channels * (1024 // part) + channels for channels, part in ((64, 1), (32, 2)))
    norms = 3 * 2 * 128  # which the released code never applies
    for name, released, unused in (('pascal', 3_180_954, layer3), ('coco', 3_006_490, layer3 + layer2)):
        with torch.device('meta'):
            assert count(f'configs/vat/r50_{name}_1shot.py')[1] == released - norms - unused


def test_items(data):
    """The pipelines run on files: colours are changed before the squash, and queries judged at network size."""
    data('vat/r50_pascal_1shot')
    cfg = shrink(read('vat/r50_pascal_1shot'))
    init_default_scope('mmfss')
    for phase in ('train', 'test'):
        dataset = cfg[f'{phase}_dataloader'].dataset
        for step in dataset.query_pipeline:
            if step.type == 'RandomPhotometry':
                step.prob = 1.0
        item = DATASETS.build(dataset)[0]
        query = item['data_samples']['query']
        assert item['inputs']['query'].shape == (3, SIDE, SIDE) and item['inputs']['query'].dtype == torch.uint8
        assert query.gt_sem_seg.data.shape == (1, SIDE, SIDE) and query.ori_shape == (SIDE, SIDE) or phase == 'train'
        support = item['data_samples']['support'][0].gt_sem_seg.data
        assert set(support.unique().tolist()) <= {0, 1}
