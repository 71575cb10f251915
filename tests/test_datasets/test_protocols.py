# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episodes follow from (protocol, seed, index) alone, and lists of them can be frozen."""

import random
from collections import Counter

import numpy as np
import pytest
from helpers import pascal, scenes, write_voc

from mmfss.datasets import (
    AsgnetProtocol,
    BalancedProtocol,
    BamProtocol,
    HdmnetProtocol,
    HsnetProtocol,
    PanetProtocol,
    PfenetProtocol,
    ReleasedHsnetProtocol,
    RepriProtocol,
    episodes_hash,
    read_episodes,
    write_episodes,
)
from mmfss.datasets.protocols import AllBut, KeyedRandom
from mmfss.registry import DATASETS, TASK_UTILS

ALL = [
    BamProtocol,
    PfenetProtocol,
    HdmnetProtocol,
    HsnetProtocol,
    ReleasedHsnetProtocol,
    AsgnetProtocol,
    RepriProtocol,
    PanetProtocol,
    BalancedProtocol,
]


@pytest.fixture(scope='module')
def data(voc):
    return DATASETS.build(pascal(voc, fold=1))


def images_of(data, class_name):
    c = data.class_names.index(class_name)
    return {data.name(data.position(i)) for i in data.candidates(c)}


def test_repris_episodes_are_bams_and_a_class_that_is_never_drawn_is_left_out(data):
    assert RepriProtocol().sample(data, 1)[:50] == BamProtocol().sample(data, 1)[:50]
    assert BamProtocol.missing_classes_as_zero and not RepriProtocol.missing_classes_as_zero


@pytest.mark.parametrize('protocol', ALL)
@pytest.mark.parametrize('shots', [1, 3])
def test_what_every_protocol_keeps(data, protocol, shots):
    episodes = protocol(runs=2, episodes=30, seed=3).sample(data, shots)
    assert [(e.run, e.episode) for e in episodes] == [(r, i) for r in (0, 1) for i in range(30)]
    for e in episodes:
        assert len(e.supports) == shots and e.query not in e.supports
        assert set(e.supports) <= images_of(data, e.class_name)
        if protocol.distinct_supports:
            assert len(set(e.supports)) == shots


@pytest.mark.parametrize('protocol', ALL)
def test_global_random_state_has_no_say(data, protocol):
    hashes = set()
    for seed in (0, 1):
        np.random.seed(seed)
        hashes.add(episodes_hash(protocol(runs=2, episodes=20).sample(data, 1)))
    assert len(hashes) == 1
    other = protocol(runs=2, episodes=20, seed=77).sample(data, 1)
    assert episodes_hash(other) not in hashes


def test_draws_stay_what_they_are():
    """Frozen: a change here makes every published hash worthless."""
    draw = KeyedRandom(123, 0, 7)
    assert [draw.index(1000) for _ in range(4)] == [725, 682, 489, 207]
    assert KeyedRandom(123, 0, 7).sample('abcdef', 3) == ['e', 'a', 'd']
    assert KeyedRandom(123, 0, 7, purpose=1).index(1000) == 527
    counts = Counter(KeyedRandom(5, i).index(4) for i in range(4000))
    assert all(abs(n - 1000) < 130 for n in counts.values())


def test_others():
    assert list(AllBut([2, 5, 9], 5)) == [2, 9] and list(AllBut([2, 5, 9], 9)) == [2, 5]
    assert list(AllBut([2, 5, 9], 4)) == list(AllBut([2, 5, 9], 11)) == [2, 5, 9]
    triples = Counter(tuple(KeyedRandom(1, i).sample(AllBut(range(5), 2), 3)) for i in range(4800))
    assert len(triples) == 24 and all(120 < n < 290 for n in triples.values())


def test_hash_stays_what_it_is(data):
    episodes = BalancedProtocol(runs=1, episodes=10, seed=0).sample(data, 2)
    assert episodes_hash(episodes) == ('20c11266b125d847187fcfa7f32cedce8a1a84fce835a870bd065fdac08dfc9a')


def test_bam_follows_the_list(data):
    episodes = BamProtocol(runs=2, episodes=50).sample(data, 1)
    order = [data.get_data_info(i)['name'] for i in range(len(data))]
    assert [e.query for e in episodes[:50]] == (order * 3)[:50]
    assert [e.query for e in episodes[50:]] == (order * 3)[:50]
    # val_06_3 holds class 7 too, below the area rule: it may be asked for all the same.
    long = BamProtocol(runs=1, episodes=2000).sample(data, 1)
    asked = Counter(e.class_name for e in long if e.query == 'val_06_3')
    assert set(asked) == {'bus', 'car'} and abs(asked['bus'] - asked['car']) < 40


def test_balanced_asks_every_class_and_image_equally(data):
    episodes = BalancedProtocol(runs=3, episodes=40).sample(data, 1)
    for run in range(3):
        mine = [e for e in episodes if e.run == run]
        assert set(Counter(e.class_name for e in mine).values()) == {8}
        queries = Counter((e.class_name, e.query) for e in mine)
        assert set(queries.values()) == {2} and len(queries) == 20
    assert [e.query for e in episodes[:40]] != [e.query for e in episodes[40:80]]


def test_hsnet_repeats_supports_and_counts_pairs(data):
    episodes = HsnetProtocol(episodes=100).sample(data, 3)
    assert any(len(set(e.supports)) < 3 for e in episodes)
    assert len({(e.query, e.class_name) for e in episodes}) == 20
    by_class = HsnetProtocol(episodes=500, order='class').sample(data, 1)
    assert all(70 < n < 130 for n in Counter(e.class_name for e in by_class).values())
    with pytest.raises(ValueError, match='order'):
        HsnetProtocol(order='random')


def released_draws(pairs, order, episodes, shots):
    """The released samplers' draws, from NumPy's global state."""
    np.random.seed(0)
    lists = {c: [name for name, own in pairs if own == c] for c in sorted({c for _, c in pairs})}
    for i in range(episodes):
        if order == 'list':
            query, c = pairs[i % len(pairs)]
        else:
            c = np.random.choice(list(lists), 1, replace=False)[0]
            query = np.random.choice(lists[c], 1, replace=False)[0]
        supports = []
        while len(supports) < shots:
            name = np.random.choice(lists[c], 1, replace=False)[0]
            supports += [name] if name != query else []
        yield query, c, tuple(supports)


@pytest.mark.parametrize('order', ['list', 'class'])
def test_released_hsnet_draws(data, order, tmp_path):
    pairs = [(f'{n}', c) for c in (6, 9, 10) for n in ('val_06_1', 'val_07_0', 'val_07_2', 'val_10_1')]
    (tmp_path / 'fold1.txt').write_text(''.join(f'{name}__{c:02d}\n' for name, c in pairs))
    own = sorted((n, c) for c in data.phase_class_ids for n in images_of(data, data.class_names[c]))
    for listed, expected in ((str(tmp_path / 'fold{fold}.txt'), pairs), (None, own)):
        found = ReleasedHsnetProtocol(pairs=listed, order=order, episodes=40).sample(data, 3)
        drawn = [(e.query, data.class_names.index(e.class_name), e.supports) for e in found]
        assert drawn == list(released_draws(expected, order, 40, 3))


@pytest.mark.parametrize(
    'lines, message',
    [
        (None, 'There is no list of pairs'),
        ('a__06 b__06 c__11', 'c__11.*class of this fold'),
        ('a__06 b', "'b' is no NAME__NUMBER"),
        ('a__06 b__06 c__07', 'class 7 has one image'),
        ('', 'is empty'),
    ],
)
def test_released_lists_that_are_none(data, tmp_path, lines, message):
    if lines is not None:
        (tmp_path / 'list.txt').write_text('\n'.join(lines.split()))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ReleasedHsnetProtocol(pairs=str(tmp_path / 'list.txt')).sample(data, 1)


@pytest.mark.parametrize('ways, shots', [(1, 1), (2, 1), (2, 3), (5, 2)])
def test_panet_draws_as_its_released_code(data, ways, shots):
    pools = [[data.name(p) for p in data.support_positions(c)] for c in data.phase_class_ids]
    names = [data.class_names[c] for c in data.phase_class_ids]
    found = PanetProtocol(runs=2, episodes=5, seed=7).sample_ways(data, shots, ways)
    for run in range(2):
        random.seed(7 + run)
        (query_way,) = random.choices(range(ways), k=1)
        for e in found[5 * run : 5 * run + 5]:
            assert (e.run, e.query_way) == (run, query_way)
            for way, c in enumerate(random.sample(range(5), k=ways)):
                images = [pools[c][i] for i in random.sample(range(len(pools[c])), k=shots + (way == query_way))]
                assert e.class_names[way] == names[c] and list(e.supports[way]) == images[:shots]
                assert way != query_way or e.query == images[-1]
    if ways == 1:
        one = PanetProtocol(runs=2, episodes=5, seed=7).sample(data, shots)
        assert [(e.class_name, e.query, e.supports) for e in one] == [
            (e.class_names[0], e.query, e.supports[0]) for e in found
        ]


def test_panet_needs_as_many_classes_as_ways(data):
    with pytest.raises(ValueError, match='6-way episodes need 6 classes with images; fold 1 has 5'):
        PanetProtocol().sample_ways(data, 1, 6)


def test_min_images_restricts_the_classes(tmp_path, logged):
    images = scenes('val')
    images.update({f'more_{k}': [(7, 200)] for k in range(3)})
    data = DATASETS.build(pascal(write_voc(tmp_path, val=images), fold=1))
    protocol = BalancedProtocol(runs=1, episodes=9, min_images=7)
    assert {e.class_name for e in protocol.sample(data, 1)} == {'car'}
    assert protocol.eval_classes(data) == (7,)
    assert any('left out' in m and 'bus (4)' in m for m in logged)
    queries = {e.query for e in BamProtocol(runs=1, episodes=9, min_images=7).sample(data, 1)}
    assert queries <= {'val_06_3', *(f'{n}_{k}' for n in ('val_07', 'more') for k in range(4))}
    with pytest.raises(ValueError, match=r'No class of fold 1 has 9 candidate images.*car 7'):
        BalancedProtocol(min_images=9).sample(data, 1)


@pytest.mark.parametrize('protocol', [BamProtocol, BalancedProtocol])
def test_class_with_fewer_than_k_plus_1_images(data, protocol):
    with pytest.raises(ValueError, match=r'4-shot .* 5 candidate images.*bus \(4\).*min_images=5'):
        protocol(episodes=5).sample(data, 4)


def test_class_without_images_is_evaluated_but_not_drawn(tmp_path):
    images = {name: parts for name, parts in scenes('val').items() if name[4:6] != '08'}
    data = DATASETS.build(pascal(write_voc(tmp_path, val=images), fold=1))
    for protocol in (BamProtocol(runs=1, episodes=60), BalancedProtocol(runs=1, episodes=60)):
        drawn = {e.class_name for e in protocol.sample(data, 1)}
        # cat is still there in val_07_3, but below the area rule: no support, so never asked for
        assert drawn == {'bus', 'car', 'chair', 'cow'}
        assert protocol.eval_classes(data) == (6, 7, 8, 9, 10)


def test_built_by_config_and_checked():
    protocol = TASK_UTILS.build(dict(type='BamProtocol', runs=2))
    assert (protocol.name, protocol.runs, protocol.missing_classes_as_zero) == ('bam', 2, True)
    with pytest.raises(ValueError, match='runs'):
        BamProtocol(runs=0)


def test_frozen_list_round_trip(data, tmp_path):
    episodes = BalancedProtocol(runs=2, episodes=7).sample(data, 2)
    write_episodes(tmp_path / 'lists/e.jsonl', episodes, dict(protocol='balanced', fold=1))
    header, again = read_episodes(tmp_path / 'lists/e.jsonl')
    assert again == episodes and header['hash'] == episodes_hash(episodes)
    assert header['protocol'] == 'balanced'
    assert [p.name for p in (tmp_path / 'lists').iterdir()] == ['e.jsonl']


def test_broken_lists_are_refused(data, tmp_path):
    file = tmp_path / 'e.jsonl'
    write_episodes(file, BalancedProtocol(runs=1, episodes=5).sample(data, 1), {})
    text = file.read_text()
    file.write_text(text.replace('val_06', 'val_07'))
    with pytest.raises(ValueError, match='does not match the hash'):
        read_episodes(file)
    file.write_text(''.join(text.splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match='cut off'):
        read_episodes(file)
    for wrong in ('', 'hello', '{"a": 1}\n', '{"format": "other"}\n'):
        file.write_text(wrong)
        with pytest.raises(ValueError, match='is not an episode list'):
            read_episodes(file)
    with pytest.raises(FileNotFoundError):
        read_episodes(tmp_path / 'none')
