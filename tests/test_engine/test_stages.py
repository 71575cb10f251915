# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import os
from pathlib import Path

import pytest
import torch
from engine_toys import toy_config
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.visualization import Visualizer

from mmfss.engine import stages
from mmfss.engine.launch import build_runner


@pytest.fixture
def stage2(tmp_path):
    """A stage-2 config of toys whose base learner is missing; stage 1 is a file beside it."""
    folder = tmp_path / 'configs'
    folder.mkdir()
    toy_config(tmp_path / 'elsewhere', experiment_name=None).dump(folder / 'toy.py')
    checkpoint = str(tmp_path / 'base' / 'base_learner.pth')
    cfg = toy_config(
        tmp_path / 'meta',
        model=dict(base_checkpoint=checkpoint),
        experiment_name=None,
        base_learner=dict(config=str(folder / 'toy.py'), checkpoint=checkpoint),
    )
    # The same file name as stage 1 on purpose: runs are told apart by it and by the second.
    cfg._filename = str(tmp_path / 'other' / 'toy.py')
    return cfg


@pytest.fixture
def said(monkeypatch):
    """What the stages told the user."""
    messages = []
    monkeypatch.setattr(stages, 'print_log', lambda message, **kwargs: messages.append(message))
    return messages


def test_a_config_without_base_learner_needs_none(tmp_path):
    assert stages.ensure_base_learner(toy_config(tmp_path)) is None


def test_a_missing_base_learner_is_trained_first_and_says_so(stage2, said):
    path = stages.ensure_base_learner(stage2)
    assert path == Path(stage2.base_learner.checkpoint) and path.is_file()
    assert 'is missing. Stage 1 of 2' in said[0] and 'Stage 2 of 2' in said[1]
    first_hub = MessageHub.get_current_instance().instance_name

    # Both stages live in one process and must not share a log, a score or a visualizer.
    runner = build_runner(stage2)
    assert runner.message_hub.instance_name != first_hub
    assert 'best_score' not in runner.message_hub.runtime_info
    assert Path(stage2.work_dir) in Path(runner.visualizer._vis_backends['LocalVisBackend']._save_dir).parents
    assert Visualizer.get_current_instance() is runner.visualizer
    runner.train()
    assert (Path(stage2.work_dir) / 'epoch_2.pth').is_file()


def test_the_only_stage_says_that_nothing_follows(stage2, said):
    for _ in range(2):
        assert stages.ensure_base_learner(stage2, last=True).is_file()
    assert 'The only stage: training it' in said[0] and 'Stage' not in said[1]
    assert 'The base learner is done' in said[1] and 'Base learner: using' in said[2]
    assert all('Nothing else is learned; test it: python tools/test.py' in line for line in said[1:])


def test_a_base_learner_that_is_there_is_used(stage2, monkeypatch, said):
    stages.ensure_base_learner(stage2)
    monkeypatch.setattr(stages, '_train', lambda *args: pytest.fail('trained again'))
    assert stages.ensure_base_learner(stage2).is_file()
    assert 'Base learner: using' in said[-1]


def test_options_reach_stage_1(stage2):
    stage2.base_learner.cfg_options = dict(train_cfg=dict(max_epochs=1))
    stages.ensure_base_learner(stage2)
    assert not (Path(stage2.base_learner.checkpoint).parent / 'epoch_2.pth').exists()


def test_a_base_learner_of_another_network_is_refused_before_the_first_step(stage2, monkeypatch):
    stages.ensure_base_learner(stage2)
    stage2.model.width = 6
    stages.ensure_base_learner(stage2)
    monkeypatch.setattr(EpochBasedTrainLoop, 'run_epoch', lambda *args: pytest.fail('trained'))
    with pytest.raises(ValueError, match='(?s)another backbone.*backbone.weight') as caught:
        build_runner(stage2).train()
    assert stage2.base_learner.checkpoint in str(caught.value)


def test_a_base_learner_is_read_once(stage2, monkeypatch):
    path = stages.ensure_base_learner(stage2)
    read, load = [], torch.load
    monkeypatch.setattr(torch, 'load', lambda file, **kwargs: (read.append(str(file)), load(file, **kwargs))[1])
    stages.ensure_base_learner(stage2)
    build_runner(stage2).train()
    assert read.count(str(path)) == 1


def test_a_base_learner_of_another_fold_is_refused(stage2):
    path = stages.ensure_base_learner(stage2)
    content = torch.load(path)
    content['meta']['fold'] = 3
    torch.save(content, path)
    with pytest.raises(ValueError, match='trained on fold 3, this run is fold 0'):
        stages.ensure_base_learner(stage2)


def test_a_broken_file_is_refused(stage2):
    path = Path(stage2.base_learner.checkpoint)
    path.parent.mkdir()
    path.write_bytes(b'half a file')
    with pytest.raises(ValueError, match='cannot be read.*Remove it'):
        stages.ensure_base_learner(stage2)


def test_stages_of_different_folds_are_refused(stage2):
    stage2.fold = 1
    with pytest.raises(ValueError, match='fold is 1 .* but 0 .*--fold'):
        stages.ensure_base_learner(stage2)


def test_two_different_files_are_refused(stage2):
    stage2.model.base_checkpoint = 'another.pth'
    with pytest.raises(ValueError, match='must be the same file'):
        stages.ensure_base_learner(stage2)


def test_neither_file_nor_config_is_an_error(stage2):
    stage2.base_learner.config = None
    with pytest.raises(ValueError, match='missing and base_learner.config is not set'):
        stages.ensure_base_learner(stage2)


def test_a_stage_1_that_leaves_nothing_is_an_error(stage2, monkeypatch):
    monkeypatch.setattr(stages, '_add_hook', lambda *args: None)
    with pytest.raises(RuntimeError, match='left no'):
        stages.ensure_base_learner(stage2)


class Killed(Exception):
    """Stands for a kill in the middle of a run."""


@pytest.fixture
def killed_stage1(stage2, monkeypatch):
    """Stage 1 was killed in its second epoch; afterwards epochs are counted."""
    started = []

    def start(hook, runner):
        started.append(runner.epoch)
        if len(started) == 2:
            raise Killed

    from mmfss.engine.hooks import CheckpointGuardHook

    monkeypatch.setattr(CheckpointGuardHook, 'before_train_epoch', start)
    with pytest.raises(Killed):
        stages.ensure_base_learner(stage2)
    assert not os.path.exists(stage2.base_learner.checkpoint)
    return started


def test_a_killed_stage_1_resumes(stage2, killed_stage1):
    stages.ensure_base_learner(stage2, resume=True)
    assert killed_stage1 == [0, 1, 1]


def test_a_killed_stage_1_starts_again_without_resume_and_says_so(stage2, killed_stage1, said):
    stages.ensure_base_learner(stage2)
    assert killed_stage1 == [0, 1, 0, 1]
    assert any('with --resume it would go on' in message for message in said)


def test_a_finished_stage_1_without_its_file_only_writes_it_on_resume(stage2, monkeypatch):
    path = stages.ensure_base_learner(stage2)
    path.unlink()
    monkeypatch.setattr(EpochBasedTrainLoop, 'run_epoch', lambda *args: pytest.fail('trained'))
    assert stages.ensure_base_learner(stage2, resume=True).is_file()


def test_stage_2_resumes_too(stage2):
    from mmfss.engine.launch import enable_resume

    stages.ensure_base_learner(stage2)
    stage2.train_cfg.max_epochs = 1
    Runner.from_cfg(stage2).train()
    stage2.train_cfg.max_epochs = 2
    stage2.experiment_name = 'resumed'
    enable_resume(stage2)
    runner = Runner.from_cfg(stage2)
    runner.load_or_resume = _counting(runner.load_or_resume, runner, seen := [])
    runner.train()
    assert seen == [1] and runner.epoch == 2


def _counting(function, runner, seen):
    def call():
        function()
        seen.append(runner.epoch)

    return call
