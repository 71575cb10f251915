# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Encoded images that are kept between the episodes of an evaluation, in memory and in files."""

import copy
import os
from pathlib import Path

import pytest
import torch
import toys

from mmfss.models.segmentors import encoding_store
from mmfss.models.segmentors.encoding_files import EncodingFiles
from mmfss.models.segmentors.encoding_store import EncodingStore, capacity_in_bytes, digest
from mmfss.structures import BackboneFeatures, EncodedQuery, SupportBank

MODEL = dict(type='BaseLearnerEnsemble', backbone=toys.RESNET, decode_head=toys.MSANET, base_head=toys.BASE_HEAD)
FLOORS = dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead'))


def value(numbers: int, fill: float = 0.0) -> SupportBank:
    """A bank of so many float32 numbers."""
    return SupportBank(dict(vectors=torch.full((1, 1, numbers), fill)))


def put(store: EncodingStore, role: str, *names: str, numbers: int = 256) -> None:
    for name in names:
        store.get(role, name.encode(), lambda: value(numbers))


def kept(store: EncodingStore, role: str) -> set[str]:
    return {key.decode() for key in store._entries[role]}


def bound(kib: float) -> EncodingStore:
    return EncodingStore(kib / 2**20)


# --- what is kept ---


def test_the_fullest_role_loses_what_it_used_longest_ago():
    store = bound(8)
    put(store, 'support', 'a', 'b', 'c', 'd', 'e', 'f')  # a KiB each
    put(store, 'support', 'a')
    put(store, 'query', 'q', 'r', 'p')  # 9 KiB; three queries exceed a fifth of 8 by most
    assert kept(store, 'support') == set('abcdef') and kept(store, 'query') == set('rp')
    put(store, 'support', 'g')
    assert kept(store, 'query') == {'p'} and kept(store, 'support') == set('abcdefg')
    put(store, 'support', 'h')  # the only query stays within its share
    assert kept(store, 'support') == set('acdefgh') and kept(store, 'query') == {'p'}
    assert store.sizes == dict(support=7 * 1024, query=1024) and len(store) == 8


def test_the_newest_stays_and_what_never_fits_pushes_nothing_out():
    store = bound(8)
    put(store, 'support', 'a', 'b')
    put(store, 'query', 'q', numbers=7 * 256)
    assert kept(store, 'query') == {'q'} and kept(store, 'support') == {'b'}
    put(store, 'support', 'a')  # the only query stays, though far above its share
    assert kept(store, 'query') == {'q'} and kept(store, 'support') == {'a'}
    put(store, 'support', 'b')
    put(store, 'query', 'r', numbers=9 * 256)
    assert kept(store, 'query') == {'q'} and kept(store, 'support') == {'b'}


def test_a_value_owns_its_memory():
    store, batch = bound(8), torch.rand(1, 1, 4, 256)
    found = store.get('support', b'a', lambda: SupportBank(dict(vectors=batch[:, :, 1])))
    assert torch.equal(found['vectors'], batch[:, :, 1]) and found['vectors'].untyped_storage().nbytes() == 1024


def test_auto_is_half_of_what_is_free_for_all_processes(monkeypatch):
    monkeypatch.setattr(encoding_store, 'free_memory', lambda device: 8 * 2**30)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    assert capacity_in_bytes('auto', torch.device('cpu')) == 2 * 2**30
    assert capacity_in_bytes(0.5, torch.device('cpu')) == 2**29


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(gigabytes=-1), 'feature_cache_gb=-1'),
        (dict(gigabytes='all'), "feature_cache_gb='all'"),
        (dict(dtype='int8'), "feature_cache_dtype='int8'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        EncodingStore(**options)


@torch.no_grad()
def test_keys_tell_content_shape_and_precision_apart():
    image = toys.smooth(1, 3, 16, 16, seed=0)
    keys = [
        digest('query', image),
        digest('support', image),
        digest('query', image.flip(3)),
        digest('query', image.view(1, 3, 8, 32)),
        digest('query', image.double()),
    ]
    with torch.autocast('cpu', torch.bfloat16):
        keys.append(digest('query', image))
    assert len(set(keys)) == len(keys) and digest('query', image.clone()) == keys[0]


def test_rounding_halves_large_tensors_and_leaves_small_ones(monkeypatch):
    monkeypatch.setattr(encoding_store, 'EXACT_UP_TO', 256)
    store = EncodingStore(1, 'bfloat16')
    bank = SupportBank(dict(large=torch.rand(1, 1, 257), small=torch.rand(1, 1, 256), names=torch.ones(1, 1, 300) > 0))
    found = store.get('support', b'a', lambda: bank)
    assert found['large'].dtype == torch.bfloat16 and torch.equal(found['small'], bank['small'])
    exact = store.exact(found)
    assert torch.equal(exact['large'], bank['large'].bfloat16().float()) and exact['names'].dtype == torch.bool


def test_maps_that_heads_share_are_kept_once():
    shared = torch.rand(1, 4, 6, 6)
    query = EncodedQuery({name: BackboneFeatures(dict(layer4=shared)) for name in 'ab'}, dict(base=shared))
    assert query.nbytes == shared.numel() * 4
    twice = query.map(lambda t: 2 * t)
    assert twice.nbytes == query.nbytes and torch.equal(twice.heads['b']['layer4'], 2 * shared)


# --- in a segmentor ---


@pytest.fixture(params=['whole', 'slide'])
def config(request) -> dict:
    windows = dict(mode='slide', crop_size=(33, 33), stride=(16, 16)) if request.param == 'slide' else None
    return dict(MODEL, comparison_heads=FLOORS, test_cfg=windows)


def returning(K: int = 2) -> dict[str, torch.Tensor]:
    """Six episodes of three images: as queries, as supports, with masks of two classes."""
    inputs = toys.episodes(6, K)
    images, masks, padding = inputs['query'][:3].clone(), inputs['support_mask'][:2, 0].clone(), inputs['query_padding']
    for i in range(6):
        inputs['query'][i], padding[i] = images[i % 3], padding[i % 3]
        for k in range(K):
            inputs['support'][i, k], inputs['support_mask'][i, k] = images[(i + k + 1) % 3], masks[i % 2]
    return inputs


@torch.no_grad()
def test_scores_do_not_depend_on_bound_batch_or_order(config):
    inputs = returning()
    expected = toys.build(dict(config, feature_cache_gb=0))(inputs)
    assert set(expected) == {'final', 'meta', 'base', 'prototype', 'prior'}
    for bytes_kept in (1, 3e5, 2**30):
        for step, order in ((1, range(6)), (4, range(6)), (1, [5, 0, 3, 1, 4, 2])):
            model = toys.build(dict(config, feature_cache_gb=bytes_kept / 2**30))
            for part in torch.tensor(list(order)).split(step):
                found = model({name: t[part] for name, t in inputs.items()})
                for name, scores in found.items():
                    assert torch.equal(scores, expected[name][part]), (name, bytes_kept, step)
            assert model.feature_cache.sizes.total() <= bytes_kept
    windows = 4 if config['test_cfg'] else 1
    assert model.feature_cache.misses == dict(support=6, query=3 * windows, comparison=12 * windows)


@torch.no_grad()
@pytest.mark.parametrize('part', ['backbone.conv1.weight', 'backbone.bn1.running_mean', 'decode_head.merge.0.weight'])
def test_new_weights_empty_it(part):
    model, inputs = toys.build(MODEL), toys.episodes(1)
    before = model(inputs)['final']
    tensor = model.state_dict()[part]
    tensor.add_(0.1 * tensor.abs().mean() + 0.1)
    after = model(inputs)['final']
    assert not torch.allclose(before, after)
    model.feature_cache = None
    assert torch.equal(model(inputs)['final'], after)


def test_training_frees_it_and_gradients_pass_it_by():
    model, inputs = toys.build(MODEL), toys.episodes(1)
    model(inputs)['final'].sum().backward()
    assert not len(model.feature_cache)
    with torch.no_grad():
        model(inputs)
    assert len(model.feature_cache) == 3
    assert not len(copy.deepcopy(model).feature_cache)
    model.train()
    assert not len(model.feature_cache) and not model.feature_cache.sizes.total()


@torch.no_grad()
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_rounded_values_give_nearly_the_same(dtype, monkeypatch):
    monkeypatch.setattr(encoding_store, 'EXACT_UP_TO', 64)
    inputs = returning()
    exact, rounded = toys.build(MODEL), toys.build(dict(MODEL, feature_cache_dtype=dtype))
    for _ in range(2):
        expected, found = exact(inputs), rounded(inputs)
    assert all((found[name] - expected[name]).abs().max() < 0.05 for name in ('final', 'meta'))
    assert rounded.feature_cache.sizes['query'] < 0.7 * exact.feature_cache.sizes['query']


# --- in files ---


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    return toys.episodes(2, 2)


def build(folder: Path, **options) -> torch.nn.Module:
    return toys.build(dict(MODEL, feature_cache_dir=str(folder), **options))


@torch.no_grad()
def test_a_second_run_starts_warm(tmp_path, inputs):
    first, second = build(tmp_path), build(tmp_path)
    expected = first(inputs)
    files = list(tmp_path.glob('*/*.pt'))
    assert len(files) == 6 and first.feature_cache.misses['support'] == 4
    assert not list(tmp_path.rglob('*.half'))
    found = second(inputs)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert second.feature_cache.hits == dict(support=4, query=2) and second.feature_cache.misses == dict(comparison=4)


@torch.no_grad()
@pytest.mark.parametrize('damage', ['cut', 'empty', 'foreign'])
def test_a_damaged_file_is_computed_again(tmp_path, inputs, damage):
    expected = build(tmp_path)(inputs)
    path = max(tmp_path.glob('*/*.pt'), key=lambda p: p.stat().st_size)
    whole = path.stat().st_size
    if damage == 'foreign':
        torch.save(dict(model=os.getcwd), path)
    else:
        os.truncate(path, whole // 2 if damage == 'cut' else 0)
    model = build(tmp_path)
    found = model(inputs)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model.feature_cache.hits.total() == 5 and path.stat().st_size == whole


@torch.no_grad()
def test_other_weights_or_settings_have_other_files(tmp_path, inputs):
    build(tmp_path)(inputs)
    other = build(tmp_path)
    other.decode_head.reduce_query[0].weight.mul_(1.01)
    other(inputs)
    third = build(tmp_path, decode_head=dict(toys.MSANET, squeezing='paper'))
    third(inputs)
    rounded = build(tmp_path, feature_cache_dtype='bfloat16')
    rounded(inputs)
    assert not any(model.feature_cache.hits for model in (other, third, rounded))
    assert len(list(tmp_path.iterdir())) == 4


@torch.no_grad()
def test_files_stay_within_their_bound(tmp_path, inputs):
    model = build(tmp_path, feature_cache_dir_gb=2e5 / 2**30)
    expected = model(inputs)
    total = sum(path.stat().st_size for path in tmp_path.glob('*/*.pt'))
    assert 0 < total < 2.5e5  # headers of the files come on top
    assert torch.equal(build(tmp_path)(inputs)['final'], expected['final'])


@torch.no_grad()
def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path, inputs):
    (tmp_path / 'file').write_text('')
    model = build(tmp_path / 'file')
    assert torch.equal(model(inputs)['final'], build(tmp_path / 'other')(inputs)['final'])
    with pytest.raises(ValueError, match='feature_cache_dir_gb=0'):
        EncodingFiles(tmp_path, 0)
