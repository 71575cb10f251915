# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Processes and accumulated batches divide the work; the numbers stay those of one process."""

import json

import pytest
import torch
from tool_runs import CONFIGS, run


def trained(folder, ranks=(0,)):
    """Weights after a training of tiny_fixed.py, and the queries it saw."""
    states = [torch.load(folder / f'rank{rank}.pth') for rank in ranks]
    return states[0]['weights'], sorted(name for state in states for name in state['seen'])


@pytest.mark.slow
def test_a_step_is_the_same_however_it_is_divided(trained_1shot, tiny_options, work_root):
    """One process, two accumulated batches, two processes, and both: each step sees the same 8 episodes."""
    folder = work_root / 'tiny_fixed' / 'fold1'
    config, halves = CONFIGS / 'tiny_fixed.py', ['--cfg-options', 'optim_wrapper.accumulative_counts=2']
    run('train.py', config, *tiny_options)
    whole, seen = trained(folder)
    start = torch.load(folder / 'rank0.pth')['start']
    assert len(seen) == 64 and max((whole[key] - start[key]).abs().max() for key in whole) > 1e-3, 'it has learnt'
    for name, tool, ranks, options in (
        ('accumulated', 'train.py', (0,), halves),
        ('processes', 'dist_train.sh', (0, 1), []),
        ('both', 'dist_train.sh', (0, 1), halves),
    ):
        arguments = [config, 2] if tool == 'dist_train.sh' else [config]
        output = run(tool, *arguments, *tiny_options, *options)
        assert 'Scaling the original LR by 2.0' in output
        weights, others = trained(folder, ranks)
        assert others == seen
        for key, weight in whole.items():
            assert torch.allclose(weights[key], weight, rtol=1e-4, atol=1e-5), (name, key)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 4])
def test_evaluation_divided_among_processes_gives_the_same_report(trained_1shot, tiny_options, tmp_path, processes):
    """Four processes do not divide the 30 episodes evenly: padded ones must not count twice."""
    _, best = trained_1shot
    reports = []
    for name, arguments in (
        ('one', ['test.py', CONFIGS / 'tiny_1shot.py', best]),
        ('many', ['dist_test.sh', CONFIGS / 'tiny_1shot.py', best, processes]),
    ):
        run(*arguments, *tiny_options, '--work-dir', tmp_path / name)
        (path,) = (tmp_path / name).rglob('results_*.json')
        reports.append(json.loads(path.read_text()))
    one, many = reports
    assert len(one['episodes']) == 30
    for key in ('episodes', 'episodes_hash', 'num_episodes', 'per_class', 'per_run', 'pooled', 'summary'):
        assert_same(one[key], many[key])


def assert_same(one, other):
    """Equal structure, numbers within 1e-9."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == (pytest.approx(other, abs=1e-9) if isinstance(one, float) else other)
