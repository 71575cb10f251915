# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pytest
import torch
from engine_toys import toy_config
from mmengine.config import Config
from mmengine.hooks import Hook

from mmfss.engine.batch_size import accumulated_batches, settle_batch_size, spread_batch
from mmfss.engine.launch import build_runner, enable_resume, init_launcher


def batch_config(size=8, total=8):
    return Config(dict(total_batch_size=total, train_dataloader=dict(batch_size=size)))


@pytest.mark.parametrize(
    'size, total, processes, share, says',
    [
        (8, 8, 1, 8, None),
        (8, 8, 8, 1, None),
        (1, 8, 8, 1, None),  # done before
        (1, 8, 2, 4, 'becomes 4'),  # a config dumped by eight processes
        (12, 12, 8, 2, 'does not divide by 8 processes: 2 in each, 16 a step'),
        (3, None, 8, 3, None),
    ],
)
def test_the_total_batch_is_spread_over_the_processes(size, total, processes, share, says, logged):
    cfg = batch_config(size, total)
    spread_batch(cfg, processes)
    assert cfg.train_dataloader.batch_size == share
    assert says in logged[-1] if says else not logged


@pytest.mark.parametrize(
    'options, share',
    [
        ({'total_batch_size': 16}, 2),
        ({'train_dataloader.batch_size': 4}, 4),  # as in mmseg: of each process
        ({'train_dataloader.num_workers': 4}, 1),
    ],
)
def test_the_batch_size_that_was_asked_for_wins(options, share):
    cfg = batch_config()
    cfg.merge_from_dict(options)
    settle_batch_size(cfg, options)
    spread_batch(cfg, 8)
    assert cfg.train_dataloader.batch_size == share


def test_no_launcher_still_gives_one_process_the_whole_total():
    cfg = batch_config(size=1)
    init_launcher(cfg, 'none')
    assert cfg.train_dataloader.batch_size == 8


@pytest.mark.parametrize(
    'total, processes, batches, share, says',
    [
        (8, 1, 2, 4, None),
        (8, 2, 2, 2, None),
        (8, 8, 4, 1, 'does not divide by 8 processes with 4 accumulated batches each: 1 in each, 32 a step'),
        (None, 2, 2, 8, None),  # as in mmseg: of each process and batch
    ],
)
def test_accumulated_batches_share_the_total(total, processes, batches, share, says, logged):
    cfg = batch_config(total=total)
    cfg.optim_wrapper = dict(accumulative_counts=batches)
    spread_batch(cfg, processes)
    assert cfg.train_dataloader.batch_size == share
    assert says in logged[-1] if says else not logged


@pytest.mark.parametrize('batches', [0, 2.0, '2'])
def test_an_impossible_number_of_batches_is_refused(batches):
    with pytest.raises(ValueError, match='accumulative_counts is .*whole number'):
        accumulated_batches(Config(dict(optim_wrapper=dict(accumulative_counts=batches))))


class RateRecorder(Hook):
    """Notes the learning rate of every batch."""

    def __init__(self):
        self.rates = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rates += runner.optim_wrapper.get_lr()['lr']


def train(work_dir, batches, schedule=None, **optim_wrapper):
    """Weights of a toy after six steps of four samples, and the learning rate of each step."""
    cfg = toy_config(work_dir, epochs=6, param_scheduler=schedule, total_batch_size=4)
    cfg.default_hooks.param_scheduler = dict(type='AccumulationSchedulerHook')
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=2)  # four samples a step: twice the rate
    cfg.train_dataloader.sampler.shuffle = True
    cfg.optim_wrapper.update(accumulative_counts=batches, **optim_wrapper)
    init_launcher(cfg, 'none')
    runner, recorder = build_runner(cfg), RateRecorder()
    runner.register_hook(recorder, 'VERY_HIGH')  # before the schedule moves on
    runner.train()
    return runner.model.state_dict(), recorder.rates[batches - 1 :: batches]


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'BFloat16OptimWrapper'])
def test_accumulated_batches_equal_the_whole_batch(wrapper, tmp_path):
    force = dict(force=True) if wrapper == 'BFloat16OptimWrapper' else {}
    whole, _ = train(tmp_path / 'whole', 1, type=wrapper, **force)
    for batches in (2, 4):
        weights, rates = train(tmp_path / str(batches), batches, type=wrapper, **force)
        assert rates == pytest.approx([0.02] * 6, rel=1e-9)
        for name, weight in whole.items():
            assert torch.allclose(weights[name], weight, rtol=0, atol=5e-3 if force else 1e-6), name


@pytest.mark.parametrize('batches', [1, 2, 4])
def test_the_schedule_of_accumulated_batches(batches, tmp_path):
    """mmengine's PolyLR is 0 at the last batch: step k of N is at batch k n of N n - 1."""
    poly = dict(type='PolyLR', power=0.9, begin=0, end=6, by_epoch=True, convert_to_iter_based=True)
    _, rates = train(tmp_path, batches, poly)
    last = 6 * batches - 1
    assert rates == pytest.approx([0.02 * (1 - k * batches / last) ** 0.9 for k in range(6)], rel=1e-6, abs=1e-9)


def test_a_resumed_training_has_the_rates_of_an_uninterrupted_one(tmp_path):
    """An epoch of three batches ends in the middle of a step."""
    rates = {}
    for name, stops in (('once', [4]), ('twice', [1, 4])):
        for epochs in stops:
            schedule = dict(type='PolyLR', power=0.9, begin=0, end=4, by_epoch=True, convert_to_iter_based=True)
            cfg = toy_config(tmp_path / name, epochs=epochs, param_scheduler=schedule)
            cfg.default_hooks.param_scheduler = dict(type='AccumulationSchedulerHook')
            cfg.optim_wrapper.accumulative_counts = 3
            enable_resume(cfg)
            runner = build_runner(cfg)
            runner.train()
        rates[name] = runner.optim_wrapper.get_lr()['lr']
    assert rates['twice'] == pytest.approx(rates['once'], rel=1e-9)
