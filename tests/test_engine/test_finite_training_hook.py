# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A training that has gone wrong stops, says where, and leaves the last good checkpoint."""

import json
import re
from pathlib import Path

import pytest
import torch
from engine_toys import ToySegmentor, toy_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement

from mmfss.engine.hooks import finite_training_hook
from mmfss.engine.launch import build_runner
from mmfss.registry import HOOKS, MODELS
from mmfss.utils.plain_errors import StopError


@MODELS.register_module(force=True)
class GoesWrong(ToySegmentor):
    """Its loss, or only its gradient, is not finite at one step."""

    def __init__(self, step=3, loss=float('nan'), gradient=1.0, **kwargs):
        super().__init__(**kwargs)
        self.step, self.wrong_loss, self.wrong_gradient, self.steps = step, loss, gradient, 0

    def forward(self, inputs, mode='tensor', **kwargs):
        found = super().forward(inputs, mode)
        if mode == 'loss':
            self.steps += 1
            if self.steps == self.step:
                loss = found['loss'] * self.wrong_loss
                loss.register_hook(lambda gradient: gradient * self.wrong_gradient)
                return dict(loss=loss)
        return found


@HOOKS.register_module(force=True)
class Spoil(Hook):
    """A single weight that is touched by something else than a step."""

    priority = 'LOW'

    def __init__(self, epoch=2):
        self.epoch = epoch

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.epoch:
            runner.model.backbone.weight.data[0, 0] = float('nan')


def train(tmp_path, custom_hooks=(), **model):
    cfg = toy_config(tmp_path, 3, model=dict(model), custom_hooks=list(custom_hooks))
    cfg.model.type = 'GoesWrong'
    cfg.default_hooks.finite = dict(type='FiniteTrainingHook')
    cfg.default_hooks.published = dict(type='MetaLearnerCheckpointHook')
    runner = build_runner(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize(
    'model, what',
    [
        (dict(), 'the loss is not finite .loss = nan'),
        (dict(loss=float('inf')), 'the loss is not finite .loss = inf'),
        (dict(loss=1.0, gradient=float('nan')), 'a gradient was not finite; .*backbone.weight'),
        (dict(loss=1.0, gradient=float('inf')), 'a gradient was not finite'),
    ],
)
def test_the_first_value_that_is_not_finite_ends_the_training(tmp_path, model, what):
    with pytest.raises(StopError, match=rf'iteration 3 \(epoch 2\), learning rate 0.01: {what}') as caught:
        train(tmp_path, **model)
    assert 'epoch_1.pth; nothing was published' in str(caught.value)
    assert not (tmp_path / 'meta_learner.pth').exists() and not (tmp_path / 'epoch_2.pth').exists()
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']['backbone.weight'].isfinite().all()
    facts = json.loads((tmp_path / 'non_finite.json').read_text())
    assert (facts['iteration'], facts['learning_rate']) == (3, {'lr': [0.01]})
    assert facts['last_checkpoint'].endswith('epoch_1.pth')


def test_a_good_training_is_left_alone(tmp_path):
    train(tmp_path, step=99)
    assert (tmp_path / 'meta_learner.pth').exists() and not (tmp_path / 'non_finite.json').exists()


def test_a_weight_that_was_spoilt_otherwise_is_not_saved(tmp_path):
    with pytest.raises(StopError, match='no checkpoint was saved: .*: backbone.weight'):
        train(tmp_path, [dict(type='Spoil')], step=99)
    assert not (tmp_path / 'epoch_2.pth').exists() and not (tmp_path / 'meta_learner.pth').exists()
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']['backbone.weight'].isfinite().all()


def test_a_spoilt_weight_is_not_published_without_a_best_checkpoint(tmp_path):
    cfg = toy_config(tmp_path, 1, custom_hooks=[dict(type='Spoil', epoch=1)], val_dataloader=None, val_cfg=None)
    cfg.val_evaluator, cfg.default_hooks.checkpoint = None, dict(type='SafeCheckpointHook', interval=99)
    cfg.default_hooks.checkpoint.update(save_last=False)
    cfg.default_hooks.published = dict(type='BaseLearnerCheckpointHook')
    with pytest.raises(StopError, match='base_learner.pth was not written: .*backbone.weight'):
        build_runner(cfg).train()
    assert not (tmp_path / 'base_learner.pth').exists()


class SkippingWrapper(OptimWrapper):
    """As with a loss scaler: a step whose gradients are not finite is left out."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = self
        self.scale = 2.0**16

    def get_scale(self):
        return self.scale

    def step(self, **kwargs):
        gradients = [p.grad for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if all(g.isfinite().all() for g in gradients):
            super().step(**kwargs)
        else:
            self.scale /= 2


def test_steps_that_a_scaler_skips_are_normal_until_the_scale_is_gone(tmp_path, monkeypatch):
    from mmfss.registry import OPTIM_WRAPPERS

    OPTIM_WRAPPERS.register_module(module=SkippingWrapper, force=True)
    cfg = toy_config(tmp_path, 2, model=dict(step=2, loss=1.0, gradient=float('inf')))
    cfg.model.type, cfg.optim_wrapper.type = 'GoesWrong', 'SkippingWrapper'
    cfg.default_hooks.finite = dict(type='FiniteTrainingHook')
    build_runner(cfg).train()
    assert (tmp_path / 'epoch_2.pth').exists()
    monkeypatch.setattr(finite_training_hook, 'SMALLEST_SCALE', 2.0**16)
    cfg.experiment_name += 'b'
    with pytest.raises(StopError, match='the loss scale is gone'):
        build_runner(cfg).train()


def test_the_batch_is_named():
    def sample(**meta):
        return BaseDataElement(metainfo=meta)

    query = [sample(run=0, episode=7, class_id=3, img_path='q.jpg', scale=2), sample(img_path='r.jpg')]
    supports = [[sample(img_path='s0.jpg'), sample(img_path='t0.jpg')], [sample(img_path='s1.jpg'), sample()]]
    found = list(finite_training_hook._episodes(dict(data_samples=dict(query=query, support=supports))))
    assert found[0] == dict(
        run=0, episode=7, class_id=3, img_path='q.jpg', supports=[dict(img_path='s0.jpg'), dict(img_path='s1.jpg')]
    )
    assert found[1] == dict(img_path='r.jpg', supports=[dict(img_path='t0.jpg'), {}])
    assert list(finite_training_hook._episodes(dict(data_samples=query)))[1] == dict(img_path='r.jpg')
    assert list(finite_training_hook._episodes(dict(inputs=1))) == []


def test_both_stages_of_the_shipped_configs_have_it():
    root = Path(__file__).parents[2] / 'configs' / '_base_'
    for name in ('default_runtime', 'base_runtime'):
        hooks = Config.fromfile(root / f'{name}.py').default_hooks
        assert re.search('FiniteTrainingHook', str(hooks))
