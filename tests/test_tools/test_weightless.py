# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""tools/test.py and tools/train.py on a method that learns nothing."""

import json
import os

import pytest
from helpers import load_script
from tool_runs import CONFIGS, OURS, REPO, run

CONFIG = CONFIGS / 'tiny_prototype.py'


@pytest.fixture(autouse=True)
def untouched_environment(monkeypatch):
    """Each test starts without our variables, and leaves none behind."""
    for name in (*OURS, 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)


@pytest.fixture
def refused(monkeypatch, capsys, tiny_options):
    """What a tool prints last when it refuses in a line, in this process and before any data are read."""

    def refused(tool: str, *args, options=tiny_options) -> str:
        def read(*_, **__):
            raise AssertionError('data were read')

        monkeypatch.setattr('mmfss.datasets.Pascal5iDataset.__init__', read)
        monkeypatch.setattr('sys.argv', [tool, *map(str, (*args, *options))])
        with pytest.raises(SystemExit) as error:
            load_script(REPO / 'tools' / f'{tool}.py').main()
        assert error.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return refused


def summary(folder) -> dict:
    """The summary of the one result file below a folder, and its checkpoint."""
    (path,) = folder.rglob('results_*.json')
    report = json.loads(path.read_text())
    return dict(report['summary'], checkpoint=report['checkpoint'])


@pytest.fixture(scope='session')
def base_learner(trained_1shot, work_root):
    return work_root / 'tiny_base' / 'fold1' / 'base_learner.pth'


@pytest.fixture(scope='session')
def floor(trained_1shot, tiny_options, tmp_path_factory):
    """The prototype beside a method that was trained on the same backbone."""
    folder = tmp_path_factory.mktemp('floor')
    run('test.py', CONFIGS / 'tiny_1shot.py', trained_1shot[1], *tiny_options, '--work-dir', folder)
    return summary(folder)['prototype']


def test_without_a_checkpoint_the_named_weights_are_used(base_learner, floor, tiny_options, tmp_path):
    output = run('test.py', CONFIG, 'none', *tiny_options, '--work-dir', tmp_path)
    assert 'base_learner.pth' in output
    found = summary(tmp_path)
    assert found['final'] == floor and found['checkpoint'] is None


def test_two_processes_evaluate_like_one(base_learner, floor, tiny_options, tmp_path):
    options = ['--work-dir', tmp_path, '--cfg-options', f'model.base_checkpoint={base_learner}']
    run('dist_test.sh', CONFIG, 'none', 2, *tiny_options, *options)
    assert summary(tmp_path)['final'] == floor


@pytest.mark.slow
def test_any_checkpoint_with_the_backbone_will_do(trained_1shot, base_learner, floor, tiny_options, tmp_path):
    for checkpoint in (base_learner, trained_1shot[1]):
        folder = tmp_path / checkpoint.stem
        run('test.py', CONFIG, checkpoint, *tiny_options, '--work-dir', folder)
        assert summary(folder)['final'] == floor


@pytest.mark.slow
def test_a_base_learner_of_another_fold_is_refused(base_learner, tiny_options):
    options = ['--fold', '2', *tiny_options[2:]]
    assert 'fold 1 instead of 2' in run('test.py', CONFIG, base_learner, *options, fails=True)
    started = ['--cfg-options', f'model.base_checkpoint={base_learner}', 'model.backbone.init_cfg=None']
    output = run('test.py', CONFIG, 'none', *options, *started, fails=True)
    assert 'other fold: it was trained on fold 1, this run is fold 2' in output


def test_there_is_nothing_to_train(refused):
    line = refused('train', CONFIG)
    assert line.endswith(f'{CONFIG} has nothing to train; test it: python tools/test.py {CONFIG} none --fold 1')


def test_learned_weights_are_asked_for(refused, work_root):
    line = refused('test', CONFIGS / 'tiny_1shot.py', 'none')
    assert 'MSANetHead has learned weights and needs a checkpoint' in line
    assert f'{work_root}/tiny_1shot/fold1/meta_learner.pth' in line
    assert 'needs a checkpoint' in refused('test', CONFIGS / 'tiny_base.py', 'none')


def test_random_and_missing_weights_are_refused(refused, tmp_path):
    line = refused('test', CONFIG, 'none', '--cfg-options', 'model.backbone.init_cfg=None')
    assert 'random weights: let model.backbone.init_cfg name' in line
    line = refused('test', CONFIG, 'none', '--cfg-options', f'model.backbone.init_cfg.checkpoint={tmp_path}/no.pth')
    assert f"pre-trained weights '{tmp_path}/no.pth' do not exist" in line
    assert 'FOLD' in os.environ


@pytest.mark.slow
def test_a_base_learner_is_all_that_is_trained(base_learner, trained_1shot, tiny_options, tmp_path):
    """What another method has trained is used; the checkpoint of that method gives the same features."""
    config = CONFIGS / 'tiny_repri.py'
    output = run('train.py', config, *tiny_options)
    assert 'Base learner: using' in output and 'Nothing else is learned; test it: python tools/test.py' in output
    scores = []
    for checkpoint in ('none', base_learner, trained_1shot[1]):
        folder = tmp_path / str(checkpoint).rsplit('/', 1)[-1]
        run('test.py', config, checkpoint, *tiny_options, '--work-dir', folder)
        scores.append(summary(folder)['final'])
    assert scores[0] == scores[1] == scores[2]
