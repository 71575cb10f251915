# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Items of the wire format, the same for any number of workers, and what may go wrong."""

import pickle

import numpy as np
import pytest
import torch
from helpers import (
    BIG,
    HEIGHT,
    TEST_PIPELINES,
    TRAIN_PIPELINES,
    WIDTH,
    jpeg,
    pascal,
    scenes,
    write_voc,
)
from mmengine.dataset import DefaultSampler, pseudo_collate, worker_init_fn
from torch.utils.data import DataLoader

from mmfss.datasets import EpisodicDataset, write_episodes

BALANCED = dict(type='BalancedProtocol', runs=2, episodes=10)


def test_set(root, *, shots=1, fold=1, **kwargs):
    options = {**TEST_PIPELINES, 'protocol': BALANCED, **kwargs}
    return EpisodicDataset(pascal(root, fold=fold), shots=shots, **options)


test_set.__test__ = False


def train_set(root, *, shots=1, fold=1, **kwargs):
    return EpisodicDataset(pascal(root, 'train', fold=fold), shots=shots, **{**TRAIN_PIPELINES, **kwargs})


def test_test_item(voc):
    dataset = test_set(voc, shots=2)
    item = dataset[3]
    query, supports = item['data_samples']['query'], item['data_samples']['support']
    assert item['inputs']['query'].shape == (3, 48, 48) and len(item['inputs']['support']) == 2
    assert query.gt_sem_seg.data.shape == (1, HEIGHT, WIDTH)  # original size
    assert query.gt_sem_seg.data.dtype == torch.int64
    assert query.gt_sem_seg.data.unique().tolist() == [0, 1, 255]
    assert (query.gt_sem_seg.data == 1).sum() == BIG
    episode = dataset.episodes[3]
    assert (
        (query.run, query.episode, query.class_name)
        == (0, 3, 'chair')
        == (episode.run, episode.episode, episode.class_name)
    )
    assert (query.class_id, query.base_index) == (9, -1)
    assert query.ori_shape == (HEIGHT, WIDTH) and query.restore_shape == (WIDTH, WIDTH)
    assert query.img_shape == (48, 48) and query.img_path.endswith(f'{episode.query}.jpg')
    assert query.seg_map_path.endswith(f'{episode.query}.png')
    assert query.support_paths == [s.img_path for s in supports]
    assert 'gt_base_seg' not in query
    for support, name in zip(supports, episode.supports, strict=True):
        assert support.gt_sem_seg.data.shape == (1, 48, 48) and support.class_id == 9
        assert support.img_path == str(jpeg(voc, name)) and support.ori_shape == (HEIGHT, WIDTH)


def test_training_item(voc):
    np.random.seed(0)
    dataset = train_set(voc, shots=2)
    assert len(dataset) == 59
    for index in range(0, 59, 3):
        item = dataset[index]
        query = item['data_samples']['query']
        label, base = query.gt_sem_seg.data, query.gt_base_seg.data
        assert label.shape == base.shape == (1, 33, 33)
        assert item['inputs']['query'].shape == (3, 33, 33)
        # both maps moved together: the episode's class is the same pixels in each
        assert torch.equal(label == 1, base == 1 + query.base_index)
        assert torch.equal(label == 255, base == 255)
        assert dataset.dataset.base_class_ids[query.base_index] == query.class_id
        paths = query.support_paths
        assert len(set(paths)) == 2 and query.img_path not in paths
        name = dataset.dataset.get_data_info(index)['name']
        assert query.img_path == str(jpeg(voc, name))
        assert all(f'train_{query.class_id:02d}' in path for path in paths)


def test_training_draws_any_base_class_of_the_query(voc):
    np.random.seed(0)
    dataset = train_set(voc)
    drawn = {dataset[3]['data_samples']['query'].class_id for _ in range(40)}
    assert drawn == {1, 2}  # train_01_3 holds a little of class 2


def test_metainfo(voc):
    meta = test_set(voc, shots=3).metainfo
    assert meta['classes'] == ('background', 'foreground') and len(meta['palette']) == 2
    assert meta['class_names'][9] == 'chair' and meta['fold'] == 1 and meta['shots'] == 3
    assert meta['novel_class_ids'] == meta['eval_class_ids'] == (6, 7, 8, 9, 10)
    assert len(meta['base_class_ids']) == 15
    assert meta['protocol'] == 'balanced' and len(meta['episodes_hash']) == 64
    assert meta['num_runs'] == 2 and meta['missing_classes_as_zero'] is False
    assert meta['support_control'] is None
    training = train_set(voc).metainfo
    assert training['protocol'] is None and training['episodes_hash'] is None
    bam = test_set(voc, protocol=dict(type='BamProtocol', episodes=3)).metainfo
    assert bam['missing_classes_as_zero'] is True and bam['num_runs'] == 5


def summary(batch):
    """What decides about an episode, in order."""
    inputs, samples = batch['inputs'], batch['data_samples']
    return [
        (
            s.run,
            s.episode,
            s.class_id,
            s.img_path,
            tuple(s.support_paths),
            inputs['query'][b].sum().item(),
            inputs['support'][0][b].sum().item(),
            samples['support'][0][b].gt_sem_seg.data.sum().item(),
        )
        for b, s in enumerate(samples['query'])
    ]


def test_episodes_are_the_same_for_any_workers_and_batch(voc):
    seen, hashes = [], set()
    for workers, batch_size, seed in ((0, 1, 0), (1, 4, 1), (4, 3, 2)):
        np.random.seed(seed)
        dataset = test_set(voc, support_annotation='scribble')
        loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=pseudo_collate)
        seen.append([line for batch in loader for line in summary(batch)])
        hashes.add(dataset.metainfo['episodes_hash'])
    assert len(seen[0]) == 20 and seen[0] == seen[1] == seen[2] and len(hashes) == 1


def test_two_processes_judge_the_same_list(voc):
    alone = [summary(pseudo_collate([item]))[0] for item in test_set(voc, support_annotation='scribble')]
    shares = []
    for rank in (0, 1):  # each builds its own data set, as processes do
        np.random.seed(rank)
        dataset = test_set(voc, support_annotation='scribble')
        sampler = DefaultSampler(dataset, shuffle=False)
        sampler.rank, sampler.world_size = rank, 2
        loader = DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=rank, collate_fn=pseudo_collate)
        shares.append([line for batch in loader for line in summary(batch)][:10])
    assert [line for pair in zip(*shares, strict=True) for line in pair] == alone


def test_collated_supports_are_shot_major(voc):
    batch = pseudo_collate([test_set(voc, shots=2)[i] for i in range(3)])
    assert len(batch['inputs']['query']) == 3 and len(batch['inputs']['support']) == 2
    assert len(batch['inputs']['support'][0]) == len(batch['data_samples']['support'][0]) == 3


def test_training_workers_draw_differently(voc):
    from functools import partial

    init = partial(worker_init_fn, num_workers=2, rank=0, seed=5)
    loader = DataLoader(
        train_set(voc),
        batch_size=1,
        num_workers=2,
        collate_fn=pseudo_collate,
        worker_init_fn=init,
        persistent_workers=True,
    )
    first, second = ([summary(b)[0][3:5] for b in loader] for _ in range(2))
    assert first != second  # the next epoch has other supports for the same queries
    assert [q for q, _ in first] == [q for q, _ in second]


def test_pickles_and_lazy_start(voc):
    lazy = test_set(voc, lazy_init=True)
    assert lazy.episodes == [] and not lazy.dataset._fully_initialized
    again = pickle.loads(pickle.dumps(test_set(voc)))
    assert len(lazy) == len(again) == 20
    assert lazy.metainfo['episodes_hash'] == again.metainfo['episodes_hash']
    with pytest.raises(IndexError):
        again[20]


@pytest.mark.parametrize('kind', ['wrong_novel', 'base'])
def test_support_control(voc, kind):
    right, wrong = test_set(voc, shots=2), test_set(voc, shots=2, support_control=kind)
    assert wrong.metainfo['support_control'] == kind
    assert wrong.metainfo['episodes_hash'] == right.metainfo['episodes_hash']
    allowed = set(right.dataset.novel_class_ids if kind == 'wrong_novel' else right.dataset.base_class_ids)
    used = set()
    for i in range(len(right)):
        a, b = right[i]['data_samples'], wrong[i]['data_samples']
        assert (a['query'].img_path, a['query'].class_id) == (b['query'].img_path, b['query'].class_id)
        assert torch.equal(a['query'].gt_sem_seg.data, b['query'].gt_sem_seg.data)
        classes = {s.class_id for s in b['support']}
        assert len(classes) == 1 and classes <= allowed - {b['query'].class_id}
        used |= classes
        paths = b['query'].support_paths
        assert len(set(paths)) == 2 and b['query'].img_path not in paths
        for support in b['support']:
            assert (support.gt_sem_seg.data == 1).any()
            place = wrong.dataset.positions_of([support.img_path.split('/')[-1][:-4]])[0]
            assert b['query'].class_id not in wrong.dataset.labels_of(place)
    assert len(used) >= 3
    assert (
        test_set(voc, shots=2, support_control=kind)[7]['data_samples']['query'].support_paths
        == wrong[7]['data_samples']['query'].support_paths
    )


def test_support_control_needs_episodes_and_other_classes(voc, tmp_path):
    with pytest.raises(ValueError, match='`support_control` is a control of evaluation'):
        train_set(voc, support_control='base')
    images = {n: p for n, p in scenes('val').items() if n[4:6] == '08'}
    root = write_voc(tmp_path, val=images)
    with pytest.raises(ValueError, match=r"support_control='wrong_novel'.*2 images without cat"):
        test_set(root, support_control='wrong_novel')


# ---------------------------------------------------------------- frozen lists


def test_frozen_list_of_another_copy(voc, tmp_path):
    drawn = test_set(voc, shots=2)
    file = tmp_path / 'list.jsonl'
    write_episodes(file, drawn.episodes, drawn.header)
    other = write_voc(tmp_path / 'copy', val=scenes('val'))
    frozen = test_set(other, shots=2, protocol=None, episodes_file=str(file))
    assert frozen.metainfo == drawn.metainfo and frozen.episodes == drawn.episodes
    assert frozen[5]['data_samples']['query'].img_path.startswith(str(other))


def test_frozen_list_that_does_not_fit(voc, tmp_path):
    drawn = test_set(voc, shots=2)
    file = tmp_path / 'list.jsonl'
    write_episodes(file, drawn.episodes, drawn.header)
    with pytest.raises(ValueError, match='made for shots 2, the config asks for shots 1'):
        test_set(voc, shots=1, episodes_file=str(file))
    with pytest.raises(ValueError, match='made for fold 1, the config asks for fold 2'):
        test_set(voc, shots=2, fold=2, episodes_file=str(file))
    images = {n: p for n, p in scenes('val').items() if n != drawn.episodes[4].query}
    with pytest.raises(ValueError, match=rf'{drawn.episodes[4].query} .*is not in the image list'):
        test_set(write_voc(tmp_path / 'less', val=images), shots=2, episodes_file=str(file))


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    'wrong, message', [(dict(shots=0), '`shots` is 0'), (dict(support_control='other'), 'support_control')]
)
def test_wrong_options(voc, wrong, message):
    with pytest.raises(ValueError, match=message):
        test_set(voc, **wrong)


def test_training_leaves_out_classes_with_too_few_images(tmp_path, logged):
    images = {n: p for n, p in scenes('train').items() if n not in ('train_01_0', 'train_01_1')}
    dataset = train_set(write_voc(tmp_path, train=images), shots=2)
    assert any('leaves out aeroplane (2)' in m and '3 candidate images' in m for m in logged)
    assert 1 not in dataset.metainfo['eval_class_ids']
    # train_01_3 can still ask for class 2, train_01_2 for nothing.
    names = {dataset[i]['data_samples']['query'].img_path[-14:-4] for i in range(3)}
    assert 'train_01_3' in names and 'train_01_2' not in names
    assert dataset[0]['data_samples']['query'].class_id == 2
    with pytest.raises(ValueError, match='No class of fold 1 has 6 candidate images'):
        train_set(tmp_path, shots=5)


def test_corrupt_jpeg(own_voc):
    for name in ('train_01_1', 'val_08_1'):
        file = jpeg(own_voc, name)
        file.write_bytes(file.read_bytes()[:-200])
    np.random.seed(0)
    with pytest.warns(RuntimeWarning, match=r'train_01_1\.jpg is corrupt.*Another episode'):
        assert train_set(own_voc)[1]['inputs']['query'].shape == (3, 33, 33)
    dataset = test_set(own_voc)
    bad = next(i for i, e in enumerate(dataset.episodes) if 'val_08_1' in (e.query, *e.supports))
    with pytest.raises(ValueError, match=r'val_08_1\.jpg is corrupt.*Fetch it again'):
        dataset[bad]


def test_training_gives_up_when_all_is_corrupt(own_voc):
    dataset = train_set(own_voc)
    for file in (own_voc / 'JPEGImages').iterdir():
        file.write_bytes(file.read_bytes()[:-200])
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match='in a row'):
        dataset[0]


def test_empty_support_mask_is_told_once(tmp_path, logged):
    tiny = write_voc(tmp_path, val={f'i{k}': [(3, 1), (8, 3)] for k in range(4)})
    small = dict(type='ResizeLongSide', size=8)
    support = [*TEST_PIPELINES['support_pipeline'][:2], small, dict(type='PackEpisodeInputs')]
    dataset = EpisodicDataset(
        pascal(tiny, fold=1, candidate_area=2),
        protocol=BALANCED,
        query_pipeline=TEST_PIPELINES['query_pipeline'],
        support_pipeline=support,
    )
    for i in range(3):
        assert not (dataset[i]['data_samples']['support'][0].gt_sem_seg.data == 1).any()
    told = [m for m in logged if 'support mask is empty' in m]
    assert len(told) == 1 and 'cat' in told[0] and '.png' in told[0] and 'candidate_area' in told[0]


@pytest.mark.parametrize('power, few', [(0, 1 / 2), (1, 1 / 5)])
def test_class_power_says_how_often_a_rare_class_is_drawn(tmp_path, power, few):
    images = {f'dog{i}': [(12, BIG)] for i in range(8)} | {f'cow{i}': [(10, BIG)] for i in range(2)}
    dataset = train_set(write_voc(tmp_path, train=images), fold=0, class_power=power)
    np.random.seed(0)
    queries = [dataset[i % len(dataset)]['data_samples']['query'] for i in range(400)]
    drawn = np.mean([query.class_name == 'cow' for query in queries])
    assert abs(drawn - few) < 0.08
    # Whatever is drawn is a candidate of its class, and every one of them comes up.
    assert all(query.class_name in query.img_path for query in queries)
    assert len({query.img_path for query in queries}) == len(images)


def test_class_power_is_refused_in_evaluation(voc):
    with pytest.raises(ValueError, match='class_power'):
        test_set(voc, class_power=0.5)
