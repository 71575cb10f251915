# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The segmentors: ensemble, comparison heads, predictions at original size, refusals."""

import pytest
import torch
import torch.nn.functional as F
import toys
from mmseg.structures import SegDataSample
from torch import nn

from mmfss.models import NarrowPSPHead
from mmfss.models.decode_heads.base_meta_head import stack_labels
from mmfss.models.segmentors.base_learner_ensemble import BaseLearnerEnsemble
from mmfss.structures import SupportBank

META = dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=toys.MSANET)
ENSEMBLE = dict(META, type='BaseLearnerEnsemble', base_head=toys.BASE_HEAD)
FLOORS = dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.4))


def bilinear(x, size):
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


# --- the ensemble ---


def test_the_ensemble_starts_as_the_meta_learner():
    """(w1, w2) = (v1, v2) = (1, 0): `final` holds the probabilities of `meta`."""
    model = toys.MODELS.build(ENSEMBLE).eval()
    with torch.no_grad():
        inputs = toys.episodes(2)
        scores = model.segment(
            model.extract_feat(inputs['query']), model.encode_support(inputs['support'], inputs['support_mask'])
        )
    assert torch.allclose(scores['final'], scores['meta'].softmax(1), atol=1e-6)


@torch.no_grad()
def test_the_ensemble_by_the_spec():
    model, inputs = toys.build(ENSEMBLE), toys.episodes(3)
    query = model.encode_query(model.extract_feat(inputs['query']))
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    output = model.decode_head(query.heads['meta'], bank.part('meta'))
    psi = output.adjustment
    (w1, w2), (v1, v2) = model.merge_adjustment.weight.flatten(), model.merge_base.weight.flatten()
    for own in (None, torch.tensor([-1, 0, 3])):
        scores = model.scores(output, query, own)
        meta, base = scores['meta'].softmax(1), scores['base'].softmax(1)
        for b in range(3):
            classes = [c for c in range(1, 1 + toys.NUM_BASE) if own is None or c != own[b] + 1]
            seen = sum(base[b, c] for c in classes)
            background = v1 * (w1 * meta[b, 0] + w2 * psi[b]) + v2 * seen
            assert torch.allclose(scores['final'][b, 0], background[0], atol=1e-5)
            assert torch.allclose(scores['final'][b, 1], (w1 * meta[b, 1] + w2 * psi[b])[0], atol=1e-5)


def test_own_class_of_training_reaches_the_ensemble(monkeypatch):
    model, seen = toys.build(ENSEMBLE).train(), []
    plain = BaseLearnerEnsemble.base_foreground
    monkeypatch.setattr(
        BaseLearnerEnsemble, 'base_foreground', staticmethod(lambda p, own: seen.append(own) or plain(p, own))
    )
    model.loss(toys.episodes(3), toys.samples(3, (41, 41)))
    assert seen[0].tolist() == [-1, 0, 1]


def test_losses_are_those_of_the_spec():
    model = toys.build(dict(ENSEMBLE, log_base_loss=True))
    inputs, queries = toys.episodes(2), toys.samples(2, (41, 41))
    losses = model(inputs, queries, mode='loss')
    own = torch.tensor([s.metainfo['base_index'] for s in queries])
    query = model.encode_query(model.extract_feat(inputs['query']))
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    scores = model.scores(model.decode_head(query.heads['meta'], bank.part('meta')), query, own)
    binary, base = (stack_labels(queries, field) for field in ('gt_sem_seg', 'gt_base_seg'))
    assert (binary == 255).any()
    for key, name, labels in (
        ('loss_final', 'final', binary),
        ('loss_meta', 'meta', binary),
        ('base_ce', 'base', base),
    ):
        expected = F.cross_entropy(bilinear(scores[name], (41, 41)), labels, ignore_index=255)
        assert torch.allclose(losses[key], expected, rtol=1e-5), key
    assert not losses['base_ce'].requires_grad
    total, _ = model.parse_losses(losses)
    assert torch.allclose(total, losses['loss_final'] + losses['loss_meta'])


def test_all_pixels_ignored_is_no_nan():
    model, queries = toys.build(ENSEMBLE).train(), toys.samples(1, (41, 41))
    queries[0].gt_sem_seg.data[:] = 255
    assert all(loss.isfinite() for loss in model.loss(toys.episodes(1), queries).values())


# --- probabilities ---


@pytest.mark.parametrize('config', [META, ENSEMBLE], ids=['meta', 'ensemble'])
@torch.no_grad()
def test_foreground_probability_is_at_least_one_half_where_the_foreground_wins(config):
    model, inputs = toys.build(config), toys.episodes(2)
    final = model(inputs)['final']
    strange = torch.tensor(
        [
            [0.5, 0.5],
            [-0.1, -0.2],
            [-0.2, -0.1],
            [0.3, -0.4],
            [-0.4, 0.3],
            [0.0, 0.0],
            [0.7, 0.7],
            [0.6, 0.6000001],
            [0.6000001, 0.6],
            [1e9, -1e9],
        ]
    )  # (N, 2)
    for scores in (final, strange.T[None]):
        found = model.foreground_probability(scores)
        assert found.shape == (len(scores), *scores.shape[2:]) and found.min() >= 0 and found.max() <= 1
        assert torch.equal(found >= 0.5, scores.argmax(1) == 1)
    assert (model.foreground_probability(final) >= 0.5).float().mean() not in (0, 1)


def test_probabilities_of_logits_and_of_scores():
    meta, ensemble = toys.build(META), toys.build(ENSEMBLE)
    scores = torch.tensor([[0.2, 0.8], [0.9, 0.3]]).T[None]  # (1, 2, 2)
    assert torch.allclose(meta.foreground_probability(scores), scores.softmax(1)[:, 1])
    assert torch.allclose(ensemble.foreground_probability(scores), torch.tensor([[0.8, 0.25]]))


def test_banks_carry_the_fingerprint_that_the_model_was_given():
    model, inputs = toys.build(META), toys.episodes(1)
    model.fingerprint = 'abc'
    assert model.encode_support(inputs['support'], inputs['support_mask']).fingerprint == 'abc'


# --- comparison heads ---


@pytest.mark.parametrize('config', [META, ENSEMBLE], ids=['meta', 'ensemble'])
@torch.no_grad()
def test_comparison_heads_see_the_same_episodes(config):
    model, inputs = toys.build(dict(config, comparison_heads=FLOORS)), toys.episodes(2, 3)
    scores = model(inputs)
    own = {'final'} if config is META else {'final', 'meta', 'base'}
    assert set(scores) == own | {'prototype', 'prior'}
    for name, head in FLOORS.items():
        alone = toys.build(dict(META, decode_head=head))
        alone.backbone.load_state_dict(model.backbone.state_dict())
        assert torch.allclose(scores[name], alone(inputs)['final'], atol=1e-5)
    plain = toys.build(config)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(inputs)['final'], scores['final'])
    predicted = model(inputs, toys.samples(2, (41, 41)), mode='predict')
    assert all(s.pred_prototype_seg.data.shape == s.pred_prior_seg.data.shape == (1, 41, 41) for s in predicted)


def test_comparison_heads_cost_training_nothing():
    model = toys.build(dict(ENSEMBLE, comparison_heads=FLOORS)).train()
    inputs = toys.episodes(2)
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    assert not bank.part('prototype').tensors and not bank.part('prior').tensors
    assert set(model.loss(inputs, toys.samples(2, (41, 41)))) == {'loss_final', 'loss_meta'}


@torch.no_grad()
def test_a_bank_without_comparison_parts_will_do():
    plain, model = toys.build(ENSEMBLE), toys.build(dict(ENSEMBLE, comparison_heads=FLOORS))
    inputs = toys.episodes(1)
    bank = plain.encode_support(inputs['support'], inputs['support_mask'])
    assert set(model.segment(model.extract_feat(inputs['query']), bank)) == {'final', 'meta', 'base'}


# --- geometry of predictions ---


@torch.no_grad()
def test_predictions_go_back_the_way_of_the_pipeline():
    model, inputs = toys.build(ENSEMBLE), toys.episodes(3)
    shapes = [
        dict(ori_shape=(50, 77), restore_shape=(77, 77)),  # a square around the image
        dict(ori_shape=(31, 20), restore_shape=(31, 20)),  # squashed
        dict(ori_shape=(60, 45, 3)),
    ]  # no restore_shape: as mmseg resizes
    queries = [SegDataSample(metainfo=shape) for shape in shapes]
    model(inputs, queries, mode='predict')
    scores = model(inputs)
    for i, (sample, shape) in enumerate(zip(queries, shapes, strict=True)):
        h, w = shape['ori_shape'][:2]
        for name, field in (('final', 'pred_sem_seg'), ('meta', 'pred_meta_seg'), ('base', 'pred_base_seg')):
            restored = bilinear(scores[name][i : i + 1], shape.get('restore_shape', (h, w)))[0, :, :h, :w]
            assert torch.equal(sample.get(field).data, restored.argmax(0, keepdim=True))
            assert sample.get(field).data.shape == (1, h, w)
        assert sample.seg_logits.data.shape == (2, h, w)
    assert queries[0].pred_base_seg.data.unique().numel() > 1


@torch.no_grad()
def test_predictions_without_samples_stay_at_input_size():
    model, inputs = toys.build(META), toys.episodes(2, size=(33, 47))
    predicted = model(inputs, mode='predict')
    assert [s.pred_sem_seg.data.shape for s in predicted] == [(1, 33, 47)] * 2
    assert torch.equal(model.encode_decode(inputs), model(inputs)['final'])


# --- refusals ---


def test_a_backbone_without_blocks():
    with pytest.raises(TypeError, match="'mmseg.ResNet' gives no block features.*BlockFeatureBackbone"):
        toys.MODELS.build(dict(META, backbone=dict(type='mmseg.ResNet', depth=18)))


def test_comparison_heads_with_weights():
    with pytest.raises(ValueError, match='comparison_heads must have no weights'):
        toys.MODELS.build(dict(META, comparison_heads=dict(other=toys.MSANET)))


def test_a_head_without_adjustment_factor():
    model, inputs = toys.build(dict(ENSEMBLE, decode_head=dict(type='PrototypeHead'))), toys.episodes(1)
    with pytest.raises(TypeError, match='PrototypeHead gives no adjustment factor.*FewShotSegmentor'):
        model(inputs)


def test_a_bank_of_another_head():
    model, other = toys.build(META), toys.build(dict(META, decode_head=dict(type='PrototypeHead')))
    inputs = toys.episodes(1)
    bank = other.encode_support(inputs['support'], inputs['support_mask'])
    with pytest.raises(KeyError, match='encode the supports again'):
        model.segment(model.extract_feat(inputs['query']), bank)


def test_wrong_options_of_the_floors():
    with pytest.raises(ValueError, match='threshold=2'):
        toys.MODELS.build(dict(type='PriorMaskHead', threshold=2))
    with pytest.raises(ValueError, match='layers 2, 3, 4'):
        toys.MODELS.build(dict(type='PrototypeHead', stages=(1,)))


# --- the floors, and the narrow base head ---


@torch.no_grad()
def test_prototype_head_by_loops():
    head = toys.build(dict(type='PrototypeHead', stages=(2, 4)))
    query, support = toys.features(1), toys.features(2, seed=4)
    labels = toys.blobs(2, 1, 21, 25, seed=1)
    assert (labels == 255).any()
    encoded = head.encode_support(support, labels)
    bank = SupportBank({name: t.unflatten(0, (1, 2)) for name, t in encoded.items()})
    found = head(head.encode_query(query), bank).logits[0]

    def maps(features, n):  # both stages at unit length, at layer3's size
        size = features['layer3'].shape[-2:]
        return torch.cat([F.normalize(bilinear(features[f'layer{i}'][n : n + 1], size), dim=1)[0] for i in (2, 4)])

    means = []
    for weight in ((labels == 0).float(), (labels == 1).float()):  # 255 is in neither mean
        soft = bilinear(weight, support['layer3'].shape[-2:])
        per_shot = [(maps(support, k) * soft[k]).sum((1, 2)) / (soft[k].sum() + 5e-4) for k in range(2)]
        means.append(sum(per_shot) / 2)
    pixels = maps(query, 0)
    for channel, mean in enumerate(means):
        expected = torch.cosine_similarity(pixels, mean[:, None, None], dim=0)
        assert torch.allclose(found[channel], expected, atol=1e-5)


@torch.no_grad()
def test_prior_mask_head_cuts_at_its_threshold():
    model, inputs = toys.build(dict(META, decode_head=dict(type='PriorMaskHead', threshold=0.7))), toys.episodes(2, 3)
    features = model.extract_feat(inputs['query'])
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    scores = model.segment(features, bank)['final']
    assert (scores[:, 0] == 0.7).all() and scores[:, 1].min() >= 0 and scores[:, 1].max() <= 1


def test_narrow_psp_head():
    head = toys.build(
        dict(
            type='NarrowPSPHead',
            in_channels=32,
            pyramid_channels=8,
            channels=24,
            num_classes=5,
            norm_cfg=dict(type='BN'),
            align_corners=True,
        )
    )
    assert isinstance(head, NarrowPSPHead)
    convs = [m for m in head.psp_modules.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.bias) for c in convs] == [(32, 8, None)] * 4
    assert head.bottleneck.conv.in_channels == 32 + 4 * 8 and head.bottleneck.conv.out_channels == 24
    maps = toys.smooth(2, 32, 9, 7, seed=0, cell=2)
    assert head([None, None, None, maps]).shape == (2, 5, 9, 7)
