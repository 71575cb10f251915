# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Clocks, memory, parts and synthetic episodes of the benchmark."""

import time
from types import SimpleNamespace

import pytest
import torch

from mmfss.benchmark import Setup, line_up, table
from mmfss.benchmark.episodes import disc, episode
from mmfss.benchmark.memory import process_peak
from mmfss.benchmark.models import set_precision
from mmfss.benchmark.parts import REST, flops, part_flops, part_seconds
from mmfss.benchmark.timing import alternate, matrix_product_speed, spread

CPU = torch.device('cpu')
TINY = Setup('tests/configs/tiny_1shot.py', size=41)


def allocate(mebibytes: int):
    """For a process of its own: a call that needs so much memory."""
    return lambda: torch.ones(mebibytes * 2**18).sum()


def fail():
    raise ValueError('no model here')


def test_competitors_take_turns_and_inputs_are_made_outside_the_clock():
    calls = []

    def competitor(name):
        def prepare(number):
            time.sleep(0.02)
            return lambda: calls.append((number, name))

        return prepare

    seconds = alternate({name: competitor(name) for name in 'abc'}, 3, CPU, warmup=1)
    assert [name for _, name in calls] == list('cab' + 'abc' + 'bca' + 'cab')
    assert [number for number, _ in calls] == [-1] * 3 + [0] * 3 + [1] * 3 + [2] * 3
    assert all(len(laps) == 3 and max(laps) < 0.01 for laps in seconds.values())


def test_one_slow_round_does_not_move_the_median():
    assert spread([1.0, 1.1, 0.9, 1.0, 50.0]) == dict(low=1.0, median=1.0, high=1.1)
    assert spread([2.0])['median'] == 2.0


def test_the_peak_of_a_process_is_that_of_the_call():
    small, large = (process_peak(allocate, size) for size in (20, 220))
    assert 190 < (large['working'] - small['working']) / 2**20 < 210
    assert large['peak'] > large['working']


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match='ValueError: no model here'):
        process_peak(fail)


def test_parts_within_parts_count_once_and_operations_are_counted():
    a, b = torch.ones(8, 16), torch.ones(16, 4)

    def product():
        time.sleep(0.02)
        return a @ b

    owner = SimpleNamespace(inner=product)
    owner.outer = lambda: (time.sleep(0.03), owner.inner())
    parts = dict(outer=[(owner, 'outer')], inner=[(owner, 'inner')])
    seconds = part_seconds(lambda: owner.outer(), parts, CPU)
    assert 0.03 <= seconds['outer'] < 0.05 and 0.02 <= seconds['inner'] < 0.03 and seconds[REST] < 0.01
    assert owner.inner is product
    assert part_flops(lambda: (owner.outer(), a @ b), parts) == dict(outer=0, inner=2 * 8 * 16 * 4, rest=2 * 8 * 16 * 4)
    assert flops(lambda: a @ b) == 2 * 8 * 16 * 4
    assert matrix_product_speed(torch.float32, CPU) > 1e8


@pytest.mark.parametrize('share', [0.05, 0.19, 0.5, 1.0])
def test_supports_have_the_wanted_foreground(share):
    assert disc(97, share).float().mean() == pytest.approx(share, abs=1e-3)


def test_episodes_follow_from_the_seed():
    one, again, other = (episode(2, 3, 41, 0.19, seed, CPU) for seed in (1, 1, 2))
    assert one['support'].shape == (2, 3, 3, 41, 41) and one['support_mask'].shape == (2, 3, 41, 41)
    assert all(tensor.equal(again[name]) for name, tensor in one.items())
    assert not one['query'].equal(other['query'])


def test_random_weights_give_masks_that_depend_on_every_part():
    own, plain = line_up(Setup(**{**vars(TINY), 'plain': 'tests/plain_msanet.py'}))
    inputs = TINY.episode(0)
    scores = own.scores(inputs)
    assert 0.02 < scores['final'].argmax(1).float().mean() < 0.98
    for one in (own, plain):
        seconds = part_seconds(one.prepare('joint', 0), one.parts(), CPU)
        assert min(seconds.values()) > 0, one.name


def test_a_model_without_the_option_refuses_a_precision():
    model = torch.nn.Module()
    assert set_precision(model, 'float32') is model
    with pytest.raises(ValueError, match='Module has no `precision`'):
        set_precision(model, 'bfloat16')
    model.precision = 'float32'
    assert set_precision(model, 'bfloat16').precision == 'bfloat16'


def test_the_table_gives_ratios_to_the_peer():
    row = dict(seconds=[1.0], median=1.0, low=0.9, high=1.2, flops=2_000_000_000, peak=3 * 2**20, working=2**20)
    result = dict(
        setup=dict(config='a.py', shots=1, size=473, share=0.19, batch_size=1),
        machine=dict(cpu='a CPU', cores=2, threads=2, torch='2'),
        peer='plain',
        agreement=dict(mmfss=dict(deviation=1e-6, wanted=1e-4, equal_pixels=1.0)),
        matrix_product=dict(float32=1e11),
        competitors=dict(mmfss=dict(parameters=2_000_000, learned=1_000_000, bank_bytes=2**21)),
        measures=dict(joint=dict(mmfss=dict(row, ratio=1.5), plain=row)),
        parts=dict(mmfss=dict(backbone=dict(seconds=0.5, share=0.5, flops=10**9, of_matrix_product=0.02))),
    )
    text = table(result)
    assert '| joint | mmfss | 1.000 (0.900-1.200) | 1.50 | 2 | 3 (1) |' in text
    assert '| backbone | 0.500 | 50% | 1 | 2% |' in text and '1.0e-06 standard deviations, at most 1e-04' in text
