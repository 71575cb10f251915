# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Weights of an earlier stage are loaded in full or refused with the reason."""

import pytest
import torch
import toys

CONFIG = dict(type='BaseLearnerEnsemble', backbone=toys.RESNET, decode_head=toys.MSANET, base_head=toys.BASE_HEAD)


def stage_one(**changes) -> dict:
    """Checkpoint of an mmseg EncoderDecoder that fits CONFIG, but for changes of its configs."""
    backbone = toys.build({**toys.RESNET, **changes.get('backbone', {})})
    head = toys.build({**toys.BASE_HEAD, **changes.get('head', {})})
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    return dict(state_dict=state | {f'decode_head.{k}': v for k, v in head.state_dict().items()}, meta={})


@pytest.fixture
def checkpoint(tmp_path):
    def save(content: dict) -> str:
        torch.save(content, tmp_path / 'base_learner.pth')
        return str(tmp_path / 'base_learner.pth')

    return save


def initialised(path: str, **changes):
    model = toys.MODELS.build({**CONFIG, 'base_checkpoint': path, **changes})
    model.init_weights()
    return model


def test_base_learner_is_loaded(checkpoint, logged):
    stored = stage_one()
    model = initialised(checkpoint(stored))
    for prefix, part in (('backbone.', model.backbone), ('decode_head.', model.base_head)):
        assert all(torch.equal(v, stored['state_dict'][prefix + k]) for k, v in part.state_dict().items())
    assert any('base learner: loaded' in message for message in logged)


def test_a_bare_state_dict_will_do(checkpoint):
    initialised(checkpoint(stage_one()['state_dict']))


def test_without_base_head_only_the_backbone_counts(checkpoint):
    state = {k: v for k, v in stage_one()['state_dict'].items() if k.startswith('backbone.')}
    model = toys.MODELS.build(
        dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=toys.MSANET, base_checkpoint=checkpoint(state))
    )
    model.init_weights()
    assert torch.equal(model.backbone.conv1.weight, state['backbone.conv1.weight'])


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth.*does not exist.*tools/train.py'):
        initialised(str(tmp_path / 'nowhere.pth'))


def test_another_backbone(checkpoint):
    message = r'(?s)another backbone.*unexpected: backbone.layer1.2.*and \d+ more'
    with pytest.raises(ValueError, match=message):
        initialised(checkpoint(stage_one(backbone=dict(depth=34))))


def test_other_classes(checkpoint):
    message = r'(?s)another number of classes.*another shape: decode_head.conv_seg.weight \(16, 8.*instead of \(5,'
    with pytest.raises(ValueError, match=message):
        initialised(checkpoint(stage_one(head=dict(num_classes=16))))


def test_a_checkpoint_of_something_else(checkpoint):
    with pytest.raises(ValueError, match='missing: backbone.conv1.weight'):
        initialised(checkpoint(dict(state_dict={'net.weight': torch.zeros(1)})))


@pytest.mark.parametrize(
    'config',
    [
        toys.RESNET,
        toys.VGG,
        dict(
            type='BlockFeatureBackbone',
            backbone=dict(toys.RESNET),
            blocks=([r'layer2\.1'], [r'layer3\.1'], [r'layer4\.1']),
        ),
    ],
    ids=lambda config: config['type'],
)
class TestPretrained:
    """``init_cfg=dict(type='Pretrained')`` of a backbone."""

    @staticmethod
    def initialise(config: dict, **init_cfg):
        init_cfg = dict(type='Pretrained', **init_cfg)
        if 'backbone' in config:
            backbone = toys.MODELS.build(dict(config, backbone=dict(config['backbone'], init_cfg=init_cfg)))
        else:
            backbone = toys.MODELS.build(dict(config, init_cfg=init_cfg))
        backbone.init_weights()
        return getattr(backbone, 'backbone', backbone)

    @staticmethod
    def weights(config: dict) -> dict:
        return toys.build(config.get('backbone', config)).state_dict()

    def test_loaded_with_and_without_prefix(self, config, checkpoint):
        weights = self.weights(config)
        for prefix, init_cfg in (('', {}), ('model.', dict(prefix='model'))):
            path = checkpoint(
                dict(state_dict={prefix + k: v for k, v in weights.items()} | {'fc.weight': torch.ones(1)})
            )
            found = self.initialise(config, checkpoint=path, **init_cfg).state_dict()
            assert all(torch.equal(found[k], v) for k, v in weights.items())

    def test_refusals(self, config, checkpoint, tmp_path):
        weights = self.weights(config)
        with pytest.raises(FileNotFoundError, match='pre-trained weights.*do not exist'):
            self.initialise(config, checkpoint=str(tmp_path / 'no.pth'))
        path = checkpoint(weights)
        with pytest.raises(ValueError, match='missing'):
            self.initialise(config, checkpoint=path, prefix='wrong')
        first = next(iter(weights))
        with pytest.raises(ValueError, match=f'missing: {first}'):
            self.initialise(config, checkpoint=checkpoint({k: v for k, v in weights.items() if k != first}))
        with pytest.raises(ValueError, match=f'another shape: {first}'):
            self.initialise(config, checkpoint=checkpoint({**weights, first: torch.zeros(1)}))
