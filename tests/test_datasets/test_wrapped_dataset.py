# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Data sets of mmseg become episodic: ADE20K's and Cityscapes' ways of labelling, and VOC's."""

import numpy as np
import pytest
from helpers import TEST_PIPELINES, TRAIN_PIPELINES
from PIL import Image

from mmfss.datasets import EpisodicDataset, WrappedFewShotDataset, class_index

SIZE = (32, 40)
STAGE1 = [dict(type='LoadFewShotImage'), dict(type='LoadAnnotations'), dict(type='mmseg.PackSegInputs')]
RULES = dict(candidate_area=100)


def save(folder, name, suffix, array):
    path = folder / f'{name}{suffix}'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


def write(root, images, masks, suffixes, values, ignore):
    """Six images; image i has 20 rows of values[i % len(values)], 4 of the next value, and 4 ignored."""
    for i in range(6):
        mask = np.full(SIZE, values[i % len(values)])
        mask[20:24], mask[24:28] = values[(i + 1) % len(values)], ignore
        save(root / images, f'town_{i % 2}/{i}', suffixes[0], np.random.default_rng(i).integers(0, 255, (*SIZE, 3)))
        save(root / masks, f'town_{i % 2}/{i}', suffixes[1], mask)
    return root


@pytest.fixture
def ade(tmp_path):
    """wall 1, building 2, sky 3 in the masks, 0 for everything else; recursive folders, as they come."""
    write(tmp_path, 'images/training', 'annotations/training', ('.jpg', '.png'), (1, 2, 3), 0)
    return dict(
        type='mmseg.ADE20KDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
    )


@pytest.fixture
def cityscapes(tmp_path):
    """road 0, car 13, bicycle 18 and 255."""
    write(
        tmp_path, 'leftImg8bit/val', 'gtFine/val', ('_leftImg8bit.png', '_gtFine_labelTrainIds.png'), (0, 13, 18), 255
    )
    return dict(
        type='mmseg.CityscapesDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
    )


def test_label_zero_is_left_out(ade):
    dataset = WrappedFewShotDataset(source=ade, novel_classes=['sky'], phase='val', **RULES)
    assert len(dataset.class_names) == 151 and dataset.class_names[:4] == ('background', 'wall', 'building', 'sky')
    assert dataset.novel_class_ids == (3,) and len(dataset.base_class_ids) == 149
    names = [dataset.get_data_info(i)['name'] for i in range(len(dataset))]
    assert sorted(names) == ['town_0/2', 'town_0/4', 'town_1/1', 'town_1/5']
    episodes = EpisodicDataset(dataset, protocol=dict(type='BalancedProtocol', runs=1, episodes=3), **TEST_PIPELINES)
    labels = episodes[0]['data_samples']['query'].gt_sem_seg.data
    assert (labels == 1).sum() in (24 * 40, 4 * 40)
    assert (labels == 255).sum() == 4 * 40  # what ADE20K calls 0


def test_base_labels_of_ade(ade):
    options = dict(
        source=ade,
        novel_classes=['building'],
        base_classes=['wall', 'sky'],
        phase='train',
        exclude_novel=False,
        **RULES,
    )
    dataset = WrappedFewShotDataset(labels='base', image_filter='none', pipeline=STAGE1, **options)
    assert dataset.metainfo['classes'] == ('background', 'wall', 'sky')
    values = {dataset.get_data_info(i)['name']: dataset[i]['data_samples'].gt_sem_seg.data for i in range(6)}
    assert values['town_0/0'].unique().tolist() == [0, 1, 255]  # wall, a little building
    assert values['town_0/2'].unique().tolist() == [1, 2, 255]  # sky, a little wall
    training = EpisodicDataset(WrappedFewShotDataset(**options), **TRAIN_PIPELINES)
    sample = training[0]['data_samples']['query']
    assert set(sample.gt_base_seg.data.unique().tolist()) <= {0, 1, 2, 255}
    assert sample.class_name in ('wall', 'sky')


def test_cityscapes(cityscapes):
    dataset = WrappedFewShotDataset(source=cityscapes, novel_classes=['car', 'road'], phase='val', **RULES)
    assert dataset.class_names[1] == 'road' and dataset.novel_class_ids == (1, 14)
    names = [dataset.get_data_info(i)['name'] for i in range(len(dataset))]
    assert sorted(names) == sorted(f'town_{i % 2}/{i}_leftImg8bit' for i in range(6))
    assert dataset._index.areas(1)[dataset.positions_of(['town_0/0_leftImg8bit'])[0]] == 24 * 40
    assert 255 not in dataset._index.labels
    episodes = EpisodicDataset(dataset, protocol=dict(type='BalancedProtocol', runs=1, episodes=4), **TEST_PIPELINES)
    labels = episodes[0]['data_samples']['query'].gt_sem_seg.data
    assert (labels == 255).sum() == 4 * 40 and (labels == 1).any()


def test_a_source_with_background(voc):
    source = dict(
        type='mmseg.PascalVOCDataset',
        data_root=str(voc),
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
    )
    dataset = WrappedFewShotDataset(source=source, novel_classes=['cat', 'cow'], phase='val', **RULES)
    assert dataset.novel_class_ids == (8, 10) and len(dataset.candidates(8)) == 4
    assert dataset.class_names[0] == 'background'


def test_the_index_is_kept_beside_the_source(ade, tmp_path, monkeypatch):
    options = dict(source=ade, novel_classes=['sky'], **RULES)
    WrappedFewShotDataset(phase='val', **options)
    assert len(list((tmp_path / '.mmfss_cache').glob('*.npz'))) == 1
    monkeypatch.setattr(class_index, 'read_class_index', None)
    WrappedFewShotDataset(phase='train', **options, exclude_novel=False)


def test_what_can_be_wrong(ade):
    with pytest.raises(ValueError, match=r"name \['cloud'\], which ADE20KDataset"):
        WrappedFewShotDataset(source=ade, novel_classes=['cloud'])
    with pytest.raises(ValueError, match=r"\['sky'\] are both"):
        WrappedFewShotDataset(source=ade, novel_classes=['sky'], base_classes=['sky', 'wall'])
    with pytest.raises(ValueError, match='`data_root` belongs into `source`'):
        WrappedFewShotDataset(source=ade, novel_classes=['sky'], data_root='x')
    with pytest.raises(ValueError, match='No image of WrappedFewShotDataset is left'):
        WrappedFewShotDataset(source=ade, novel_classes=['bed'], phase='val')
    with pytest.raises(TypeError, match='BaseSegDataset'):
        WrappedFewShotDataset(source=[1], novel_classes=['sky'])
