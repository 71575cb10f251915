# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The quickstart's steps, with stand-ins for the two tools that it calls."""

import importlib.util
import json
import logging
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'tools' / 'quickstart.py'

STAGE1 = """
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'
work_dir = f'{work_root}/stage1'
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
"""
STAGE2 = """
fold = int('{{$FOLD:0}}')
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'
work_dir = f'{work_root}/stage2/fold{fold}'
train_cfg = dict(type='IterBasedTrainLoop', max_iters=100)
base_learner = dict(config='STAGE1', checkpoint=f'{work_root}/stage1/base_learner.pth')
"""
TOOL = """
import json, os, sys
from pathlib import Path
root = Path(os.environ['MMFSS_WORK_ROOT'])
with open(root.parent / 'calls.txt', 'a') as file:
    file.write(' '.join(sys.argv) + chr(10))
"""
TRAIN = (
    TOOL
    + """
if (root.parent / 'break').exists():
    sys.exit('the disk is full of cats')
work = root / 'stage2/fold0'
work.mkdir(parents=True, exist_ok=True)
(root / 'stage1').mkdir(exist_ok=True)
print('mmengine - INFO - Epoch(train)  [2][ 5/10]  lr: 1.0e-02  eta: 0:00:01')
print('Stage 1 of 2 is done: there. Stage 2 of 2: training the meta learner.')
print('mmengine - INFO - Iter(train) [ 50/100]  lr: 1.0e-02  eta: 0:00:01')
(root / 'stage1/base_learner.pth').write_text('')
(work / 'iter_100.pth').write_text('')
(work / 'last_checkpoint').write_text(str(work / 'iter_100.pth'))
"""
)
TEST = (
    TOOL
    + """
out = root / 'test_fold0'
(out / '2020').mkdir(parents=True, exist_ok=True)
(out / 'figures').mkdir(exist_ok=True)
for iou in ('12.5', '47.0', '90.1'):
    (out / f'figures/run0_ep0_star_x_iou{iou}.png').write_text('')
print('mmengine - INFO - Epoch(test) [100/300]  eta: 0:00:01')
entry = {'mIoU': 50.0 + int(root.name[-1]), 'FB-IoU': 70.0}
(out / '2020/results_balanced.json').write_text(json.dumps(dict(
    format='mmfss-results-1', episodes_hash='abc', shots=1, num_episodes=300, protocol='balanced', fold=0,
    support_control=None, episodes=[], per_class=[dict(name='checkered star', episodes=300, IoU={})],
    summary={'final': entry, 'all-foreground': entry})))
"""
)


@pytest.fixture
def quickstart(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('quickstart', PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'quickstart', module)
    spec.loader.exec_module(module)
    for name, text in (
        ('stage1_cfg.py', STAGE1),
        ('train.py', TRAIN),
        ('test.py', TEST),
        ('cfg.py', STAGE2.replace('STAGE1', str(tmp_path / 'stage1_cfg.py'))),
    ):
        (tmp_path / name).write_text(text)
    for variable in ('FOLD', 'MMFSS_DATA_ROOT', 'MMFSS_WORK_ROOT'):
        monkeypatch.setenv(variable, '')  # put back afterwards
    monkeypatch.setattr(module, '_TOOLS', tmp_path)
    monkeypatch.setattr(module, 'generate_shapes', lambda *args, **kwargs: False)

    def run(*options: str) -> None:
        monkeypatch.setattr(
            sys,
            'argv',
            [
                'quickstart.py',
                '--config',
                str(tmp_path / 'cfg.py'),
                '--data-root',
                str(tmp_path / 'data'),
                '--work-root',
                str(tmp_path / 'work'),
                *options,
            ],
        )
        module.main()

    module.run = run
    logging.disable(logging.INFO)  # as the tool does when it is a program
    yield module
    logging.disable(logging.NOTSET)


def calls(tmp_path) -> list[str]:
    return [Path(line.split()[0]).name for line in (tmp_path / 'work/calls.txt').read_text().splitlines()]


def test_everything_once_and_one_table(quickstart, tmp_path, capsys):
    quickstart.run()
    out = capsys.readouterr().out
    assert '| final          | 50.0 |  70.0  |' in out and 'hash abc' in out
    assert 'prototype' not in out  # a row that was not measured is not shown
    assert out.rstrip().endswith('iou47.0.png') and 'checkered star' in out
    assert calls(tmp_path) == ['train.py', 'test.py']
    command = (tmp_path / 'work/calls.txt').read_text().splitlines()[0]
    assert '--resume' in command and ' randomness.seed=0' in command
    assert 'base_learner.cfg_options.randomness.seed=0' in command
    quickstart.run()
    assert calls(tmp_path) == ['train.py', 'test.py']
    assert capsys.readouterr().out == out


def test_more_seeds_reuse_the_first(quickstart, tmp_path, capsys):
    quickstart.run()
    quickstart.run('--seeds', '0', '1', '2')
    assert calls(tmp_path) == ['train.py', 'test.py'] * 3
    assert '51.0 +- 1.0' in capsys.readouterr().out


def test_failure_shows_the_cause_and_goes_on_later(quickstart, tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work/break').write_text('')
    with pytest.raises(SystemExit, match='(?s)full of cats.*train.py failed.*quickstart.log'):
        quickstart.run()
    (tmp_path / 'work/break').unlink()
    quickstart.run()
    assert calls(tmp_path) == ['train.py', 'train.py', 'test.py']


@pytest.mark.parametrize(
    'lost, again',
    [
        ('checkpoint', ['train.py', 'test.py']),
        ('result', ['test.py']),
    ],
)
def test_what_was_lost_is_made_again(quickstart, tmp_path, lost, again):
    quickstart.run()
    state = json.loads((tmp_path / 'work/seed0/quickstart_fold0.json').read_text())
    Path(state[lost]).unlink()
    quickstart.run()
    assert calls(tmp_path)[2:] == again


def test_another_config_is_refused(quickstart, tmp_path):
    quickstart.run()
    (tmp_path / 'cfg.py').write_text((tmp_path / 'cfg.py').read_text() + '\nseed = 5\n')
    with pytest.raises(SystemExit, match='--work-root'):
        quickstart.run()


@pytest.mark.parametrize(
    'line, epochs, share',
    [
        ('Epoch(train)  [2][ 5/10]  lr: 1.0e-02', 4, 0.375),
        ('Iter(train) [ 50/100]  lr: 1.0e-02', None, 0.5),
        ('Epoch(test) [ 30/300]    eta: 0:00:20', None, 0.1),
        ('Epoch(val)  [2][10/10]  mIoU: 40', 4, None),
        ('Loads checkpoint by local backend', None, None),
    ],
)
def test_progress_is_read_from_the_log(quickstart, line, epochs, share):
    assert quickstart.fraction(line, epochs) == share
