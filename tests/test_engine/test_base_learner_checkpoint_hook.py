# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import torch
from engine_toys import toy_config
from mmengine.runner import Runner


def train(work_dir, save_best='mIoU', **fields):
    cfg = toy_config(work_dir, epochs=3, scores=(10.0, 30.0, 20.0), **fields)
    cfg.default_hooks.checkpoint.update(save_best=save_best, max_keep_ckpts=3)
    cfg.default_hooks.base_learner = dict(type='BaseLearnerCheckpointHook')
    Runner.from_cfg(cfg).train()
    return torch.load(work_dir / 'base_learner.pth', weights_only=True)


def test_the_best_weights_are_kept(tmp_path):
    learner = train(tmp_path)
    best = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict']
    last = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['state_dict']
    assert set(learner['state_dict']) == set(best)
    assert all(torch.equal(learner['state_dict'][key], best[key]) for key in best)
    assert not torch.equal(best['backbone.weight'], last['backbone.weight'])
    assert learner['meta']['weights'] == 'best'


def test_the_file_says_which_fold_and_classes_it_knows(tmp_path):
    meta = train(tmp_path, fold=2)['meta']
    assert meta['fold'] == 2
    assert meta['base_class_names'] == ('cat', 'cow')
    assert meta['dataset_meta']['novel_class_ids'] == (3, 4)


def test_without_a_best_checkpoint_the_last_weights_are_kept(tmp_path):
    learner = train(tmp_path, save_best=None)
    last = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['state_dict']
    assert torch.equal(learner['state_dict']['backbone.weight'], last['backbone.weight'])
    assert learner['meta']['weights'] == 'last'


def test_stage_2_publishes_all_its_weights_under_a_fixed_name(tmp_path):
    cfg = toy_config(tmp_path, epochs=3, scores=(10.0, 30.0, 20.0))
    cfg.default_hooks.checkpoint.update(save_best='mIoU', max_keep_ckpts=3)
    cfg.default_hooks.published = dict(type='MetaLearnerCheckpointHook')
    Runner.from_cfg(cfg).train()
    published = torch.load(tmp_path / 'meta_learner.pth', weights_only=True)
    best = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict']
    assert set(published['state_dict']) == set(best)
    assert all(torch.equal(published['state_dict'][key], best[key]) for key in best)
