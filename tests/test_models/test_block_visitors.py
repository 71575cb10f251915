# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Blocks that are compared in the middle of the backbone, against maps that are kept to its end."""

import weakref

import pytest
import torch
import toys

from mmfss.models.backbones import BlockResNet
from mmfss.models.decode_heads import msanet_head

MODEL = dict(
    type='BaseLearnerEnsemble',
    backbone=dict(toys.RESNET, depth=34),  # of 13 blocks in the layers that are compared
    decode_head=toys.MSANET,
    base_head=toys.BASE_HEAD,
    feature_cache_gb=0,
)


@pytest.fixture
def maps_alive(monkeypatch):
    """How many maps were in memory whenever one was encoded or compared."""
    seen, counts = [], []

    def counted(own):
        def function(block, *args):
            seen.append(weakref.ref(block))
            counts.append(len({id(ref()) for ref in seen if ref() is not None}))
            return own(block, *args)

        return function

    for name in ('encode_block', 'similarity_map'):
        monkeypatch.setattr(msanet_head, name, counted(getattr(msanet_head, name)))
    return counts


@torch.no_grad()
@pytest.mark.parametrize('groups', [(2, 3, 4), (3,)])
def test_each_map_is_dropped_and_the_result_is_the_same(groups, maps_alive, monkeypatch):
    model = toys.build(dict(MODEL, decode_head=dict(toys.MSANET, block_groups=groups)))
    inputs = toys.episodes(2, 3)
    found = model(inputs, mode='tensor')
    assert max(maps_alive) <= 4  # this one, the one before it, and two that are stages at the same time
    maps_alive.clear()
    monkeypatch.setattr(BlockResNet, 'visits_blocks', False)
    expected = model(inputs, mode='tensor')
    assert max(maps_alive) >= 6
    assert all(torch.equal(found[name], scores) for name, scores in expected.items())


@torch.no_grad()
@pytest.mark.parametrize('images', [1, 2])
def test_several_banks(images, monkeypatch):
    """Of a single image each block meets all banks; a batch keeps its maps."""
    model, inputs = toys.build(MODEL), toys.episodes(2, 2)
    pairs = zip(inputs['support'].split(1), inputs['support_mask'].split(1), strict=True)
    banks = [model.encode_support(*pair) for pair in pairs]
    query = inputs['query'][:images]
    found = model.segment_images(query, banks)
    monkeypatch.setattr(BlockResNet, 'visits_blocks', False)
    for scores, expected in zip(found, model.segment_images(query, banks), strict=True):
        assert all(torch.equal(scores[name], value) for name, value in expected.items())
    assert not torch.equal(found[0]['final'], found[1]['final'])


@torch.no_grad()
def test_where_maps_are_kept():
    """For gradients, in training, and where two heads read them."""
    labels = torch.ones(1, 1, 41, 41)
    model = toys.build(MODEL)
    assert model.support_visitor(labels) is not None
    with torch.enable_grad():
        assert model.support_visitor(labels) is None
    assert model.train().support_visitor(labels) is None
    second = dict(toys.MSANET, parts=('similarity',))
    model.eval().comparison_heads['second'] = toys.build(
        dict(second, in_channels=model.backbone.stage_channels, num_blocks=model.backbone.num_blocks)
    )
    assert model.support_visitor(labels) is None
