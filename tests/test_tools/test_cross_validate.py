# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""All folds in one go, with stand-ins for the tools that are called."""

import importlib.util
import json
import logging
import os
import sys
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from mmfss.datasets import Pascal5iDataset

PATH = Path(__file__).parents[2] / 'tools' / 'cross_validate.py'

CONFIG = """
fold = int('{{$FOLD:0}}')
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'
work_dir = f'{work_root}/msanet/fold{fold}'
lr = 0.1
test_dataloader = dict(dataset=dict(type='EpisodicDataset', dataset=dict(type='Pascal5iDataset')))
test_evaluator = dict(type='FewShotIoUMetric')
"""
TOOL = """#!PYTHON
import json, os, sys
from pathlib import Path
root, fold = Path(os.environ['MMFSS_WORK_ROOT']), int(os.environ['FOLD'])
option = lambda name: sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None
assert option('--fold') == str(fold) and option('--work-root') == str(root)
with open(root.parent / 'calls.txt', 'a') as file:
    file.write(' '.join([Path(sys.argv[0]).name, *sys.argv[1:]]) + chr(10))
print('mmengine - INFO - Iter(train) [ 50/100]  lr: 1.0e-02  eta: 0:00:01  time: 1')
if (root.parent / f'break{fold}').exists():
    sys.exit('the disk is full of cats')
work = root / (f'msanet/fold{fold}' + (f'_{option("--shots")}' if option('--shots') else ''))
"""
TRAIN = (
    TOOL
    + """
work.mkdir(parents=True, exist_ok=True)
(work / 'meta_learner.pth').write_text('weights')
"""
)
TEST = (
    TOOL
    + """
protocol = option('--protocol') or 'balanced'
assert Path(sys.argv[2]) == work / 'meta_learner.pth'
out = Path(option('--work-dir')) / '2020'
out.mkdir(parents=True, exist_ok=True)
shift = (protocol == 'bam') + 10 * (option('--support-control') is not None)
entry = lambda x: {'mIoU': x + fold - shift, 'mIoU_std': 0.5, 'FB-IoU': 70.0 + fold, 'FB-IoU_std': 0.1}
(out / f'results_{protocol}.json').write_text(json.dumps(dict(
    format='mmfss-results-1', episodes_hash=f'{fold}abc', shots=1, num_episodes=300, num_runs=3, protocol=protocol,
    fold=fold, missing_classes=[], checkpoint=sys.argv[2], per_class=[], episodes=[], support_control=None,
    summary={'final': entry(50.0), 'meta': entry(40.0), 'all-foreground': entry(9.0)})))
"""
)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('cross_validate', PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'cross_validate', module)
    spec.loader.exec_module(module)
    for name, text in (
        ('cfg.py', CONFIG),
        ('train.py', TRAIN),
        ('test.py', TEST),
        ('dist_train.sh', TRAIN),
        ('dist_test.sh', TEST),
    ):
        (tmp_path / name).write_text(text.replace('PYTHON', sys.executable))
        (tmp_path / name).chmod(0o755)
    for variable in ('FOLD', 'SHOTS', 'MMFSS_DATA_ROOT', 'MMFSS_WORK_ROOT', 'MMFSS_CANDIDATE_AREA'):
        monkeypatch.setenv(variable, '')  # put back afterwards
        monkeypatch.delenv(variable)
    monkeypatch.setattr(module, '_TOOLS', tmp_path)
    module.run = lambda *options: module.main(
        [str(tmp_path / 'cfg.py'), '--work-root', str(tmp_path / 'work'), *options]
    )
    _disable_logging(logging.INFO)  # as the tool does when it is a program
    yield module
    _disable_logging(logging.NOTSET)


def _disable_logging(level: int) -> None:
    """``logging.disable`` that mmengine's logger notices: it remembers what was enabled before, and is in no list."""
    logging.disable(level)
    MMLogger.get_current_instance()._cache.clear()


def calls(tmp_path) -> list[str]:
    """'train.py 0' and so on, in the order of the calls."""
    lines = (tmp_path / 'calls.txt').read_text().splitlines()
    return [f'{line.split()[0]} {line.split("--fold ")[1][0]}' for line in lines]


def test_the_row_of_the_table(tool, tmp_path, capsys):
    tool.run('--protocols', 'config', 'bam', '--data-root', '/data', '--cfg-options', '+a.b=1')
    out = capsys.readouterr().out
    assert '| protocol | output | fold 0 | fold 1 | fold 2 | fold 3 | mean | FB-IoU |' in out
    assert '| config (balanced) | final | 50.00 | 51.00 | 52.00 | 53.00 | 51.50 | 71.50 |' in out
    assert '| bam | meta | 39.00 | 40.00 | 41.00 | 42.00 | 40.50 | 71.50 |' in out
    assert 'all-foreground' not in out and '0abc, 1abc, 2abc, 3abc' in out
    folder = tmp_path / 'work/cross_validation/cfg'
    assert (folder / 'table.md').read_text() in out
    saved = json.loads((folder / 'table.json').read_text())['variants']['bam']
    assert saved['outputs']['final']['mIoU'] == {'0': 49.0, '1': 50.0, '2': 51.0, '3': 52.0}
    assert saved['outputs']['final']['mIoU_mean'] == 50.5 and saved['episodes_hash']['2'] == '2abc'
    assert Path(saved['result']['3']).is_file()
    assert calls(tmp_path) == [f'{t} {f}' for f in range(4) for t in ('train.py', 'test.py', 'test.py')]
    lines = (tmp_path / 'calls.txt').read_text().splitlines()
    assert '--resume' in lines[0] and '--data-root /data --cfg-options +a.b=1' in lines[0]
    assert '--protocol' not in lines[1] and '--protocol bam' in lines[2]


def test_all_folds_of_the_data_set_are_the_default(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(Pascal5iDataset, 'num_folds', 3)
    tool.run()
    assert calls(tmp_path) == [f'{t} {f}' for f in range(3) for t in ('train.py', 'test.py')]


def test_progress_counts_what_is_still_to_do(tool, tmp_path, capsys):
    tool.run('--folds', '0')
    assert '[1/2] fold 0 training: Iter(train) [ 50/100], eta 0:00:01 |' in capsys.readouterr().err
    tool.run('--folds', '0', '1', '--protocols', 'config', 'bam')
    told = [line.split(':')[0] for line in capsys.readouterr().err.splitlines()]
    assert told == [
        '[1/4] fold 0 test, bam',
        '[2/4] fold 1 training',
        '[3/4] fold 1 test, config',
        '[4/4] fold 1 test, bam',
    ]


def test_nothing_is_done_twice(tool, tmp_path, capsys):
    tool.run('--folds', '1', '2')
    first = capsys.readouterr().out
    tool.run('--folds', '1', '2')
    assert len(calls(tmp_path)) == 4
    assert capsys.readouterr().out.split('\n\n', 1)[1] in first
    tool.run('--folds', '1', '2', '--protocols', 'config', 'hsnet')  # the same weights, one more protocol
    assert calls(tmp_path)[4:] == ['test.py 1', 'test.py 2']
    (tmp_path / 'work/msanet/fold2/meta_learner.pth').write_text('other weights')
    tool.run('--folds', '1', '2')
    assert calls(tmp_path)[6:] == ['test.py 2']


def test_another_precision_is_tested_anew(tool, tmp_path, capsys):
    for options in ([], ['--precision', 'bfloat16'], ['--precision', 'bfloat16']):
        tool.run('--folds', '0', *options)
    lines = (tmp_path / 'calls.txt').read_text().splitlines()
    assert [line.split()[0] for line in lines] == ['train.py', 'test.py', 'test.py']
    assert ['--precision bfloat16' in line for line in lines] == [False, False, True]


def test_goes_on_where_it_stopped(tool, tmp_path, capsys):
    (tmp_path / 'break1').touch()
    with pytest.raises(SystemExit, match='(?s)full of cats.*fold 1: training failed.*fold1.log'):
        tool.run('--folds', '0', '1')
    assert not (tmp_path / 'work/cross_validation/cfg/table.md').exists()
    (tmp_path / 'break1').unlink()
    tool.run('--folds', '0', '1')
    assert calls(tmp_path) == ['train.py 0', 'test.py 0', 'train.py 1', 'train.py 1', 'test.py 1']
    assert 'mean' in capsys.readouterr().out


def test_weights_that_are_there_are_used(tool, tmp_path, capsys):
    work = tmp_path / 'work/msanet/fold3'
    work.mkdir(parents=True)
    (work / 'meta_learner.pth').touch()
    tool.run('--folds', '3')
    assert calls(tmp_path) == ['test.py 3'] and 'using' in capsys.readouterr().out


def test_a_lost_result_is_made_again(tool, tmp_path):
    tool.run('--folds', '0')
    next((tmp_path / 'work').rglob('results_*.json')).unlink()
    tool.run('--folds', '0')
    assert calls(tmp_path) == ['train.py 0', 'test.py 0', 'test.py 0']


def test_controls_annotations_and_several_processes(tool, tmp_path, capsys):
    tool.run(
        '--folds',
        '0',
        '--gpus',
        '2',
        '--protocols',
        'bam',
        '--support-control',
        'wrong_novel',
        '--support-annotation',
        'mask',
        'box',
        '--outputs',
        'final',
    )
    out = capsys.readouterr().out
    assert '| bam_mask | final | 49.00 | 49.00 | 70.00 |' in out
    assert '| bam_box_wrong_novel | final | 39.00 | 39.00 | 70.00 |' in out
    lines = (tmp_path / 'calls.txt').read_text().splitlines()
    assert lines[0].startswith('dist_train.sh') and lines[0].split()[2] == '2'
    assert len(lines) == 5 and lines[4].startswith('dist_test.sh') and lines[4].split()[3] == '2'
    assert '--support-annotation box --support-control wrong_novel' in lines[4]


def test_another_config_is_refused(tool, tmp_path):
    tool.run('--folds', '0')
    text = (tmp_path / 'cfg.py').read_text()
    (tmp_path / 'cfg.py').write_text(text + "\ntest_evaluator = dict(type='Other')\n")
    tool.run('--folds', '0')  # the weights are the same, the test is not
    assert calls(tmp_path) == ['train.py 0', 'test.py 0', 'test.py 0']
    (tmp_path / 'cfg.py').write_text(text.replace('lr = 0.1', 'lr = 0.2'))
    with pytest.raises(SystemExit, match='another config.*--work-root'):
        tool.run('--folds', '0')


@pytest.fixture
def weightless(tool, tmp_path):
    """A config that learns nothing, and its pre-trained weights."""
    weights = tmp_path / 'imagenet.pth'
    weights.write_text('weights')
    backbone = dict(type='BlockResNet', depth=18, base_channels=4, stem_channels=4)
    backbone['init_cfg'] = dict(type='Pretrained', checkpoint=str(weights))
    model = dict(type='FewShotSegmentor', backbone=backbone, decode_head=dict(type='PrototypeHead'))
    (tmp_path / 'cfg.py').write_text(f'{CONFIG}\nmodel = {model}\n')
    for name in ('test.py', 'dist_test.sh'):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(
            text.replace("Path(sys.argv[2]) == work / 'meta_learner.pth'", "sys.argv[2] == 'none'")
        )
    return weights


def test_a_method_that_learns_nothing_is_only_tested(tool, weightless, tmp_path, capsys):
    options = ['--folds', '0', '1', '--protocols', 'config', 'bam', '--support-control', 'base']
    tool.run(*options)
    out, told = capsys.readouterr()
    assert calls(tmp_path) == [f'test.py {fold}' for fold in (0, 1) for _ in range(4)]
    assert told.startswith('[1/8] fold 0 test, config') and '| bam_base | final | 39.00 | 40.00 | 39.50 |' in out
    tool.run(*options)
    assert len(calls(tmp_path)) == 8, 'results that are there are used'
    weightless.write_text('other weights')
    tool.run('--folds', '0')
    assert calls(tmp_path)[8:] == ['test.py 0']
    tool.run('--folds', '0', '--gpus', '2')
    assert len(calls(tmp_path)) == 9
    (tmp_path / 'cfg.py').write_text((tmp_path / 'cfg.py').read_text().replace('lr = 0.1', 'lr = 0.2'))
    tool.run('--folds', '0', '--gpus', '2')  # no training is lost: another config is no error
    assert calls(tmp_path)[9:] == ['dist_test.sh 0']


def test_other_shots_have_folders_of_their_own(tool, tmp_path, capsys):
    text = (tmp_path / 'cfg.py').read_text()
    (tmp_path / 'cfg.py').write_text(
        "shots = int('{{$SHOTS:1}}')\n" + text.replace("fold{fold}'", "fold{fold}_{shots}'")
    )
    tool.run('--folds', '0', '--shots', '5')
    lines = (tmp_path / 'calls.txt').read_text().splitlines()
    assert all('--shots 5' in line for line in lines) and 'msanet/fold0_5/' in lines[1]
    assert (tmp_path / 'work/cross_validation/cfg_5shot/table.md').is_file()
    (tmp_path / 'cfg.py').write_text('shots = 5\n' + text)
    with pytest.raises(SystemExit, match='--shots 3 has no effect.*whose shots are 5'):
        tool.run('--folds', '0', '--shots', '3')


@pytest.mark.parametrize(
    'options, message',
    [
        (['--protocols', 'bamm'], 'no protocol bamm'),
        (['--gpus', '0'], '--gpus'),
        (['--shots', '0'], '--shots'),
        (['--outputs', 'x'], 'none of the'),
    ],
)
def test_wrong_options(tool, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        tool.run('--folds', '0', *options)
    assert message in f'{error.value}{capsys.readouterr().err}'


def test_a_config_without_folds_is_refused(tool, tmp_path, capsys):
    text = (tmp_path / 'cfg.py').read_text()
    (tmp_path / 'cfg.py').write_text(text.replace('fold = int', 'other = int').replace('{fold}', ''))
    with pytest.raises(SystemExit, match='no field fold'):
        tool.run('--folds', '1')
    (tmp_path / 'cfg.py').write_text('lr = 1\n')
    with pytest.raises(SystemExit):
        tool.run()
    assert 'name them with --folds' in capsys.readouterr().err
    assert 'FOLD' in os.environ  # which monkeypatch removes
