# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Presence scores: 1 for the support itself, whatever the method, and nothing of them in an evaluation."""

import pytest
import torch
import torch.nn.functional as F
import toys

from mmfss.models.layers import presence_map, presence_score, presence_vectors
from mmfss.models.segmentors.presence import has_presence, presence_scores, with_presence, without_presence

HEADS = [
    dict(type='PrototypeHead'),
    dict(type='PriorMaskHead'),
    dict(type='PFENetHead', channels=16, bins=(1.0, 0.5, 4)),
]


def test_the_support_is_as_like_itself_as_itself():
    features = toys.smooth(2, 8, 6, 7, seed=0, cell=3)
    mask = torch.zeros(2, 1, 6, 7)
    mask[:, :, 2:5, 1:4] = 1
    vectors = presence_vectors(features, mask)
    likeness = presence_map(features, vectors[:, None])  # a shot each
    torch.testing.assert_close((likeness * mask).sum((1, 2, 3)) / 9, torch.ones(2), atol=1e-3, rtol=0)
    both = presence_map(features, vectors[None].expand(2, 2, 8))
    expected = F.cosine_similarity(features, vectors.mean(0)[None, :, None, None], dim=1)
    own = vectors.mean(0).norm()  # the mean cosine of both objects with their mean
    torch.testing.assert_close(both[:, 0], expected / own)


def test_the_best_that_was_found_and_the_best_twentieth():
    likeness = torch.linspace(0, 0.99, 100).view(1, 1, 10, 10)
    probability = torch.full((1, 10, 10), 0.1)
    probability[0, 4, :6] = 0.7
    padding = torch.zeros(1, 20, 20, dtype=torch.bool)
    best = likeness.flatten()[-5:].mean()
    assert presence_score(likeness, probability, padding).item() == pytest.approx((0.45 + best) / 2)
    assert presence_score(likeness, probability, padding, 0.8).item() == pytest.approx((0.45 + best) / 2)  # the peak
    probability[0, 4, 5] = 0.6
    assert presence_score(likeness, probability, padding, 0.65).item() == pytest.approx((0.44 + best) / 2)
    padding[:, 10:] = True  # of 50 pixels the best two
    assert presence_score(likeness, probability, padding).item() == pytest.approx((0.45 + 0.485) / 2)


@pytest.mark.parametrize('head', HEADS, ids=lambda head: head['type'])
def test_any_method_has_a_score_and_its_outputs_stay(head):
    config = dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=head)
    model = toys.build(config)
    data = toys.episodes(2, 2)
    support = data['support'], data['support_mask']
    with torch.no_grad():
        bank = model.encode_support(*support)
        plain = model.segment_images(data['query'], [bank], data['query_padding'])[0]
        known = with_presence(bank, model, *support)
        scores = model.segment_images(data['query'], [known], data['query_padding'])[0]
    assert 'presence' not in plain and scores.keys() - plain.keys() == {'presence'}
    assert all(torch.equal(scores[name], plain[name]) for name in plain)
    assert scores['presence'].shape[:2] == (2, 1)
    found = presence_scores(model, scores, data['query_padding'])
    assert len(found) == 2 and all(-1 < value < 3 for value in found) and found[0] != found[1]
    assert all(value != value for value in presence_scores(model, plain, data['query_padding']))  # NaN
    assert has_presence(known) and not has_presence(without_presence(known))
    assert without_presence(known).tensors.keys() == bank.tensors.keys()


def test_windows_give_a_score_too():
    config = dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=HEADS[0])
    model = toys.build({**config, 'test_cfg': dict(mode='slide', crop_size=(33, 33), stride=(16, 16))})
    data = toys.episodes(1)
    with torch.no_grad():
        bank = model.encode_support(data['support'], data['support_mask'])
        bank = with_presence(bank, model, data['support'], data['support_mask'])
        scores = model.segment_images(data['query'], [bank], data['query_padding'])[0]
    assert scores['presence'].shape == (1, 1, 41, 41)
    assert presence_scores(model, scores, data['query_padding'])[0] > 0
