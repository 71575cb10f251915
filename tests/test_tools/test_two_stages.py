# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""tools/train.py and tools/test.py from end to end, as a user starts them."""

import json
import re
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tool_runs import CONFIGS, run, start


def metrics_of(output: str) -> dict[str, float]:
    """The numbers of the last evaluation line of a log."""
    line = [line for line in output.splitlines() if re.search(r'Epoch\((test|val)\)', line)][-1]
    pairs = re.findall(r'(\S+): (-?[\d.]+)', line.split(']')[-1])
    return {name: float(value) for name, value in pairs if 'time' not in name}


def test_training_does_both_stages_and_says_so(trained_1shot, work_root):
    output, best = trained_1shot
    assert 'is missing. Stage 1 of 2' in output
    assert 'Stage 1 of 2 is done' in output and 'Stage 2 of 2' in output
    assert re.search(r'eta: \d', output), 'progress has a remaining time'
    learner = torch.load(work_root / 'tiny_base' / 'fold1' / 'base_learner.pth', weights_only=True)
    assert learner['meta']['fold'] == 1 and len(learner['meta']['base_class_names']) == 15
    # Checkpoints carry the base learner and say what they were trained on.
    content = torch.load(best, weights_only=False)
    assert torch.equal(
        content['state_dict']['base_head.conv_seg.weight'], learner['state_dict']['decode_head.conv_seg.weight']
    )
    assert content['meta']['dataset_meta']['fold'] == 1


def test_testing_gives_the_numbers_of_validation(trained_1shot, tiny_options, tmp_path):
    output, best = trained_1shot
    tested = run(
        'test.py',
        CONFIGS / 'tiny_1shot.py',
        best,
        *tiny_options,
        '--show-dir',
        tmp_path / 'show',
        '--out',
        tmp_path / 'out',
        '--work-dir',
        tmp_path / 'run',
    )
    numbers = metrics_of(tested)
    assert {'mIoU', 'FB-IoU', 'meta/mIoU', 'prototype/mIoU'} <= numbers.keys()
    assert 0 < numbers['mIoU'] < 100
    validated = re.search(
        r'The best checkpoint with ([\d.]+) mIoU', output[output.rindex(f'is saved to {best.name}') - 200 :]
    )
    assert numbers['mIoU'] == pytest.approx(float(validated.group(1)), abs=2e-4)
    (result,) = (tmp_path / 'run').rglob('results_*.json')
    assert json.loads(result.read_text())
    assert len(list((tmp_path / 'show').glob('*.png'))) == 30
    masks = sorted((tmp_path / 'out').glob('*.png'))
    assert len(masks) == 30
    mask = np.asarray(Image.open(masks[0]))
    assert mask.shape == (64, 64) and set(np.unique(mask)) <= {0, 1}


def test_support_control_keeps_the_episodes(trained_1shot, tiny_options, tmp_path):
    _, best = trained_1shot
    output = run(
        'test.py',
        CONFIGS / 'tiny_1shot.py',
        best,
        *tiny_options,
        '--support-control',
        'wrong_novel',
        '--work-dir',
        tmp_path,
    )
    assert metrics_of(output)['mIoU'] >= 0
    assert list(tmp_path.rglob('results_*wrong_novel*.json'))


@pytest.mark.slow
def test_5shot_uses_the_base_learner_that_is_there(trained_1shot, tiny_options, work_root):
    output = run('train.py', CONFIGS / 'tiny_5shot.py', *tiny_options)
    assert 'Base learner: using' in output and 'Stage 1 of 2' not in output
    best = next((work_root / 'tiny_5shot' / 'fold1').glob('best_mIoU_*.pth'))
    tested = run('test.py', CONFIGS / 'tiny_5shot.py', best, *tiny_options)
    assert 0 < metrics_of(tested)['mIoU'] < 100


def test_another_fold_than_trained_is_refused(trained_1shot, tiny_options):
    _, best = trained_1shot
    options = ['--fold', '2', *tiny_options[2:]]
    output = run('test.py', CONFIGS / 'tiny_1shot.py', best, *options, fails=True)
    assert 'fold 1 instead of 2' in output


def test_two_processes_evaluate_like_one(trained_1shot, tiny_options):
    _, best = trained_1shot
    one = run('test.py', CONFIGS / 'tiny_1shot.py', best, *tiny_options)
    # Three processes do not divide the episodes evenly: padded ones must not count twice.
    two = run('dist_test.sh', CONFIGS / 'tiny_1shot.py', best, 2, *tiny_options)
    assert metrics_of(one) == metrics_of(two)


@pytest.mark.slow
def test_results_depend_neither_on_the_store_nor_on_order_batch_and_processes(trained_1shot, tiny_options, tmp_path):
    _, best = trained_1shot
    ways = dict(
        plain=[
            'model.feature_cache_gb=0',
            'test_dataloader.batch_size=1',
            'test_dataloader.sampler.type=DefaultSampler',
        ],
        small=['model.feature_cache_gb=1e-4', 'test_dataloader.batch_size=3'],
        files=[f'model.feature_cache_dir={tmp_path / "kept"}'],
    )
    reports = {}
    for name, options in ways.items():
        tool, processes = ('dist_test.sh', [2]) if name == 'files' else ('test.py', [])
        given = [*processes, *tiny_options, '--work-dir', tmp_path / name, '--cfg-options', *options]
        output = run(tool, CONFIGS / 'tiny_1shot.py', best, *given)
        assert ('support computed' in output) == (name != 'plain')
        (result,) = (tmp_path / name).rglob('results_*.json')
        report = json.loads(result.read_text())
        reports[name] = {key: value for key, value in report.items() if key != 'time'}
    assert reports['plain'] == reports['small'] == reports['files']
    assert list((tmp_path / 'kept').glob('*/*.pt'))


def test_two_processes_train_one_model(trained_1shot, tiny_options, work_root):
    run('dist_train.sh', CONFIGS / 'tiny_ranks.py', 2, *tiny_options)
    folder = work_root / 'tiny_ranks' / 'fold1'
    first, second = (torch.load(folder / f'rank{rank}.pth') for rank in (0, 1))
    assert first['seen'] and set(first['seen'][:20]).isdisjoint(second['seen'][:20])
    start_weights = torch.load(work_root / 'tiny_base' / 'fold1' / 'base_learner.pth')['state_dict']
    for name, weight in first['weights'].items():
        assert torch.equal(weight, second['weights'][name]), name
    assert torch.equal(first['weights']['backbone.conv1.weight'], start_weights['backbone.conv1.weight'])


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['tiny_base', 'tiny_1shot'])
def test_a_killed_run_resumes_in_either_stage(tiny_options, tmp_path, stage):
    options = [*tiny_options[:-1], tmp_path]
    process = start('train.py', CONFIGS / 'tiny_1shot.py', *options, start_new_session=True)
    deadline = time.time() + 300
    while not (tmp_path / stage / 'fold1' / 'last_checkpoint').exists():
        assert process.poll() is None and time.time() < deadline, process.communicate()[0][-3000:]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    output = run('train.py', CONFIGS / 'tiny_1shot.py', *options, '--resume')
    assert 'resumed epoch: ' in output
    assert ('Base learner: using' in output) == (stage == 'tiny_1shot')
    assert list((tmp_path / 'tiny_1shot' / 'fold1').glob('best_mIoU_*.pth'))


@pytest.mark.slow
def test_two_processes_train_both_stages(tiny_options, tmp_path):
    options = [*tiny_options[:-1], tmp_path]
    output = run('dist_train.sh', CONFIGS / 'tiny_1shot.py', 2, *options)
    assert output.count('Stage 1 of 2 is done') == 1
    assert list((tmp_path / 'tiny_1shot' / 'fold1').glob('best_mIoU_*.pth'))
