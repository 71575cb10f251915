# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""FewShotInferencer and the demos without a checkpoint, and on a model that is built already."""

import json
import shlex

import api_toys as toys
import numpy as np
import pytest
import torch
from helpers import load_script
from mmengine.config import Config
from test_segment_command import REPO, segment  # noqa: F401

from mmfss.apis import FewShotInferencer
from mmfss.engine.model_loading import load_model
from mmfss.registry import INFERENCERS, MODELS


@pytest.fixture(scope='module')
def cfg(weights):
    """A config that learns nothing; its backbone's weights are those of a trained model."""
    return toys.floor_config(weights)


def scores(inferencer: FewShotInferencer) -> np.ndarray:
    """Probabilities of a photo."""
    inferencer.show_progress = False
    gear = inferencer.register('gear', [toys.photo(0), toys.photo(1)], [toys.disc(), toys.disc(radius=9)])
    return inferencer(toys.photo(3), gear)[0].scores


def changed(cfg: Config, **backbone) -> Config:
    cfg = Config(cfg.to_dict())
    cfg.model.backbone.update(backbone)
    return cfg


def test_a_method_that_learns_nothing_needs_no_checkpoint(cfg, weights):
    own = FewShotInferencer(cfg, device='cpu')
    expected = scores(own)
    assert expected.std() > 0
    for checkpoint in ('none', weights / 'FewShotSegmentor.pth', weights / 'BaseLearnerEnsemble.pth'):
        other = FewShotInferencer(cfg, checkpoint, 'cpu')
        assert other.fingerprint == own.fingerprint and np.array_equal(scores(other), expected)


def test_learned_weights_are_asked_for():
    cfg = toys.tiny_config()
    with pytest.raises(ValueError, match=f'MSANetHead has learned weights.*{cfg.work_dir}/meta_learner.pth'):
        FewShotInferencer(cfg, device='cpu')


def test_random_and_missing_weights_are_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match='random weights'):
        FewShotInferencer(changed(cfg, init_cfg=None), device='cpu')
    with pytest.raises(FileNotFoundError, match='no.pth.*do not exist'):
        FewShotInferencer(changed(cfg, init_cfg=dict(type='Pretrained', checkpoint='no.pth')), device='cpu')


def test_a_checkpoint_of_another_backbone_is_refused(cfg, weights):
    with pytest.raises(ValueError, match='another backbone'):
        FewShotInferencer(changed(cfg, base_channels=4), weights / 'FewShotSegmentor.pth', 'cpu')


def test_a_built_model_is_used_as_it_is(weights):
    cfg, checkpoint = toys.tiny_config(), str(weights / 'BaseLearnerEnsemble.pth')
    expected = FewShotInferencer(cfg, checkpoint, 'cpu')
    model, _ = load_model(cfg, checkpoint, 'cpu')
    model.train()
    learned = [name for name, p in model.named_parameters() if p.requires_grad]
    for inferencer in (FewShotInferencer(model=model), FewShotInferencer(cfg, model=model, device='cpu')):
        assert inferencer.model is model and not model.training
        assert inferencer.fingerprint == expected.fingerprint
        assert np.array_equal(scores(inferencer), scores(expected))
    assert learned == [name for name, p in model.named_parameters() if p.requires_grad]
    gear = expected.register('gear', toys.photo(0), toys.disc())
    inferencer.check(gear)  # banks of the same weights serve both


def test_contradicting_arguments(cfg, weights):
    model = MODELS.build(cfg.model)
    with pytest.raises(TypeError, match='needs the test pipelines of a config'):
        FewShotInferencer(model=model)
    with pytest.raises(TypeError, match='leave the checkpoint a.pth out'):
        FewShotInferencer(cfg, 'a.pth', model=model)
    with pytest.raises(TypeError, match='model=model'):
        FewShotInferencer(model)
    with pytest.raises(TypeError, match='Linear, which is no FewShotSegmentor'):
        FewShotInferencer(cfg, model=torch.nn.Linear(1, 1))


def test_the_registry_builds_it(weights):
    cfg, checkpoint = toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth'
    found = INFERENCERS.build(dict(type='FewShotInferencer', config=cfg, checkpoint=str(checkpoint), device='cpu'))
    assert isinstance(found, FewShotInferencer)


@pytest.fixture
def place(cfg, tmp_path, monkeypatch):
    """A working folder with the config, a support a and photos."""
    cfg.dump(tmp_path / 'tiny.py')
    toys.save(toys.photo(0), tmp_path / 'a.jpg')
    toys.save(toys.disc().astype('uint8') * 255, tmp_path / 'a.png')
    toys.photos(tmp_path / 'photos', 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_segment_takes_the_word_none(segment, place, capsys):  # noqa: F811
    arguments = '--support a.jpg a.png --device cpu --out out'
    assert segment.main(shlex.split(f'tiny.py none photos {arguments}')) == 0
    assert '2 images segmented' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        segment.main(shlex.split(f'tiny.py photos {arguments}'))
    assert 'or the word none' in capsys.readouterr().err


def test_the_web_demo_takes_none_or_nothing():
    parser = load_script(REPO / 'demo' / 'web.py').make_parser()
    assert parser.parse_args(['tiny.py']).checkpoint is None
    assert parser.parse_args(['tiny.py', 'none']).checkpoint == 'none'


def test_the_folder_benchmark_takes_the_word_none(place, tmp_path):
    for i in range(2):
        toys.save(toys.photo(i), tmp_path / f'data/ant/{i}.jpg')
        toys.save(toys.disc().astype('uint8') * 255, tmp_path / f'data/ant/{i}.png')
    tool = load_script(REPO / 'tools/analysis_tools/folder_benchmark.py')
    assert tool.main(['tiny.py', 'none', '--data-root', 'data', '--out', 'found', '--device', 'cpu']) == 0
    report = json.loads((tmp_path / 'found/benchmark.json').read_text())
    assert report['checkpoint'] == 'none' and report['shots']['1']['images'] == 1
