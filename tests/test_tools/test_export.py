# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""tools/deployment/export.py and demo/onnx_segment.py with an untrained tiny model."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import load_script
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from tool_runs import CONFIGS, OURS, REPO, environment

from mmfss.registry import MODELS


def load_tool():
    return load_script(REPO / 'tools/deployment/export.py')


def save_weights(config, path):
    init_default_scope('mmfss')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(Config.fromfile(config).model).state_dict()), path)
    return str(path)


@pytest.fixture(autouse=True)
def untouched_environment(monkeypatch):
    for name in (*OURS, 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    """A config with the geometry of the published tests, weights, and a folder for what comes out."""
    root = tmp_path_factory.mktemp('export')
    text = (
        f"_base_ = '{CONFIGS / 'tiny_1shot.py'}'\n"
        + """
steps = [dict(type='LoadFewShotImage'), dict(type='ResizeLongSide', size=64), dict(type='PackEpisodeInputs')]
test_dataloader = dict(dataset=dict(query_pipeline=steps))
"""
    )
    config = root / 'tiny_square.py'
    config.write_text(text)
    return str(config), save_weights(config, root / 'model.pth'), root


@pytest.mark.slow
def test_onnx_graphs_segment_an_image_without_torch(inputs, capsys):
    pytest.importorskip('onnxruntime'), pytest.importorskip('onnxscript')
    import onnx

    config, weights, root = inputs
    assert load_tool().main([config, weights, '--out', str(root / 'exported')]) == 0
    out = capsys.readouterr().out
    assert out.count('100.000% of the mask pixels agree') == 2 and 'K = 3, supports (49, 64)' in out
    assert 'encode 1 support(s) of 64x64: torch' in out and 'segment a query of 64x64: torch' in out
    facts = json.loads((root / 'exported' / 'export.json').read_text())
    assert facts['preprocessing']['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert facts['preprocessing']['channel_order'] == 'RGB' and facts['shots'] is None
    assert facts['preprocessing']['geometry'] == [dict(type='ResizeLongSide', size=64)]
    for name in facts['files'].values():
        raw = (root / 'exported' / name).read_bytes()
        assert b'site-packages' not in raw and str(REPO).encode() not in raw  # nothing of this machine
        dims = {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in onnx.load_from_string(raw).graph.input
        }
        assert dims.get('images', ['shots', 3, 'height', 'width']) == ['shots', 3, 'height', 'width']
        assert dims.get('query', [1, 3, 'height', 'width']) == [1, 3, 'height', 'width']

    image = np.full((48, 60, 3), 40, np.uint8)
    image[10:30, 20:44] = (250, 200, 30)
    Image.fromarray(image).save(root / 'image.png')
    Image.fromarray((image[..., 0] > 100).astype(np.uint8) * 255).save(root / 'mask.png')
    subprocess.run(
        [
            sys.executable,
            str(REPO / 'demo/onnx_segment.py'),
            str(root / 'exported'),
            str(root / 'image.png'),
            str(root / 'out.png'),
            str(root / 'image.png'),
            str(root / 'mask.png'),
        ],
        check=True,
        env=environment(),
    )
    mask = np.asarray(Image.open(root / 'out.png'))
    assert mask.shape == (48, 60) and set(np.unique(mask)) <= {0, 255}


@pytest.mark.slow
def test_torch_program_for_one_support(inputs, capsys):
    config, weights, root = inputs
    assert (
        load_tool().main([config, weights, '--out', str(root / 'program'), '--format', 'torch_export', '--shots', '1'])
        == 0
    )
    assert capsys.readouterr().out.count('100.000% of the mask pixels agree') == 2
    assert json.loads((root / 'program' / 'export.json').read_text())['shots'] == 1


@pytest.mark.slow
@pytest.mark.parametrize('head', ['PrototypeHead', 'PriorMaskHead'])
def test_a_method_that_learns_nothing_needs_no_checkpoint(head, inputs, tmp_path, capsys):
    weights = save_weights(CONFIGS / 'tiny_base.py', tmp_path / 'base_learner.pth')
    config = tmp_path / 'weightless.py'
    model = dict(decode_head=dict(type=head), backbone=dict(init_cfg=dict(checkpoint=weights)))
    steps = Config.fromfile(inputs[0]).steps
    test = dict(dataset=dict(query_pipeline=steps))
    config.write_text(f"_base_ = '{CONFIGS / 'tiny_prototype.py'}'\nmodel = {model}\ntest_dataloader = {test}\n")
    assert load_tool().main([str(config), 'none', '--out', str(tmp_path), '--format', 'torch_export']) == 0
    assert capsys.readouterr().out.count('100.000% of the mask pixels agree') == 2


@pytest.mark.slow
def test_graphs_that_compute_something_else_are_an_error(inputs, capsys, monkeypatch):
    config, weights, root = inputs
    tool = load_tool()
    usual = tool.exportable

    def spoilt(model):
        clean = usual(model)
        clean.merge_base.weight.data[0, 1] += 0.1
        return clean

    monkeypatch.setattr(tool, 'exportable', spoilt)
    assert tool.main([config, weights, '--out', str(root / 'spoilt'), '--format', 'torch_export', '--shots', '1']) == 1
    assert 'do not compute what the model does' in capsys.readouterr().err


def test_what_is_missing_is_said(inputs, capsys, monkeypatch):
    config, weights, root = inputs
    tool = load_tool()
    assert tool.main([config, 'none.pth', '--out', str(root / 'x'), '--format', 'torch_export']) == 1
    assert 'there is no checkpoint none.pth' in capsys.readouterr().err
    find = importlib.util.find_spec
    known = dict(onnx=True, onnxruntime=True, onnxscript=None)  # whatever is installed here
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: known[name] if name in known else find(name))
    with pytest.raises(SystemExit):
        tool.main([config, weights, '--out', str(root / 'x')])
    assert '--format onnx needs onnxscript: pip install -r requirements/deploy.txt' in capsys.readouterr().err


def test_shot_weights_and_the_option_must_agree(tmp_path, capsys):
    config = str(CONFIGS / 'tiny_5shot.py')
    weights = save_weights(config, tmp_path / 'model.pth')
    with pytest.raises(SystemExit):
        load_tool().main([config, weights, '--out', str(tmp_path), '--format', 'torch_export', '--shots', '3'])
    assert 'were learnt for 5 supports' in capsys.readouterr().err
