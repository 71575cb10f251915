# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The order of evaluation episodes, its shares of several processes, and what must not depend on it."""

import random
from collections import OrderedDict
from itertools import chain, zip_longest

import pytest
from helpers import TEST_PIPELINES, TRAIN_PIPELINES, pascal

from mmfss.datasets import EpisodicDataset, RevisitSampler, revisiting
from mmfss.datasets.revisiting import revisiting_order

PROTOCOL = dict(type='BalancedProtocol', runs=2, episodes=11)


def drawn(images: int, episodes: int, shots: int) -> tuple[list, list]:
    """Queries and supports of random episodes of five classes."""
    choose = random.Random(0)
    classes = [choose.randrange(5) for _ in range(episodes)]
    chosen = [choose.sample(range(images), 1 + shots) for _ in range(episodes)]
    supports = [[(c, i) for i in row[1:]] for c, row in zip(classes, chosen, strict=True)]
    return [100 * c + row[0] for c, row in zip(classes, chosen, strict=True)], supports


def misses(order, queries, supports, room: int) -> tuple[int, int]:
    """Queries and supports computed with a store that holds the last query and so many supports."""
    kept, last, found = OrderedDict(), None, [0, 0]
    for i in order:
        found[0] += queries[i] != last
        last = queries[i]
        for support in supports[i]:
            found[1] += support not in kept
            kept[support] = kept.pop(support, None)
        while len(kept) > room:
            kept.popitem(last=False)
    return tuple(found)


@pytest.mark.parametrize(('images', 'episodes', 'shots'), [(12, 600, 1), (12, 600, 5), (70, 1000, 1), (70, 1000, 5)])
def test_a_small_store_serves_the_order_well(images, episodes, shots):
    queries, supports = drawn(images, episodes, shots)
    order = revisiting_order(queries, supports)
    assert sorted(order) == list(range(episodes)) and order == revisiting_order(queries, supports)
    plain = misses(range(episodes), queries, supports, images // 2)
    grouped = sorted(range(episodes), key=lambda i: (supports[i][0][0], queries[i], supports[i]))
    simple = misses(grouped, queries, supports, images // 2)
    found = misses(order, queries, supports, images // 2)
    assert found[0] == len(set(queries)) < 0.6 * plain[0]  # a query once, whatever the room
    # where few pairs come again, following shared supports beats sorting by class and query
    assert found[1] < (0.9 if images == 70 else 1.0) * simple[1] and found[1] < 0.8 * plain[1]
    # with room for a class, every support nearly once
    assert misses(order, queries, supports, images + 10)[1] <= 1.4 * len({s for row in supports for s in row})


def dataset(root, **options) -> EpisodicDataset:
    return EpisodicDataset(pascal(root, fold=1), **{**TEST_PIPELINES, 'protocol': PROTOCOL, 'shots': 2, **options})


@pytest.mark.parametrize('processes', [1, 2, 4, 30])
def test_shares_have_no_gaps_and_joined_results_lose_nothing(voc, monkeypatch, processes):
    data, shares = dataset(voc), []
    whole = list(RevisitSampler(data))
    assert sorted(whole) == list(range(22)) and whole != list(range(22))
    for rank in range(processes):
        monkeypatch.setattr(revisiting, 'get_dist_info', lambda rank=rank: (rank, processes))
        sampler = RevisitSampler(data, seed=rank)
        sampler.set_epoch(1)
        shares.append(list(sampler))
        assert len(sampler) == len(shares[-1]) == -(-22 // processes)
        place = ''.join(chr(i) for i in whole).find(''.join(chr(i) for i in shares[-1][: 22 // processes]))
        assert place >= 0  # a piece of the order
    # mmengine takes one result of each process in turn and cuts what exceeds the number of episodes
    joined = list(chain.from_iterable(zip_longest(*shares)))[:22]
    assert sorted(joined) == list(range(22))


def test_the_list_and_its_items_stay(voc):
    data = dataset(voc)
    digest = data.metainfo['episodes_hash']
    seen = {i: data[i]['data_samples']['query'] for i in RevisitSampler(data)}
    assert all((s.run, s.episode) == divmod(i, 11) for i, s in seen.items())
    assert data.metainfo['episodes_hash'] == digest == dataset(voc).metainfo['episodes_hash']


def test_the_control_is_ordered_by_its_own_supports(voc):
    plain, wrong = dataset(voc).images_of_episodes(), dataset(voc, support_control='base').images_of_episodes()
    assert plain[0] == wrong[0] and plain[1] != wrong[1]
    base = dataset(voc).dataset.base_class_ids
    assert all(class_id in base for row in wrong[1] for class_id, _ in row)


def test_what_cannot_be_ordered_is_refused(voc):
    with pytest.raises(ValueError, match='drawn anew'):
        RevisitSampler(EpisodicDataset(pascal(voc, 'train', fold=1), **TRAIN_PIPELINES))
    with pytest.raises(TypeError, match='not of list'):
        RevisitSampler([1, 2])
