# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a list of N images costs a process that gets a copy of it."""

import os
import pickle

import numpy as np
import pytest

from mmfss.datasets import EpisodicDataset
from mmfss.datasets.synthetic import write_linked_coco
from mmfss.datasets.synthetic.linked import class_frequencies

IMAGES = 3000


@pytest.fixture(scope='module')
def linked(tmp_path_factory):
    return write_linked_coco(tmp_path_factory.mktemp('linked') / 'coco', IMAGES, size=(60, 80))


def episodes(root, **kwargs):
    folders = dict(img_path='train2014', seg_map_path='annotations/train2014')
    source = dict(type='COCO20iDataset', data_root=str(root), phase='val', data_prefix=folders, candidate_area=30)
    return EpisodicDataset({**source, **kwargs})


def test_linked_files_are_a_data_set_with_the_frequencies_of_coco(linked):
    files = [os.stat(path) for path in (linked / 'train2014').iterdir()]
    assert len(files) == IMAGES and len({file.st_ino for file in files}) == 64
    index = episodes(linked).dataset._index
    shown = np.array([(index.areas(c) > 0).mean() for c in range(1, 81)])
    assert shown[0] == pytest.approx(0.55, abs=0.05)
    assert shown.sum() == pytest.approx(class_frequencies().sum(), rel=0.1)
    with pytest.raises(ValueError, match='`images` is 0'):
        write_linked_coco(linked / 'none', 0)
    with pytest.raises(FileExistsError):
        write_linked_coco(linked, 1)


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_an_image_costs_a_worker_less_than_200_bytes(linked, phase):
    """With spawn each worker gets a pickled copy, which held a description of every image before."""
    dataset = episodes(linked, phase=phase, exclude_novel=False)
    assert len(dataset) > 2000
    assert len(pickle.dumps(dataset)) < 200 * IMAGES


def test_descriptions_are_made_when_asked_for(linked):
    data = episodes(linked, phase='train', labels='base').dataset
    info = data.get_data_info(3)
    assert info == {**data.describe(data.position(3)), 'sample_idx': 3}
    assert info['label_map'][0] == 0 and info['class_ids'] and info['img_path'].endswith(info['name'] + '.jpg')
    shown = data.shows(data.base_class_ids[:2])
    assert shown.tolist() == [bool({2, 3} & set(data.get_data_info(i)['class_ids'])) for i in range(len(data))]
