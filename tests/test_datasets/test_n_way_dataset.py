# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episodes of several classes: items, labels, draws and what the model makes of a batch."""

import numpy as np
import pytest
import torch
from helpers import PACK, pascal
from mmengine.dataset import pseudo_collate

from mmfss.datasets import RevisitSampler
from mmfss.registry import DATASETS, MODELS

STEPS = [
    dict(type='LoadFewShotImage'),
    dict(type='LoadNWayAnnotations'),
    dict(type='SquashResize', size=48),
    PACK,
]
PROTOCOL = dict(type='PanetProtocol', runs=2, episodes=10)


def build(voc, phase='val', **kwargs):
    config = dict(type='NWayEpisodicDataset', query_pipeline=STEPS, support_pipeline=STEPS, dataset=pascal(voc, phase))
    protocol = {} if phase == 'train' else dict(protocol=PROTOCOL)
    return DATASETS.build({**config, **protocol, **kwargs})


def values(sample) -> set:
    return set(sample.gt_sem_seg.data.unique().tolist())


@pytest.mark.parametrize('phase', ['val', 'train'])
def test_items(voc, phase):
    data = build(voc, phase, ways=3, shots=2)
    np.random.seed(0)
    for item in (data[i] for i in range(8)):
        query, supports = item['data_samples']['query'], item['data_samples']['support']
        assert len(item['inputs']['support']) == len(supports) == 6
        assert [s.way for s in supports] == [0, 0, 1, 1, 2, 2]
        ids = query.way_class_ids
        assert len(set(ids)) == 3 and set(ids) <= set(data.dataset.phase_class_ids)
        for sample in (query, *supports):
            assert sample.class_id == ids[sample.way] and 1 + sample.way in values(sample)
            assert values(sample) <= {0, 1, 2, 3, 255}
        names = [s.name for s in (query, *supports) if s.way == query.way]
        assert len(set(names)) == 3 and query.support_names == [s.name for s in supports]


def test_labels_of_other_ways_can_be_left_out(voc):
    plain, own = (
        build(voc, ways=5, support_pipeline=[STEPS[0], {**STEPS[1], **extra}, *STEPS[2:]])
        for extra in ({}, dict(other_ways=False))
    )
    both = [
        pair
        for i in range(20)
        for pair in zip(*(data[i]['data_samples']['support'] for data in (plain, own)), strict=True)
    ]
    assert any(len(values(a)) > len(values(b)) for a, b in both)
    assert all(values(b) - {0, 255} == {1 + b.way} for _, b in both)


def test_a_batch_becomes_the_model_input(voc):
    data = build(voc, ways=2, shots=3)
    make = MODELS.build(dict(type='NWayDataPreProcessor', mean=[0, 0, 0], std=[1, 1, 1]))
    items = [data[i] for i in range(2)]
    found = make(pseudo_collate(items))
    inputs = found['inputs']
    assert inputs['support'].shape == (2, 2, 3, 3, 48, 48) and inputs['support_mask'].shape == (2, 2, 3, 48, 48)
    for b, item in enumerate(items):
        for n, (image, sample) in enumerate(
            zip(item['inputs']['support'], item['data_samples']['support'], strict=True)
        ):
            assert torch.equal(inputs['support'][b, n // 3, n % 3], image.float())
            assert torch.equal(inputs['support_mask'][b, n // 3, n % 3], sample.gt_sem_seg.data[0])
    assert found['data_samples'][1].way_class_ids == data[1]['data_samples']['query'].way_class_ids


def test_what_others_read(voc):
    data = build(voc, ways=2, shots=2)
    meta = data.metainfo
    assert (meta['ways'], meta['shots'], meta['protocol'], meta['num_runs']) == (2, 2, 'panet', 2)
    assert meta['eval_class_ids'] == data.dataset.novel_class_ids and len(meta['palette']) == 3
    assert meta['episodes_hash'] == build(voc, ways=2, shots=2).metainfo['episodes_hash']
    assert meta['episodes_hash'] != build(voc, ways=3, shots=2).metainfo['episodes_hash']
    queries, supports = data.images_of_episodes()
    assert len(queries) == len(data) == 20 and all(len(row) == 4 for row in supports)
    assert sorted(RevisitSampler(data)) == list(range(20))


def test_what_is_about_one_class_is_refused(voc):
    for name, value in (('support_control', 'base'), ('support_annotation', 'box'), ('class_power', 0.5)):
        with pytest.raises(ValueError, match=f'NWayEpisodicDataset has no `{name}`'):
            build(voc, **{name: value})
    with pytest.raises(ValueError, match='`ways` is 0'):
        build(voc, ways=0)
    with pytest.raises(ValueError, match='balanced draws one class a query'):
        build(voc, protocol=dict(type='BalancedProtocol'))
    with pytest.raises(ValueError, match='6-way episodes need 6 classes'):
        build(voc, ways=6)
    with pytest.raises(ValueError, match='16-way training needs 16 classes'):
        build(voc, 'train', ways=16)
