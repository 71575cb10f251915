# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Fixed views: the training augmentation, the same each time and on every machine."""

import random

import numpy as np
import pytest
import torch
from helpers import IMAGE, LABELS, PACK, TRAIN_PIPELINES, pascal

from mmfss.datasets import EpisodicDataset, FixedViews
from mmfss.datasets.fixed_views import random_state, views_collate

AUGMENTED = [
    dict(type='RandomScale', ratio_range=(0.8, 1.2)),
    dict(type='mmseg.RandomRotate', prob=0.5, degree=10, pad_val=(9, 9, 9), seg_pad_val=255),
    dict(type='ForegroundCrop', crop_size=33),
    PACK,
]
ALIKE = dict(
    query_pipeline=[IMAGE, dict(LABELS, with_base=True), *AUGMENTED], support_pipeline=[IMAGE, LABELS, *AUGMENTED]
)


def episodes(voc, pipelines=ALIKE, **kwargs):
    return EpisodicDataset(dict(pascal(voc, 'train')), **pipelines, **kwargs)


def test_a_view_is_the_same_whatever_was_drawn_before(voc):
    views = FixedViews(episodes(voc), views=3)
    first = views[7]
    np.random.seed(123)
    again = FixedViews(episodes(voc), views=3)[7]
    assert all(torch.equal(first[name], again[name]) for name in ('image', 'labels', 'base_labels', 'padding'))
    assert first['image'].shape == (3, 33, 33)
    other_view, other_seed = views[8], FixedViews(episodes(voc), 3, seed=1)[7]
    assert not torch.equal(first['image'], other_view['image'])
    assert not torch.equal(first['image'], other_seed['image'])


def test_the_random_states_are_put_back():
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()
    with random_state('a', 1):
        inside = np.random.rand(), random.random(), torch.rand(1).item()
    assert (np.random.get_state()[1] == before[0]).all() and random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    with random_state('a', 1):
        assert inside == (np.random.rand(), random.random(), torch.rand(1).item())


@pytest.mark.parametrize('class_power', [None, 0.5])
def test_there_is_a_row_for_whatever_is_drawn(voc, class_power):
    data = episodes(voc, class_power=class_power)
    views = FixedViews(data, views=2)
    assert views.shared
    rows = {views.row(True, position, c, 1) for position, c in data.sampler.query_pairs()}
    rows |= {views.row(False, position, c, 0) for position, c in data.sampler.support_pairs()}
    assert rows <= set(range(len(views)))
    for index in range(len(data)):
        class_id, query, supports = data.sampler.draw(index)
        row = views.row(True, query, class_id, 1)
        assert (views.pairs[row // 2]) == (True, query, class_id) and views.row(False, supports[0], class_id, 0) >= 0


def test_pipelines_that_differ_have_views_of_their_own(voc):
    views = FixedViews(episodes(voc, TRAIN_PIPELINES), views=1)
    assert not views.shared and {query for query, _, _ in views.pairs} == {True, False}
    _, position, class_id = views.pairs[0]
    query, support = (views[views.row(q, position, class_id, 0)] for q in (True, False))
    assert 'base_labels' in query and 'base_labels' not in support
    rows, unusable, maps = views_collate([(0, query), (9, support), (3, None)])
    assert rows == [0, 9] and unusable == [3] and maps['base_labels'].shape == (2, 1, 33, 33)


def test_facts_follow_from_everything_that_makes_a_view(voc):
    def facts(pipelines=ALIKE, views=2, seed=0, **data):
        data = EpisodicDataset(dict(pascal(voc, 'train'), **data), **pipelines)
        return FixedViews(data, views, seed).facts()

    scaled = dict(ALIKE, query_pipeline=[*ALIKE['query_pipeline'][:2], *AUGMENTED[2:]])
    found = [facts(), facts(views=3), facts(seed=1), facts(scaled), facts(fold=1), facts(indices=10)]
    assert len({repr(f) for f in found}) == len(found)
    assert facts() == facts()


def test_views_of_different_sizes_are_refused(voc):
    views = FixedViews(episodes(voc, dict(ALIKE, support_pipeline=[IMAGE, LABELS, PACK])), views=1)
    ends = [0, len(views) - 1]
    with pytest.raises(ValueError, match='images of different sizes.*end `query_pipeline`'):
        views_collate([(row, views[row]) for row in ends])
    with pytest.raises(ValueError, match='images of different sizes'):
        views_collate([(0, views[0])], image_size=(40, 33))
