# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What the tools make of their options, without running anything."""

import argparse
import os
import re

import pytest
from helpers import load_script
from tool_runs import CONFIGS, OURS, REPO

from mmfss.engine.cli import load_config
from mmfss.engine.launch import enable_amp


def tool(name):
    """``tools/<name>.py`` as a module."""
    return load_script(REPO / 'tools' / f'{name}.py')


@pytest.fixture(autouse=True)
def untouched_environment(monkeypatch):
    """Each test starts without our variables, and leaves none behind."""
    for name in (*OURS, 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)


def config(*args, name='tiny_1shot'):
    module = tool('train')
    parser = module.make_parser()
    args = parser.parse_args([str(CONFIGS / f'{name}.py'), *args])
    cfg = load_config(args, parser)
    module.check_shots(cfg, args, parser)
    return cfg


def shots(cfg):
    """Supports of an episode in training, validation and test."""
    return [cfg[f'{phase}_dataloader'].dataset.shots for phase in ('train', 'val', 'test')]


def test_fold_and_roots_reach_every_field_computed_from_them():
    cfg = config('--fold', '3', '--data-root', '/data', '--work-root', '/runs', '--candidate-area', '77')
    assert cfg.fold == cfg.train_dataloader.dataset.dataset.fold == 3
    assert cfg.val_dataloader.dataset.dataset.data_root == '/data'
    assert cfg.val_dataloader.dataset.dataset.candidate_area == 77
    assert cfg.work_dir == '/runs/tiny_1shot/fold3'
    assert cfg.model.base_checkpoint == cfg.base_learner.checkpoint
    assert cfg.base_learner.checkpoint == '/runs/tiny_base/fold3/base_learner.pth'


def test_mmseg_options_work_as_in_mmseg():
    cfg = config('--work-dir', '/mine', '--cfg-options', 'train_cfg.max_epochs=7', 'randomness.seed=3')
    assert cfg.work_dir == '/mine' and cfg.train_cfg.max_epochs == 7 and cfg.randomness.seed == 3
    assert os.environ['LOCAL_RANK'] == '0'


def test_options_that_come_too_late_are_refused(capsys):
    with pytest.raises(SystemExit):
        config('--cfg-options', 'fold=2')
    assert 'use --fold 2' in capsys.readouterr().err


def test_options_without_effect_are_refused(tmp_path, capsys):
    plain = tmp_path / 'plain.py'
    plain.write_text('model = dict()\n')
    parser = tool('train').make_parser()
    args = parser.parse_args([str(plain), '--fold', '2'])
    with pytest.raises(SystemExit):
        load_config(args, parser)
    assert 'no field fold' in capsys.readouterr().err


def test_a_missing_config_is_named(capsys):
    parser = tool('train').make_parser()
    with pytest.raises(SystemExit):
        load_config(parser.parse_args(['configs/nowhere.py']), parser)
    assert 'configs/nowhere.py' in capsys.readouterr().err


def test_shots_reach_all_data_and_the_work_dir():
    cfg = config('--shots', '3', '--fold', '2')
    assert shots(cfg) == [3, 3, 3] and cfg.shots == 3
    assert cfg.work_dir == 'work_dirs/tiny_1shot/fold2_3shot'
    assert cfg.base_learner.checkpoint.endswith('tiny_base/fold2/base_learner.pth')
    assert shots(config('--shots', '5', name='tiny_5shot')) == [5, 5, 5]


@pytest.mark.parametrize(
    'name, options, message',
    [
        ('tiny_5shot', ['--shots', '3'], 'whose field shots is 5'),
        ('tiny_base', ['--shots', '3'], 'no EpisodicDataset'),
        ('tiny_1shot', ['--shots', '0'], 'at least 1 support'),
        ('tiny_1shot', ['--cfg-options', 'shots=3'], 'use --shots 3'),
    ],
)
def test_shots_that_cannot_be_trained_are_refused(name, options, message, capsys):
    with pytest.raises(SystemExit):
        config(*options, name=name)
    assert message in capsys.readouterr().err


def test_weights_of_five_shots_are_tested_with_any_number(tmp_path):
    cfg = make_test_config(tmp_path, '--shots', '3', name='tiny_5shot')
    assert shots(cfg) == [5, 5, 3] and cfg.work_dir == 'work_dirs/tiny_5shot/fold0_3shot'
    assert cfg.model.decode_head.shot_weighting.shots == 5  # as the checkpoint
    cfg = make_test_config(tmp_path, '--shots', '5', '--protocol', 'bam')
    assert cfg.test_dataloader.dataset.shots == 5 and cfg.work_dir == 'work_dirs/tiny_1shot/fold0_5shot'
    assert make_test_config(tmp_path, '--shots', '3', '--work-dir', 'mine', name='tiny_5shot').work_dir == 'mine'


def make_test_config(tmp_path, *args, checkpoint=True, name='tiny_1shot'):
    """The config that test.py makes."""
    if checkpoint:
        (tmp_path / 'epoch_1.pth').touch()
    module = tool('test')
    parser = module.make_parser()
    args = parser.parse_args([str(CONFIGS / f'{name}.py'), str(tmp_path / 'epoch_1.pth'), *args])
    assert isinstance(args, argparse.Namespace)
    cfg = load_config(args, parser)
    module.apply_test_options(cfg, args, parser)
    return cfg


def test_test_options_reach_dataset_and_hooks(tmp_path):
    cfg = make_test_config(tmp_path, '--support-control', 'base', '--show-dir', 'pictures', '--out', 'masks')
    assert cfg.test_dataloader.dataset.support_control == 'base'
    assert cfg.default_hooks.visualization.show_dir == 'pictures'
    assert cfg.custom_hooks[-1] == dict(type='mmfss.PredictionFileHook', out_dir='masks')
    assert cfg.load_from == str(tmp_path / 'epoch_1.pth')
    assert 'precision' not in cfg.model
    assert make_test_config(tmp_path, '--precision', 'bfloat16').model.precision == 'bfloat16'


def test_a_protocol_reaches_the_test_data_and_options_come_after_it(tmp_path):
    cfg = make_test_config(
        tmp_path,
        '--protocol',
        'hsnet',
        '--support-annotation',
        'box',
        '--episodes-file',
        'e.jsonl',
        '--cfg-options',
        'test_dataloader.dataset.protocol.episodes=9',
    )
    dataset = cfg.test_dataloader.dataset
    assert dataset.protocol == dict(type='HsnetProtocol', order='list', runs=1, episodes=9, seed=0)
    assert dataset.query_pipeline[2] == dict(type='SquashResize', size=64, antialias=True)
    assert (dataset.support_annotation, dataset.episodes_file) == ('box', 'e.jsonl')
    assert cfg.val_dataloader.dataset.protocol.type == 'BalancedProtocol'


def test_an_unknown_protocol_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_test_config(tmp_path, '--protocol', 'bamm')
    assert 'no protocol bamm: choose one of asgnet, balanced, bam' in capsys.readouterr().err


def test_a_missing_checkpoint_is_named_at_once(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_test_config(tmp_path, checkpoint=False)
    assert 'there is no checkpoint' in capsys.readouterr().err


def test_an_option_that_episodes_cannot_follow_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_test_config(tmp_path, '--tta')  # mmseg's: its pipelines give no episodes
    assert 'unrecognized arguments: --tta' in capsys.readouterr().err


def test_a_missing_start_checkpoint_is_named_before_any_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        'sys.argv',
        [
            'train.py',
            str(CONFIGS / 'tiny_1shot.py'),
            '--work-root',
            str(tmp_path),
            '--cfg-options',
            f'load_from={tmp_path}/meta_learner.pth',
        ],
    )
    with pytest.raises(SystemExit):
        tool('train').main()
    assert f'load_from={tmp_path}/meta_learner.pth does not exist' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'args, message',
    [
        (['--fold', '7'], 'there is no fold 7 .--fold.: the data set of this config has 0 to 3'),
        (['--fold', '-1'], 'there is no fold -1'),
        (['--cfg-options', 'test_dataloder.dataset.shots=5'], "no field 'test_dataloder'. Near are: test_dataloader"),
        (['--cfg-options', 'shots'], 'not of the form KEY=VALUE'),
    ],
)
def test_what_cannot_be_met_is_said_at_once(args, message, capsys):
    with pytest.raises(SystemExit):
        config(*args)
    assert re.search(message, capsys.readouterr().err)


def test_a_field_that_is_asked_for_is_added():
    assert config('--cfg-options', '+mine=3').mine == 3


@pytest.mark.parametrize(
    'args, message',
    [
        (['--folds', '0', '9'], '--folds: there is no fold 9; .* has 0 to 3'),
        (['--cfg-options', 'optim_wraper.optimizer.lr=1'], 'Near are: optim_wrapper'),
        (['--cfg-options', 'fold=1'], 'use --fold 1'),
        (['--protocols', 'bamm'], 'no protocol bamm'),
        (['--shots', '0'], '--shots must be at least 1'),
    ],
)
def test_cross_validation_says_at_once_what_cannot_be_met(args, message, capsys):
    with pytest.raises(SystemExit):
        tool('cross_validate').parse_args([str(CONFIGS / 'tiny_1shot.py'), *args])
    assert re.search(message, capsys.readouterr().err)


def test_mixed_precision_on_a_cpu_is_refused_before_any_work(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr('mmfss.engine.launch.get_device', lambda: 'cpu')
    options = ['--work-root', str(tmp_path), '--amp', '--cfg-options', 'optim_wrapper.type=OptimWrapper']
    monkeypatch.setattr('sys.argv', ['train.py', str(CONFIGS / 'tiny_1shot.py'), *options])
    with pytest.raises(SystemExit) as end:
        tool('train').main()
    message = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 1 and message.startswith('train: --amp') and 'BFloat16OptimWrapper' in message
    assert not list(tmp_path.iterdir())


def test_a_config_in_bfloat16_takes_amp(logged):
    cfg = config('--amp', '--cfg-options', 'optim_wrapper.type=mmfss.BFloat16OptimWrapper')
    enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'mmfss.BFloat16OptimWrapper' and '--amp changes nothing' in logged[-1]
