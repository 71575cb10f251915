# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Optimisers of their own for modules, stepping together."""

import copy

import pytest
import torch
from engine_toys import toy_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmfss.engine.launch import build_runner, enable_resume

CFG = dict(
    type='OptimWrapper',
    constructor='ModuleOptimizers',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
    modules=dict(
        norm=dict(
            module='1',
            optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.5),
            paramwise_cfg=dict(bias_decay_mult=0.0),
        )
    ),
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmfss'):
        yield


def model() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    net[2].bias.requires_grad_(False)
    return net


def loss(net: nn.Module, seed: int) -> torch.Tensor:
    return net(torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))).square().mean()


def test_each_weight_is_stepped_once_by_its_own():
    net, plain = model(), model()
    wrapper = build_optim_wrapper(net, CFG)
    sgd = torch.optim.SGD([*plain[0].parameters(), plain[2].weight], lr=0.1, momentum=0.9)
    adam = torch.optim.AdamW(
        [dict(params=[plain[1].weight]), dict(params=[plain[1].bias], weight_decay=0)], lr=0.01, weight_decay=0.5
    )
    for step in range(3):
        with wrapper.optim_context(net):
            value = loss(net, step)
        wrapper.update_params(value)
        for optimizer in (sgd, adam):
            optimizer.zero_grad()
        loss(plain, step).backward()
        for optimizer in (sgd, adam):
            optimizer.step()
    for (name, ours), theirs in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6), name
    rates = wrapper.get_lr()
    assert rates['rest.lr'][0] == 0.1 and rates['norm.lr'][0] == 0.01


def test_accumulated_batches_make_one_step_of_all():
    net = model()
    wrapper = build_optim_wrapper(net, dict(copy.deepcopy(CFG), accumulative_counts=2))
    wrapper.initialize_count_status(net, 0, 4)
    before = copy.deepcopy(net.state_dict())
    wrapper.update_params(loss(net, 0))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    wrapper.update_params(loss(net, 1))
    moved = {name.split('.')[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {'0', '1', '2'}


def test_the_state_of_all_is_saved_and_loaded():
    net = model()
    wrapper = build_optim_wrapper(net, CFG)
    wrapper.update_params(loss(net, 0))
    other = build_optim_wrapper(model(), CFG)
    other.load_state_dict(wrapper.state_dict())
    assert set(wrapper.state_dict()) == {'rest', 'norm'}
    assert len(other['norm'].optimizer.state) == 2 and len(other['rest'].optimizer.state) == 3


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(modules={}), '`modules`'),
        (dict(modules=dict(rest=CFG['modules']['norm'])), "no name may be 'rest'"),
        (dict(modules=dict(norm=dict(CFG['modules']['norm'], module='body'))), 'modules.norm.module: .*body'),
        (dict(modules=dict(a=CFG['modules']['norm'], b=CFG['modules']['norm'])), 'modules.b: 1 learns nothing, or'),
        (dict(paramwise_cfg=dict(bias_decay_mult=0.0)), 'paramwise_cfg'),
        (dict(type='AmpOptimWrapper'), 'BFloat16OptimWrapper'),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        build_optim_wrapper(model(), {**copy.deepcopy(CFG), **change})


def test_a_training_schedules_each_and_goes_on_with_both(tmp_path):
    def train(epochs, resume=False):
        cfg = toy_config(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=epochs))
        cfg.optim_wrapper = copy.deepcopy(CFG)
        cfg.optim_wrapper.modules = dict(head=dict(module='decode_head', optimizer=dict(type='AdamW', lr=0.01)))
        poly = dict(type='PolyLR', power=0.9, begin=0, end=4, by_epoch=True, convert_to_iter_based=True)
        cfg.param_scheduler = dict(rest=[poly], head=[])
        if resume:
            enable_resume(cfg)
        runner = build_runner(cfg)
        runner.train()
        return runner.optim_wrapper

    first = {name: rate[0] for name, rate in train(2).get_lr().items()}
    assert 0 < first['rest.lr'] < 0.1 and first['head.lr'] == 0.01
    resumed = train(3, resume=True)
    assert 0 < resumed.get_lr()['rest.lr'][0] < first['rest.lr'] and resumed.get_lr()['head.lr'] == [0.01]
    assert {int(state['step']) for state in resumed['head'].optimizer.state.values()} == {6}  # two in each epoch
