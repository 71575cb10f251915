# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Boxes, scribbles and points in the place of support masks."""

import numpy as np
import pytest
import torch
from helpers import LABELS, TEST_PIPELINES, TRAIN_PIPELINES, pascal

from mmfss.datasets import EpisodicDataset
from mmfss.datasets.protocols import KeyedRandom
from mmfss.datasets.transforms import WeakAnnotation
from mmfss.datasets.transforms.weak_masks import components, draw_boxes, draw_points, draw_scribbles


def two_objects() -> np.ndarray:
    """An L, whose box holds more than the L, and a disc-like block, on (100, 120)."""
    mask = np.zeros((100, 120), bool)
    mask[10:70, 10:25] = mask[55:70, 10:60] = True
    mask[30:50, 80:110] = True
    return mask


def ragged(seed: int) -> np.ndarray:
    """Random blobs, some of a single pixel."""
    import cv2

    noise = np.random.default_rng(seed).normal(size=(90, 70)).astype(np.float32)
    return cv2.GaussianBlur(noise, (9, 9), 0) > 0.12


def apply(kind, mask, seed=3, **kwargs):
    results = dict(gt_seg_map=mask, annotation_seed=seed)
    return WeakAnnotation(kind, **kwargs)(results)['gt_seg_map']


def test_boxes_of_each_component():
    expected = np.zeros((100, 120), bool)
    expected[10:70, 10:60] = expected[30:50, 80:110] = True
    assert np.array_equal(draw_boxes(two_objects()), expected)


def test_diagonal_neighbours_are_one_component():
    mask = np.eye(4, dtype=bool)
    assert len(list(components(mask))) == 1 and draw_boxes(mask).all()


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('draw_weak', [lambda m, d: draw_scribbles(m, d, 3), lambda m, d: draw_points(m, d, 2)])
def test_strokes_and_clicks_lie_in_every_component(draw_weak, seed):
    mask = ragged(seed)
    drawn = draw_weak(mask, KeyedRandom(seed))
    assert not (drawn & ~mask).any()
    assert all((drawn[box] & part).any() for box, part in components(mask))


def test_scribble_follows_a_bent_object():
    drawn = draw_scribbles(two_objects(), KeyedRandom(1), 5)
    ((_, long),) = [c for c in components(drawn[:, :70])]
    assert max(long.shape) > 30 and drawn.sum() < two_objects().sum() / 2
    assert draw_points(two_objects(), KeyedRandom(1), 4).sum() < 120


def test_specks_are_passed_over_by_hand_annotations():
    mask = two_objects()
    mask[90, 5] = True
    for kind in ('scribble', 'point'):
        assert not apply(kind, mask.astype(np.uint8))[90, 5]
        assert apply(kind, mask.astype(np.uint8), min_share=0)[90, 5]
    assert apply('box', mask.astype(np.uint8))[90, 5]


@pytest.mark.parametrize('kind', ['box', 'scribble', 'point'])
def test_255_stays_and_the_rest_is_binary(kind):
    mask = two_objects().astype(np.uint8)
    mask[20, :30] = 255
    weak = apply(kind, mask)
    assert weak.dtype == np.uint8 and np.array_equal(weak == 255, mask == 255)
    assert set(np.unique(weak)) == {0, 1, 255}


@pytest.mark.parametrize('kind', ['box', 'scribble', 'point', 'mask'])
def test_an_empty_mask_stays_empty(kind):
    assert not apply(kind, np.zeros((8, 9), np.uint8)).any()


def test_drawn_anew_in_training_only():
    mask = two_objects().astype(np.uint8)
    np.random.seed(0)
    free = [WeakAnnotation('point')(dict(gt_seg_map=mask))['gt_seg_map'] for _ in range(4)]
    assert any(not np.array_equal(free[0], other) for other in free[1:])
    np.random.seed(0)
    assert np.array_equal(free[0], WeakAnnotation('point')(dict(gt_seg_map=mask))['gt_seg_map'])
    state = np.random.get_state()[1].copy()
    assert np.array_equal(apply('scribble', mask, seed=9), apply('scribble', mask, seed=9))
    assert not np.array_equal(apply('scribble', mask, seed=9), apply('scribble', mask, seed=10))
    assert np.array_equal(state, np.random.get_state()[1])


def test_wrong_options():
    with pytest.raises(ValueError, match='`kind` is'):
        WeakAnnotation('polygon')
    with pytest.raises(ValueError, match='width'):
        WeakAnnotation('scribble', width=0)
    with pytest.raises(ValueError, match='min_share'):
        WeakAnnotation('point', min_share=2)
    with pytest.raises(ValueError, match='query_pipeline'):
        WeakAnnotation('box')(dict(gt_seg_map=np.ones((3, 3), np.uint8), support_paths=[]))


# ---------------------------------------------------------------- in episodes


def episodes(root, phase='val', **kwargs):
    pipelines = TRAIN_PIPELINES if phase == 'train' else TEST_PIPELINES
    protocol = None if phase == 'train' else dict(type='BalancedProtocol', runs=2, episodes=6)
    return EpisodicDataset(pascal(root, phase, fold=1), **{**pipelines, 'protocol': protocol, **kwargs})


def support_masks(dataset, order):
    return {i: dataset[i]['data_samples']['support'][0].gt_sem_seg.data for i in order}


@pytest.mark.parametrize('kind', ['box', 'scribble', 'point'])
def test_one_line_in_a_test_config(voc, kind):
    plain, weak = episodes(voc), episodes(voc, support_annotation=kind)
    assert (plain.metainfo['support_annotation'], weak.metainfo['support_annotation']) == ('mask', kind)
    assert plain.metainfo['episodes_hash'] == weak.metainfo['episodes_hash']
    np.random.seed(0)
    first = support_masks(weak, range(12))
    np.random.seed(1)
    again = support_masks(episodes(voc, support_annotation=kind), reversed(range(12)))
    for i, mask in first.items():
        assert torch.equal(mask, again[i])
        a, b = plain[i], weak[i]
        assert torch.equal(a['data_samples']['query'].gt_sem_seg.data, b['data_samples']['query'].gt_sem_seg.data)
        assert torch.equal(a['inputs']['support'][0], b['inputs']['support'][0])
    assert any(
        not torch.equal(mask, plain[i]['data_samples']['support'][0].gt_sem_seg.data) for i, mask in first.items()
    )


def test_in_training_and_as_a_transform_of_the_pipeline(voc):
    np.random.seed(0)
    by_option = episodes(voc, 'train', support_annotation=dict(kind='point', radius=1))
    point = by_option[0]['data_samples']['support'][0].gt_sem_seg.data
    assert 0 < (point == 1).sum() <= 5
    steps = TRAIN_PIPELINES['support_pipeline']
    place = steps.index(LABELS) + 1
    pipeline = [*steps[:place], dict(type='WeakAnnotation', kind='point', radius=1), *steps[place:]]
    by_step = episodes(voc, 'train', support_pipeline=pipeline)
    np.random.seed(0)
    assert torch.equal(by_step[0]['data_samples']['support'][0].gt_sem_seg.data, point)
    assert by_step.metainfo['support_annotation'] == 'point'
    with pytest.raises(ValueError, match='give one of the two'):
        episodes(voc, 'train', support_pipeline=pipeline, support_annotation='box')
