# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Images of a class are divided into training and test images, and test episodes show the training images."""

import numpy as np
import pytest
from helpers import TEST_PIPELINES, TRAIN_PIPELINES, write_class_folders
from PIL import Image

from mmfss.datasets import DividedFolderDataset, EpisodicDataset, read_episodes, write_episodes

NAMES = ('ant', 'bee', 'cow', 'dog')
TRAIN = {**TRAIN_PIPELINES, 'query_pipeline': TRAIN_PIPELINES['support_pipeline']}  # no base labels


@pytest.fixture
def folders(tmp_path):
    return write_class_folders(tmp_path / 'own', NAMES)


def build(root, phase='val', **kwargs):
    return DividedFolderDataset(data_root=str(root), phase=phase, **kwargs)


def names(dataset):
    return [dataset.get_data_info(i)['name'] for i in range(len(dataset))]


def test_the_first_of_every_class_are_for_training(folders):
    train, test = names(build(folders, 'train', train_images=2)), names(build(folders, train_images=2))
    assert train == [f'{c}/{k}' for c in NAMES for k in (1, 2)]
    assert test == [f'{c}/{k}' for c in NAMES for k in range(3, 12)]


def test_a_list_names_images_and_classes(folders):
    listed = ['cow/7', 'bee/11', 'cow/2']
    (folders / 'train.txt').write_text('\n'.join(listed) + '\n')
    train, test = (build(folders, phase, train_images='train.txt') for phase in ('train', 'val'))
    assert sorted(names(train)) == sorted(listed) and train.class_names == ('background', 'bee', 'cow')
    assert set(names(test)) == {f'{c}/{k}' for c in ('bee', 'cow') for k in range(1, 12)} - set(listed)
    assert (
        len(test.candidates(1)) == 10
        and test.support_positions(2).tolist() == test.positions_of(['cow/2', 'cow/7']).tolist()
    )


def test_one_class_is_enough(tmp_path):
    dataset = build(write_class_folders(tmp_path / 'one', ('gear',)), 'train', train_images=3)
    assert len(dataset) == 3 and dataset.phase_class_ids == dataset.novel_class_ids == (1,)


def test_training_never_sees_a_test_image(folders):
    dataset = EpisodicDataset(build(folders, 'train', train_images=3), shots=2, **TRAIN)
    np.random.seed(0)
    seen = set()
    for i in list(range(len(dataset))) * 5:
        sample = dataset[i]['data_samples']['query']
        seen |= {sample.img_path, *sample.support_paths}
        assert sample.base_index == -1
    assert seen == {str(folders / c / f'{k}.jpg') for c in NAMES for k in (1, 2, 3)}


@pytest.mark.parametrize('protocol', ['BalancedProtocol', 'BamProtocol', 'HsnetProtocol'])
def test_test_queries_are_held_out_and_supports_are_training_images(folders, protocol):
    # As many shots as training images: the query takes none of them away.
    data = EpisodicDataset(
        build(folders, train_images=3), shots=3, protocol=dict(type=protocol, runs=1, episodes=40), **TEST_PIPELINES
    )
    assert {e.query for e in data.episodes} == set(names(data.dataset))
    for episode in data.episodes:
        assert set(episode.supports) <= {f'{episode.class_name}/{k}' for k in (1, 2, 3)}
        assert len(set(episode.supports)) == 3 or protocol == 'HsnetProtocol'
    item = data[5]['data_samples']
    assert all((s.gt_sem_seg.data == 1).any() for s in (item['query'], *item['support']))
    if protocol == 'BalancedProtocol':
        with pytest.raises(ValueError, match=r'4-shot .*: ant \(4\)'):
            EpisodicDataset(build(folders, train_images=3), shots=4, protocol=dict(type=protocol), **TEST_PIPELINES)


def test_a_frozen_list_of_a_copy(folders, tmp_path):
    protocol = dict(type='BalancedProtocol', runs=1, episodes=12)
    drawn = EpisodicDataset(build(folders, train_images=3), protocol=protocol, **TEST_PIPELINES)
    write_episodes(tmp_path / 'e.jsonl', drawn.episodes, drawn.header)
    copy = build(write_class_folders(tmp_path / 'copy', NAMES), train_images=3)
    again = EpisodicDataset(copy, episodes_file=str(tmp_path / 'e.jsonl'), **TEST_PIPELINES)
    assert again.metainfo['episodes_hash'] == read_episodes(tmp_path / 'e.jsonl')[0]['hash']


@pytest.mark.parametrize(
    'text, message',
    [
        ('ant/1\nant/1\n', 'ant/1 is named twice .*train.txt'),
        ('ant/99\n', '1 of 1 training .* ant/99 '),
        ('ant/1\nant/1.JPG\n', 'ant/1 is named twice .*train.txt'),
        ('1\n', '1 is no CLASS/K'),
        ('\n', 'is empty'),
        ('eel/1\n', 'class eel has no folder'),
    ],
)
def test_lists_that_are_wrong(folders, text, message):
    (folders / 'train.txt').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(folders, train_images='train.txt')


def test_what_can_be_wrong(folders, tmp_path, logged):
    with pytest.raises(ValueError, match='All 44 images .*none is left to test on'):
        build(folders, train_images=11)
    with pytest.raises(ValueError, match='`train_images` is 0'):
        build(folders, train_images=0)
    with pytest.raises(FileNotFoundError, match=r'list of training images .*none.txt'):
        build(folders, train_images='none.txt')
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        build(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no class folder in .*empty'):
        build(tmp_path / 'empty')
    Image.new('L', (36, 30)).save(folders / 'cow/1.png')  # nothing of the cow: no use as a training image
    assert 'cow/1' not in names(build(folders, 'train', train_images=2))
    (folders / 'dog/1.jpg').write_bytes(b'x')
    with pytest.raises(ValueError, match=r'cannot be opened.*dog/1\.jpg'):
        build(folders, train_images=2)
