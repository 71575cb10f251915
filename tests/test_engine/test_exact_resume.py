# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A training that was stopped anywhere goes on to the weights and the best checkpoint of an undisturbed one."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_toys import ToyDataset, ToyMetric, ToySegmentor, toy_config
from mmengine.logging import MessageHub
from torch import nn

from mmfss.engine.launch import build_runner, enable_resume
from mmfss.engine.repeatable_draws import NumberingSampler, RepeatableDraws
from mmfss.registry import DATASETS, METRICS, MODELS

IMAGES = 12


@DATASETS.register_module(force=True)
class NoisyDataset(ToyDataset):
    """Points moved by all three random states, as the transforms of a pipeline do."""

    def __len__(self):
        return IMAGES

    def __getitem__(self, i):
        noise = np.random.rand(), random.random(), float(torch.rand(()))
        return dict(inputs=torch.tensor([i / IMAGES + noise[0], noise[1] - noise[2]]))


@MODELS.register_module(force=True)
class DroppingSegmentor(ToySegmentor):
    """Its dropout draws in the training process."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.backbone = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5))


@METRICS.register_module(force=True)
class FallingMetric(ToyMetric):
    """The first validation is the best one; a score follows from the checkpoint that is measured."""

    sign = -1

    def compute_metrics(self, results):
        return dict(mIoU=100.0 + self.sign * MessageHub.get_current_instance().get_info('keep_ckpt_ids')[-1])


class KilledError(BaseException):
    """Ends a run where it stands."""


LOOPS = dict(
    epochs=(dict(by_epoch=True, max_epochs=4), dict(by_epoch=True, interval=1), 'DefaultSampler'),
    iterations=(
        dict(by_epoch=False, max_iters=15, val_interval=3),
        dict(by_epoch=False, interval=3),
        'InfiniteSampler',
    ),
)


def config(work_dir, loop, workers, seed=0):
    train_cfg, checkpoint, sampler = LOOPS[loop]
    cfg = toy_config(work_dir, train_cfg=train_cfg, randomness=dict(seed=seed, diff_rank_seed=True))
    cfg.model.type = 'DroppingSegmentor'
    cfg.train_dataloader.dataset.type = 'NoisyDataset'
    cfg.train_dataloader.sampler = dict(type=sampler, shuffle=True)
    cfg.train_dataloader.update(num_workers=workers, persistent_workers=workers > 0)
    cfg.val_evaluator = dict(type='FallingMetric')
    cfg.optim_wrapper.optimizer.momentum = 0.9
    cfg.default_hooks.checkpoint.update(checkpoint)
    return cfg


def train(cfg, stop_at=None, hook='after_train_iter'):
    """Train; ``stop_at``: iterations done when the run is killed in a hook."""
    runner = build_runner(cfg)
    call = runner.call_hook

    def call_hook(name, **kwargs):
        if name == hook and stop_at is not None and runner.iter >= stop_at:
            raise KilledError
        call(name, **kwargs)

    runner.call_hook = call_hook
    try:
        runner.train()
    except KilledError:
        pass
    if (iterator := runner.train_dataloader._iterator) is not None:
        iterator._shutdown_workers()  # the garbage collector would wait five seconds for each
    return runner


def saved_best(runner):
    last = Path(runner.work_dir, 'last_checkpoint').read_text()
    hub = torch.load(last, weights_only=False)['message_hub']['runtime_info']
    return hub['best_score'], Path(hub['best_ckpt']).name


def state(runner):
    found = {name: weight.tolist() for name, weight in runner.model.state_dict().items()}
    hub = runner.message_hub
    best = hub.get_info('best_score'), hub.get_info('best_ckpt').rsplit('/', 1)[-1]
    return found, best, runner.optim_wrapper.state_dict()['state'][0]['momentum_buffer'].tolist()


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('loop', list(LOOPS))
def test_a_stopped_training_ends_like_an_undisturbed_one(tmp_path, loop, workers):
    whole = state(train(config(tmp_path / 'whole', loop, workers)))
    for stop_at in (2, 8, 13, None):
        cfg = config(tmp_path / 'stopped', loop, workers)
        enable_resume(cfg)
        stopped = train(cfg, stop_at)
    assert cfg.resume and state(stopped) == whole


@pytest.mark.parametrize('loop', list(LOOPS))
def test_a_validation_that_was_cut_off_is_made_up_for(tmp_path, loop):
    """The first one, which would be the best, and the last one, after which there is nothing more to train."""
    whole = state(train(config(tmp_path / 'whole', loop, 0)))
    last = 24 if loop == 'epochs' else 15
    for stop_at in (1, last, None):
        cfg = config(tmp_path / 'stopped', loop, 0)
        enable_resume(cfg)
        stopped = train(cfg, stop_at, 'before_val')
    assert stopped.train_loop.max_iters == last and state(stopped) == whole


def test_the_last_checkpoint_knows_the_best_score_of_a_validation_made_up_for(tmp_path, monkeypatch):
    """A longer training would go on from it, and replace the best checkpoint by a worse one."""
    monkeypatch.setattr(FallingMetric, 'sign', 1)
    whole = saved_best(train(config(tmp_path / 'whole', 'epochs', 0)))
    for stop_at in (24, None):
        cfg = config(tmp_path / 'stopped', 'epochs', 0)
        enable_resume(cfg)
        stopped = train(cfg, stop_at, 'before_val')
    assert saved_best(stopped) == whole


def test_a_seed_that_was_drawn_is_that_of_the_checkpoint(tmp_path):
    train(config(tmp_path, 'iterations', 2, seed=None), 8)
    cfg = config(tmp_path, 'iterations', 2, seed=None)
    enable_resume(cfg)
    assert isinstance(cfg.randomness.seed, int) and cfg.randomness.diff_rank_seed


def test_items_have_random_numbers_of_their_own_and_leave_those_of_the_process_alone():
    data = RepeatableDraws(NoisyDataset(), seed=3)
    sampler = NumberingSampler(dict(type='InfiniteSampler', shuffle=False), data, seed=0)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), random.getstate()
    places = [index for index, _ in zip(sampler, range(2 * IMAGES), strict=False)]
    points = [data[pickle.loads(pickle.dumps(index))]['inputs'].tolist() for index in places]
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), random.getstate())
    assert places[IMAGES] == places[0] == 0 and points[IMAGES] != points[0]
    assert [data[index]['inputs'].tolist() for index in places] == points
    sampler.skip(5)
    assert data[next(iter(sampler))]['inputs'].tolist() == points[5]
    sampler.set_epoch(1)
    assert next(iter(sampler)).place == (1, 0)
    assert data.metainfo['fold'] == 0 and len(data) == len(sampler) == IMAGES
    assert not hasattr(NumberingSampler(dict(type='DefaultSampler'), data), 'skip')
