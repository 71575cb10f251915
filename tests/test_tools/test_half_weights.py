# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A trained model at half its size, and the one that comes with mmfss."""

import torch
from helpers import load_script
from tool_runs import REPO

from mmfss.apis.preset import preset_checkpoint
from mmfss.utils.weights import read_checkpoint


def test_weights_are_halved_and_nothing_else_is_kept(tmp_path, capsys):
    tool = load_script(REPO / 'tools/model_converters/half_weights.py')
    state = {'module.a': torch.randn(3, 4), 'module.n': torch.tensor(7)}
    torch.save(dict(state_dict=state, optimizer=dict(big=torch.ones(9)), meta=dict(epoch=3)), tmp_path / 'full.pth')
    assert tool.main([str(tmp_path / 'full.pth'), str(tmp_path / 'new/half.pth')]) == 0
    small = read_checkpoint(tmp_path / 'new/half.pth')
    assert small['state_dict']['a'].dtype == torch.float16 and small['state_dict']['n'] == 7
    assert torch.equal(small['state_dict']['a'], state['module.a'].half())
    assert 'optimizer' not in small and 'epoch' not in small['meta']
    torch.save(dict(a=torch.tensor([1e6])), tmp_path / 'large.pth')
    assert tool.main([str(tmp_path / 'large.pth'), str(tmp_path / 'large_half.pth')]) == 1
    assert 'exceed what half precision holds' in capsys.readouterr().err


def test_the_model_that_comes_along_is_small():
    assert preset_checkpoint().stat().st_size < 10 * 2**20
