# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Folders of images and black-and-white masks as few-shot data."""

import numpy as np
import pytest
from helpers import TEST_PIPELINES, TRAIN_PIPELINES, write_class_folders
from PIL import Image

from mmfss.datasets import EpisodicDataset, FolderFewShotDataset, FSS1000Dataset, class_index

NAMES = ('ant', 'bee', 'cow', 'dog')


@pytest.fixture
def folders(tmp_path):
    return write_class_folders(tmp_path / 'own', NAMES)


def build(root, phase='val', **kwargs):
    options = {} if 'splits' in kwargs else dict(novel_classes=['bee', 'dog'])
    return FolderFewShotDataset(data_root=str(root), phase=phase, **{**options, **kwargs})


@pytest.mark.parametrize('mode', ['L', 'RGB', '1'])
def test_classes_images_and_masks(tmp_path, mode):
    dataset = build(write_class_folders(tmp_path / 'own', NAMES, mode=mode), threshold=1 if mode == '1' else 128)
    assert dataset.class_names == ('background', 'ant', 'cow', 'bee', 'dog')
    assert dataset.base_class_ids == (1, 2) and dataset.novel_class_ids == (3, 4)
    assert len(dataset) == 22 and dataset.get_data_info(10)['name'] == 'bee/11'  # numbers in order
    assert len(dataset.candidates(3)) == 11 and dataset._index.areas(4)[33] == 15 * 13
    episodes = EpisodicDataset(
        dataset, shots=2, protocol=dict(type='BalancedProtocol', runs=1, episodes=4), **TEST_PIPELINES
    )
    item = episodes[0]['data_samples']
    query = item['query']
    area = int((query.gt_sem_seg.data == 1).sum())
    assert area == (15 * 11 if query.class_name == 'bee' else 15 * 13)
    # Where every class has a file 1.jpg, only the whole name tells which image was judged.
    assert (query.name, *query.support_names) == (episodes.episodes[0].query, *episodes.episodes[0].supports)
    assert query.name.startswith(f'{query.class_name}/')
    assert all((s.gt_sem_seg.data == 1).any() and not (s.gt_sem_seg.data == 255).all() for s in item['support'])


def test_training_and_base_labels(folders):
    dataset = build(folders, 'train')
    item = EpisodicDataset(dataset, **TRAIN_PIPELINES)[12]['data_samples']['query']
    assert item.class_name == 'cow' and item.base_index == 1
    assert set(item.gt_base_seg.data.unique().tolist()) <= {0, 2, 255}
    stage1 = build(
        folders,
        'train',
        labels='base',
        pipeline=[dict(type='LoadFewShotImage'), dict(type='LoadAnnotations'), dict(type='mmseg.PackSegInputs')],
    )
    labels = stage1[12]['data_samples'].gt_sem_seg.data
    assert labels.unique().tolist() == [0, 2] and (labels == 2).sum() == 15 * 12


def test_second_start_reads_no_mask(folders, monkeypatch):
    build(folders)
    monkeypatch.setattr(class_index, 'read_class_index', None)
    assert len(build(folders, 'train')) == len(build(folders)) == 22


def test_split_files(folders):
    (folders / 'splits').mkdir()
    for name, classes in dict(train='dog\nbee\n', val='cow\n', test='ant\n').items():
        (folders / f'splits/{name}.txt').write_text(classes)
    test, val = build(folders, splits='splits'), build(folders, splits='splits', eval_split='val')
    assert test.class_names == ('background', 'dog', 'bee', 'ant') and val.class_names[3] == 'cow'
    assert test.base_class_ids == val.base_class_ids == (1, 2)
    with pytest.raises(ValueError, match=r"'train': 2, .*'train': 520, 'val': 240"):
        FSS1000Dataset(data_root=str(folders))
    (folders / 'splits/test.txt').write_text('ant\nbee\n')
    with pytest.raises(ValueError, match='bee is named twice'):
        build(folders, splits='splits')
    with pytest.raises(FileNotFoundError, match=r'class list .*none.txt'):
        build(folders, novel_classes='none.txt')


def test_more_classes_than_an_8_bit_mask_can_name(tmp_path):
    names = [f'c{i:03d}' for i in range(1, 262)]
    root = write_class_folders(tmp_path / 'many', names, images=2)
    options = dict(data_root=str(root), novel_classes=names[259:])
    dataset = FolderFewShotDataset(phase='train', **options)
    assert len(dataset) == 518 and len(dataset.candidates(255)) == 2
    item = EpisodicDataset(dataset, **{**TRAIN_PIPELINES, 'query_pipeline': TEST_PIPELINES['support_pipeline']})[508]
    sample = item['data_samples']['query']
    assert sample.class_id == 255 and sample.gt_sem_seg.data[0, 0, 0] == 0  # 255 is padding alone
    assert sample.gt_sem_seg.data.unique().tolist() == [0, 1, 255]
    with pytest.raises(ValueError, match='up to 254 base classes'):
        FolderFewShotDataset(phase='train', labels='base', **options)


def test_what_can_be_wrong(folders):
    with pytest.raises(ValueError, match='either `novel_classes` or `splits`'):
        FolderFewShotDataset(data_root=str(folders))
    with pytest.raises(FileNotFoundError, match='class eel has no folder'):
        build(folders, novel_classes=['eel'])
    (folders / 'dog/3.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 44 mask files .*dog/3\.png'):
        build(folders)


def test_masks_of_zero_and_one(folders):
    for mask in folders.glob('*/*.png'):
        Image.fromarray(np.array(Image.open(mask)) // 255).save(mask)
    with pytest.raises(ValueError, match='no value above 1.*threshold=1'):
        build(folders)
    assert len(build(folders, threshold=1)) == 22


def test_real_folders(shared):
    novel = ['cheetah', 'elephant', 'goose', 'kite', 'panda', 'windmill']
    dataset = FolderFewShotDataset(data_root=str(shared / 'data/icoseg_mini'), phase='val', novel_classes=novel)
    assert len(dataset.class_names) == 27 and len(dataset) == 113
    episodes = EpisodicDataset(
        dataset, shots=5, protocol=dict(type='BalancedProtocol', runs=1, episodes=60), **TEST_PIPELINES
    )
    assert len(episodes) == 60 and (episodes[7]['data_samples']['query'].gt_sem_seg.data == 1).any()
