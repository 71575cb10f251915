# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a head may count on: labels with 255, padding, seeds, stages it asks for, its own losses, `finish`."""

import pytest
import torch
import toys
from torch import nn

from mmfss.models import BaseMetaHead, MetaOutput
from mmfss.models.layers import foreground, masked_average, resize
from mmfss.registry import MODELS


@MODELS.register_module()
class ProbingHead(BaseMetaHead):
    """Keeps what it was given, and uses every door of the contract."""

    query_stages = ('layer1', 'layer3')
    support_stages = ('layer1', 'layer3', 'masked_layer4')
    draws = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.project = nn.Conv2d(self.in_channels['layer3'], 4, 1)
        self.seen = {}

    def encode_support(self, features, labels):
        self.seen['support'] = (features, labels)
        return dict(prototype=masked_average(self.project(features['layer3']), foreground(labels)))

    def finish(self, bank):
        self.seen['finished'] = self.seen.get('finished', 0) + 1
        return bank.with_summary(dict(mean=bank['prototype'].mean(1)))  # (B, C)

    def forward(self, features, bank):
        self.seen['query'] = features
        similarity = torch.einsum('bchw,bc->bhw', self.project(features['layer3']), bank['mean']).unsqueeze(1)
        return MetaOutput(
            torch.cat([-similarity, similarity], 1), similarity.mean((1, 2, 3), True), dict(own=similarity)
        )

    def loss(self, output, bank, data_samples, loss_decode):
        losses = super().loss(output, bank, data_samples, loss_decode)
        return dict(losses, loss_own=output.auxiliary['own'].square().mean())


PROBE = dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(type='ProbingHead'))


def test_what_reaches_a_head():
    model, inputs = toys.build(PROBE), toys.episodes(2, 3)
    seeds = inputs['episode_seed']
    with torch.no_grad():
        bank = model.encode_support(inputs['support'], inputs['support_mask'], seeds)
        (scores,) = model.segment_images(inputs['query'], [bank], inputs['query_padding'], seeds)
    query = model.decode_head.seen['query']
    assert list(query.stages) == ['layer1', 'layer3'] and not query.blocks
    assert torch.equal(query.padding[:, 0], inputs['query_padding']) and query.padding.any()
    assert query.image_size == (41, 41) and query.episode_seed.tolist() == [1, 2]
    support, labels = model.decode_head.seen['support']
    assert set(support.stages) == {'layer1', 'layer3', 'masked_layer4'}
    assert torch.equal(labels[:, 0], inputs['support_mask'].flatten(0, 1)) and (labels == 255).any()
    assert support.episode_seed.tolist() == [1, 1, 1, 2, 2, 2]
    assert scores['final'].shape[:2] == (2, 2) and model.decode_head.seen['finished'] == 1


@torch.no_grad()
def test_an_episode_is_evaluated_by_itself_and_its_seed_counts_where_a_head_draws():
    model, inputs = toys.build(PROBE), toys.episodes(2, 2)
    inputs = {name: t[:1].repeat(2, *[1] * (t.dim() - 1)) for name, t in inputs.items()}
    inputs['episode_seed'] = torch.tensor([1, 2])  # the same images twice
    model(inputs)
    assert model.decode_head.seen['query'].episode_seed.tolist() == [2]
    assert model.decode_head.seen['support'][0].episode_seed.tolist() == [2] and not model.feature_cache.hits
    model.decode_head.draws = False
    model(inputs)
    assert model.decode_head.seen['query'].episode_seed is None
    assert model.feature_cache.hits == dict(support=2, query=1)


@torch.no_grad()
def test_images_are_encoded_once_for_a_head_that_draws_in_forward_alone(monkeypatch):
    monkeypatch.setattr(ProbingHead, 'draws_in_encoding', False)
    model, inputs = toys.build(PROBE), toys.episodes(2, 2)
    inputs = {name: t[:1].repeat(2, *[1] * (t.dim() - 1)) for name, t in inputs.items()}
    inputs['episode_seed'] = torch.tensor([1, 2])  # the same images twice
    model(inputs)
    assert model.decode_head.seen['query'].episode_seed.tolist() == [2]
    assert model.feature_cache.hits == dict(support=2, query=1)
    model({name: t for name, t in inputs.items() if name != 'episode_seed'})
    assert model.decode_head.seen['query'].episode_seed.tolist() == [0]


@torch.no_grad()
def test_a_bank_is_finished_once_for_many_queries_and_anew_with_more_shots():
    model, inputs = toys.build(PROBE), toys.episodes(1, 2)
    bank = model.finish(model.encode_support(inputs['support'], inputs['support_mask']))
    features = model.extract_feat(toys.episodes(3, 1)['query'])
    for _ in range(2):
        model.segment(features, bank)
    assert model.decode_head.seen['finished'] == 1
    model.segment(features, bank.extend(bank))
    assert model.decode_head.seen['finished'] == 2


@torch.no_grad()
def test_a_query_is_encoded_once_for_many_banks(monkeypatch):
    model, inputs = toys.build(PROBE), toys.episodes(1, 2)
    called = []

    def encode(features):
        called.append(features)
        return features.keep(stages=('layer3',), extras=dict(twice=2 * features['layer1']))

    monkeypatch.setattr(model.decode_head, 'encode_query', encode)
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    model.segment_images(inputs['query'], [bank, bank], inputs['query_padding'])
    assert len(called) == 1
    seen = model.decode_head.seen['query']
    assert list(seen.stages) == ['layer3'] and torch.equal(seen.extras['twice'], 2 * called[0]['layer1'])
    assert torch.equal(seen.padding[:, 0], inputs['query_padding']) and seen.image_size == (41, 41)
    with pytest.raises(KeyError, match='layer4'):
        called[0].keep(stages=('layer4',))


def test_a_head_owns_its_losses():
    inputs, samples = toys.episodes(2), toys.samples(2, (41, 41))
    assert toys.build(PROBE).loss(inputs, samples).keys() == {'loss_final', 'loss_own'}
    ensemble = toys.build(dict(PROBE, type='BaseLearnerEnsemble', base_head=toys.BASE_HEAD))
    assert ensemble.loss(inputs, samples).keys() == {'loss_final', 'loss_meta', 'loss_own'}


@pytest.mark.parametrize('freeze', [True, False])
@pytest.mark.parametrize('norm_eval', [True, False])
def test_whether_the_backbone_learns_is_config(freeze, norm_eval):
    model = toys.build(dict(PROBE, freeze_backbone=freeze, norm_eval=norm_eval)).train()
    before = model.backbone.bn1.running_mean.clone()
    model.parse_losses(model.loss(toys.episodes(2, 2), toys.samples(2, (41, 41))))[0].backward()
    assert all(p.requires_grad != freeze for p in model.backbone.parameters())
    # layer4 is read of the supports alone, behind the mask: nothing of it reaches this head.
    assert (model.backbone.layer3[0].conv1.weight.grad is None) == freeze
    assert torch.equal(model.backbone.bn1.running_mean, before) == norm_eval


@torch.no_grad()
def test_a_pair_is_compared_once_and_forward_finds_it(monkeypatch):
    model, inputs, calls = toys.build(PROBE), toys.episodes(2, 2), []

    def compare(self, features, bank):
        calls.append(tuple(bank['prototype'].shape[:2]))
        return dict(pair=features['layer3'].mean((1, 2, 3))[:, None] + bank['prototype'].mean(2))  # (B, K)

    def forward(self, features, bank):
        assert 'prototype' not in bank.tensors or not bank.compared
        pair = self.compared(features, bank)['pair'].mean(1)[:, None, None, None]
        return MetaOutput(torch.cat([features['layer3'][:, :1], features['layer3'][:, :1] + pair], 1))

    monkeypatch.setattr(ProbingHead, 'draws', False)
    monkeypatch.setattr(ProbingHead, 'compare', compare)
    monkeypatch.setattr(ProbingHead, 'compared_tensors', lambda self: ('prototype',))
    monkeypatch.setattr(ProbingHead, 'finish', lambda self, bank: bank)
    monkeypatch.setattr(ProbingHead, 'forward', forward)
    found = model(inputs)['final']
    assert calls == [(1, 1)] * 4
    assert torch.equal(model(inputs)['final'], found) and len(calls) == 4
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    joint = model.segment(model.extract_feat(inputs['query'], inputs['query_padding']), bank)['final']
    assert calls[4:] == [(2, 2)] and torch.allclose(resize(joint, (41, 41)), found, atol=1e-5)


def test_the_learned_backbone_is_trained_and_tested_without_a_stale_cache():
    model = toys.build(dict(PROBE, freeze_backbone=False, feature_cache_gb=0.1))
    inputs, samples = toys.episodes(2), toys.samples(2, (41, 41))
    with torch.no_grad():
        before = model(inputs)['final']
    optimizer = torch.optim.SGD(model.backbone.parameters(), lr=1e-7)
    model.train().parse_losses(model.loss(inputs, samples))[0].backward()
    optimizer.step()
    with torch.no_grad():
        after = model.eval()(inputs)['final']
        model.feature_cache = None
        assert torch.allclose(model(inputs)['final'], after, atol=1e-5) and not torch.allclose(before, after, atol=1e-3)


def test_a_neck():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8 + 32, 3, 1)

        def forward(self, stages):
            return self.conv(torch.cat([resize(stages[0], stages[1].shape[-2:]), stages[1]], 1))

    MODELS.register_module(name='ToySum', module=Sum, force=True)
    model = toys.build(dict(PROBE, neck=dict(type='ToySum'))).train()
    model.loss(toys.episodes(2), toys.samples(2, (41, 41)))
    assert model.decode_head.seen['query'].neck.shape[1] == 3
    assert not model.neck.training and not any(p.requires_grad for p in model.neck.parameters())


# --- large queries in windows ---


@torch.no_grad()
@pytest.mark.parametrize('kind', ['FewShotSegmentor', 'BaseLearnerEnsemble'])
def test_windows(kind):
    config = dict(type=kind, backbone=toys.RESNET, decode_head=toys.MSANET)
    if kind == 'BaseLearnerEnsemble':
        config['base_head'] = toys.BASE_HEAD
    whole = toys.build(config)
    slide = toys.build(dict(config, test_cfg=dict(mode='slide', crop_size=(41, 33), stride=(20, 33))))
    small = dict(toys.episodes(2), query=toys.smooth(2, 3, 41, 33, seed=3))
    small.pop('query_padding')
    for name, expected in whole(small).items():  # one window: the whole image
        assert torch.allclose(slide(small)[name], expected, atol=1e-5)
    large = dict(small, query=toys.smooth(2, 3, 61, 66, seed=4))
    found = slide(large)
    corners = [whole(dict(large, query=large['query'][..., r, c])) for r in (slice(0, 41), slice(20, 61))
               for c in (slice(0, 33), slice(33, 66))]  # fmt: skip
    for name, score in found.items():
        assert score.shape[-2:] == (61, 66)
        assert torch.allclose(score[..., :20, :33], corners[0][name][..., :20, :], atol=1e-4)
        middle = (corners[0][name][..., 20:, :] + corners[2][name][..., :21, :]) / 2  # two windows overlap
        assert torch.allclose(score[..., 20:41, :33], middle, atol=1e-4)
        assert torch.allclose(score[..., 41:, 33:], corners[3][name][..., 21:, :], atol=1e-4)


@pytest.mark.parametrize(
    'test_cfg, message',
    [
        (dict(mode='slides'), "test_cfg.mode is 'slides'"),
        (dict(mode='slide'), 'needs crop_size=.height, width. in pixels'),
        (dict(mode='slide', crop_size=(9, 9)), 'needs stride'),
        (dict(mode='slide', crop_size=(9, 9), stride=(10, 9)), 'gaps'),
        (dict(mode='whole', crop=3), "no field .'crop'"),
    ],
)
def test_test_cfg_is_read_or_refused(test_cfg, message):
    with pytest.raises(ValueError, match=message):
        toys.build(dict(PROBE, test_cfg=test_cfg))


def test_train_cfg_is_refused():
    with pytest.raises(ValueError, match='train_cfg'):
        toys.build(dict(PROBE, train_cfg=dict(anything=1)))
