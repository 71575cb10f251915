# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What makes training on machines without a GPU bearable."""

import torch
from mmengine.device import get_device
from torch import nn

from mmfss.engine.cpu_memory import keep_freed_memory
from mmfss.registry import OPTIM_WRAPPERS


def test_forward_runs_in_bfloat16_and_weights_stay_float32():
    model = nn.Conv2d(3, 4, 3)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='BFloat16OptimWrapper', force=True, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    )
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 3, 8, 8))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)


def test_devices_that_imitate_bfloat16_train_in_float32(monkeypatch):
    monkeypatch.setattr('mmfss.utils.precision.fast_bfloat16', lambda device: False)
    model = nn.Conv2d(3, 4, 3)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='BFloat16OptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    )
    with wrapper.optim_context(model):
        assert model(torch.ones(1, 3, 8, 8)).dtype == torch.float32


def test_outside_the_step_nothing_is_cast():
    model = nn.Conv2d(3, 4, 3)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='BFloat16OptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    )
    with wrapper.optim_context(model):
        pass
    assert model(torch.ones(1, 3, 8, 8)).dtype == torch.float32


def test_allocator_is_left_alone_on_gpu_machines(monkeypatch):
    monkeypatch.setattr('mmfss.engine.cpu_memory.get_device', lambda: 'cuda')
    assert keep_freed_memory() is False
    monkeypatch.undo()
    assert keep_freed_memory() in ((True, False) if get_device() == 'cpu' else (False,))
