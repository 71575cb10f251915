# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""--cfg-options: a field that nothing reads is refused with its near names; legitimate ones pass."""

import argparse
import copy
import functools
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmfss.engine.options import add_cfg_options, merge_options, parse_options

REPO = Path(__file__).parents[2]


@functools.cache
def shipped(name):
    return Config.fromfile(REPO / 'configs' / f'{name}.py')


def merged(*texts, name='msanet/r50_pascal_1shot'):
    parser = argparse.ArgumentParser()
    cfg = Config(shipped(name).to_dict())
    return cfg, merge_options(cfg, parse_options(texts, parser))


@pytest.mark.parametrize(
    'option, near',
    [
        ('test_dataloder.dataset.shots=5', 'test_dataloader'),
        ('optim_wraper.optimizer.lr=1', 'optim_wrapper'),
        ('train_cfg.max_epoch=2', 'max_epochs'),
        ('train_cfg.feature_store.view=2', 'views'),
        ('train_cfg.feature_stor.views=2', 'feature_store'),
        ('train_dataloader.batchsize=2', 'batch_size'),
        ('test_dataloader.dataset.shot=5', 'shots'),
        ('test_dataloader.dataset.dataset.fould=5', 'fold'),
        ('test_dataloader.dataset.protocol.episode=5', 'episodes'),
        ('model.decode_head.chanels=64', 'channels'),
        ('model.decode_head.block_group=(3,4)', 'block_groups'),
        ('model.decode_heads.channels=64', 'decode_head'),
        ('optim_wrapper.optimizer.momentun=0.9', 'momentum'),
        ('optim_wrapper.clip_grad.max_nrom=1', 'max_norm'),
        ('optim_wrapper.clip_grads.max_norm=1', 'clip_grad'),
        ('param_scheduler.0.ends=4', 'end'),
        ('default_hooks.checkpiont.interval=5', 'checkpoint'),
        ('default_hooks.checkpoint.max_keep_ckpt=5', 'max_keep_ckpts'),
        ('default_hooks.logger.intervall=5', 'interval'),
        ('randomness.sead=5', 'seed'),
        ('env_cfg.cudnn_bench=True', 'cudnn_benchmark'),
        ('auto_scale_lr.enabled=True', 'enable'),
        ('base_learner.cfg_option.train_cfg.max_epochs=5', 'cfg_options'),
        ('load_form=a.pth', 'load_from'),
    ],
)
def test_a_misspelt_field_is_refused_with_the_near_name(option, near):
    key = re.escape(option.split('=')[0])
    with pytest.raises(ValueError, match=rf'--cfg-options {key}=.*has no field .*Near are: .*\b{near}\b.*\+{key}='):
        merged(option)


@pytest.mark.parametrize(
    'option',
    [
        'model.decode_head.block_groups=(3,4)',
        'model.decode_head.last_shot_groups=(2,)',
        'optim_wrapper.clip_grad.max_norm=1',
        'optim_wrapper.accumulative_counts=2',
        'optim_wrapper.type=AmpOptimWrapper',
        'optim_wrapper.paramwise_cfg.custom_keys.decode_head.lr_mult=0.1',
        'optim_wrapper.optimizer.nesterov=True',
        'train_cfg.val_begin=3',
        'train_cfg.dynamic_intervals=[(1,2)]',
        'train_dataloader.prefetch_factor=4',
        'train_dataloader.pin_memory=True',
        'train_dataloader.dataset.support_annotation=box',
        'test_dataloader.dataset.support_control=base',
        'test_dataloader.dataset.protocol.episodes=200',
        'default_hooks.checkpoint.save_last=False',
        'default_hooks.checkpoint_guard.check_classes=False',
        'default_hooks.visualization.val_interval=0',
        'randomness.deterministic=True',
        'base_learner.cfg_options.train_cfg.max_epochs=5',
        'total_batch_size=16',
        'param_scheduler.0.end=400',
        'load_from=a.pth',
        'experiment_name=x',
        'find_unused_parameters=True',
        'model.backbone.norm_eval=True',
        'model.backbone.frozen_stages=1',
        'model.init_cfg=None',
        'log_processor.window_size=5',
        'train_cfg.feature_store.views=4',
        'visualizer.name=x',
        'env_cfg.dist_cfg.timeout=1800',
    ],
)
def test_what_a_component_can_take_passes(option):
    key = option.split('=')[0]
    assert merged(option)[1].keys() == {key}


def test_a_new_component_says_what_it_is():
    name = 'default_hooks.ema'
    cfg, _ = merged(f'{name}.type=EMAHook', f'{name}.momentum=0.1')
    assert cfg.default_hooks.ema == dict(type='EMAHook', momentum=0.1)
    with pytest.raises(ValueError, match='default_hooks has no field .ema'):
        merged(f'{name}.momentum=0.1')


def test_arguments_that_go_elsewhere_are_free_unless_they_are_near_a_known_one():
    name = 'msanet/lite0_pascal_1shot'
    merged('model.backbone.backbone.drop_rate=0.1', name=name)  # handed to timm
    for misspelt in ('model.backbone.backbone.model_names=a', 'model.loss_decode.class_weigth=(1,2)'):
        with pytest.raises(ValueError, match='Near are: (model_name|class_weight)'):
            merged(misspelt, name=name)


def test_the_arguments_are_those_of_the_new_type():
    cfg, _ = merged('optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.loss_scale=512.0')
    assert cfg.optim_wrapper.loss_scale == 512
    with pytest.raises(ValueError, match='loss_scale'):
        merged('optim_wrapper.loss_scale=512.0')


def test_a_plus_adds_what_nobody_knows():
    cfg, options = merged('+mine.a=1', '+model.decode_head.other=2', 'train_cfg.max_epochs=3')
    assert cfg.mine.a == 1 and cfg.model.decode_head.other == 2
    assert options == {'mine.a': 1, 'model.decode_head.other': 2, 'train_cfg.max_epochs': 3}


@pytest.mark.parametrize('option', ['max_epochs=3', 'run_name=a'])
def test_fields_that_others_were_computed_from_have_no_effect_any_more(option):
    with pytest.raises(ValueError, match=f'--cfg-options {option.split("=")[0]}=... has no effect'):
        merged(option)


@pytest.mark.parametrize(
    'options',
    [
        ['param_scheduler.7.end=4'],
        ['total_batch_size.a=1'],
        ['load_from.a=1'],
        ['param_scheduler.x=1'],
        ['fold=1', 'fold.a=2'],
    ],
)
def test_what_cannot_be_merged_is_said_in_one_line(options):
    with pytest.raises(ValueError, match='^--cfg-options [^\n]*$'):
        merged(*options)


@pytest.mark.parametrize('text', ['shots', '=3', 'a=[(1,2]', '+=1'])
def test_what_is_no_option_is_refused(text, capsys):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', text])
    assert '--cfg-options' in capsys.readouterr().err.splitlines()[-1]


SHIPPED = [path for path in sorted(REPO.glob('configs/*/*.py')) if '_base_' not in path.parts]
CHECKED = ('model', 'optim_wrapper', 'train_cfg', 'test_dataloader', 'train_dataloader', 'default_hooks')


def leaves(value, path=()):
    """Paths and values below a dict."""
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, field in value.items():
        yield from leaves(field, (*path, key))


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_every_field_of_every_config_can_be_set(path):
    """No shipped field is refused when it is left out of the config and given as an option."""
    cfg = Config.fromfile(path).to_dict()
    reduced, options = Config(copy.deepcopy(cfg)), {}
    for place, value in leaves(cfg):
        parent = functools.reduce(lambda node, key: node[key], place[:-1], reduced)
        if place[0] in CHECKED and place[-1] != 'type' and 'type' in parent and '.' not in ''.join(map(str, place)):
            del parent[place[-1]]
            options['.'.join(place)] = value
    assert len(options) > 20 and merge_options(reduced, options).keys() == options.keys()
