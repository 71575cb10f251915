# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pytest
from engine_toys import NAMES, toy_config
from mmengine.runner import Runner


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint of the default toys: fold 0, base classes 1 and 2."""
    work_dir = tmp_path_factory.mktemp('trained')
    Runner.from_cfg(toy_config(work_dir, epochs=1)).train()
    return str(work_dir / 'epoch_1.pth')


def run_test(tmp_path, checkpoint, **fields):
    guard = fields.pop('guard', {})
    cfg = toy_config(tmp_path, load_from=checkpoint, **fields)
    cfg.default_hooks.checkpoint_guard.update(guard)
    return Runner.from_cfg(cfg).test()


def test_a_checkpoint_that_fits_is_used(tmp_path, checkpoint):
    assert run_test(tmp_path, checkpoint)['mIoU'] == 10.0


def test_another_backbone_is_refused(tmp_path, checkpoint):
    with pytest.raises(ValueError, match='another backbone') as caught:
        run_test(tmp_path, checkpoint, model=dict(width=6))
    assert 'backbone.weight (4, 2) instead of (6, 2)' in str(caught.value)
    assert checkpoint in str(caught.value)


def test_another_number_of_classes_is_refused(tmp_path, checkpoint):
    with pytest.raises(ValueError, match='another number of classes'):
        run_test(tmp_path, checkpoint, model=dict(num_classes=5))


def test_another_fold_is_refused_because_its_novel_classes_were_seen(tmp_path, checkpoint):
    with pytest.raises(ValueError, match='(?s)fold 0 instead of 1.*--fold'):
        run_test(tmp_path, checkpoint, fold=1, dataset=dict(base=(3, 4)))


def test_other_classes_are_refused_unless_switched_off(tmp_path, checkpoint):
    other = dict(class_names=(*NAMES[:-1], 'yak'))
    with pytest.raises(ValueError, match='other classes.*yak'):
        run_test(tmp_path, checkpoint, dataset=other)
    assert run_test(tmp_path, checkpoint, dataset=other, guard=dict(check_classes=False))


def test_weights_may_be_ignored_by_name(tmp_path, checkpoint):
    assert run_test(tmp_path, checkpoint, model=dict(num_classes=5), guard=dict(ignore=[r'decode_head\.']))


def test_resuming_with_another_network_is_refused(tmp_path, checkpoint):
    cfg = toy_config(tmp_path, load_from=checkpoint, resume=True, model=dict(width=6))
    with pytest.raises(ValueError, match='another backbone'):
        Runner.from_cfg(cfg).train()


def test_a_base_learner_of_other_classes_is_refused_before_training(tmp_path):
    stage1 = toy_config(tmp_path / 'base', epochs=1)
    stage1.default_hooks.base_learner = dict(type='BaseLearnerCheckpointHook')
    Runner.from_cfg(stage1).train()
    model = dict(base_checkpoint=str(tmp_path / 'base' / 'base_learner.pth'))
    Runner.from_cfg(toy_config(tmp_path / 'meta', epochs=1, model=model)).train()
    with pytest.raises(ValueError, match="other classes.*'cat', 'cow'.*'dog', 'fox'"):
        cfg = toy_config(tmp_path / 'other', epochs=1, model=model, dataset=dict(base=(3, 4)))
        Runner.from_cfg(cfg).train()


def test_weights_may_be_new_in_training_but_never_in_a_test(tmp_path, checkpoint):
    changed = dict(model=dict(num_classes=5), guard=dict(new=[r'decode_head\.']))
    with pytest.raises(ValueError, match='another number of classes'):
        run_test(tmp_path / 'test', checkpoint, **changed)
    cfg = toy_config(tmp_path / 'train', epochs=1, load_from=checkpoint, model=changed['model'])
    cfg.default_hooks.checkpoint_guard.update(changed['guard'])
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'train' / 'epoch_1.pth').is_file()
