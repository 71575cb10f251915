# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Images that go through the backbone one after the other on a CPU."""

import pytest
import torch
import toys

from mmfss.models.layers import slices

MODEL = dict(type='BaseLearnerEnsemble', backbone=toys.RESNET, decode_head=toys.MSANET, base_head=toys.BASE_HEAD)


@pytest.fixture
def counted(monkeypatch):
    """A model, and the numbers of images that its backbone was given."""
    model, seen = toys.build(MODEL), []
    own = model.backbone.extract_blocks
    monkeypatch.setattr(model.backbone, 'extract_blocks', lambda x, *args: seen.append(len(x)) or own(x, *args))
    return model, seen


def test_how_many():
    small, large = torch.zeros(5, 3, 100, 100), torch.zeros(3, 3, 700, 700)
    assert list(slices.image_slices(small)) == [slice(0, 5)]
    assert list(slices.image_slices(large)) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert list(slices.image_slices(large.to('meta'))) == [slice(None)]  # elsewhere the whole batch


@torch.no_grad()
def test_slices_change_nothing(counted, monkeypatch):
    model, seen = counted
    inputs = toys.episodes(2, 3)

    def encode():
        features = model.extract_feat(inputs['query'])
        return features, model.encode_support(inputs['support'], inputs['support_mask'])

    expected, seen[:] = encode(), []
    monkeypatch.setattr(slices, 'CACHED_PIXELS', 41 * 41)
    found, bank = encode()
    assert seen == [1] * 8  # the queries, then the supports
    assert all(torch.allclose(found[name], stage, atol=1e-5) for name, stage in expected[0].stages.items())
    assert bank.open_dims == expected[1].open_dims
    for name, tensor in expected[1].tensors.items():
        assert bank[name].shape == tensor.shape and torch.allclose(bank[name].float(), tensor.float(), atol=1e-5), name


@torch.no_grad()
def test_a_slice_is_encoded_before_the_next(counted, monkeypatch):
    """Or the block features of all supports would be in memory at once."""
    model, seen = counted
    monkeypatch.setattr(slices, 'CACHED_PIXELS', 1)
    own = model.decode_head.encode_support
    monkeypatch.setattr(model.decode_head, 'encode_support', lambda *args: seen.append('encoded') or own(*args))
    inputs = toys.episodes(1, 3)
    model.encode_support(inputs['support'], inputs['support_mask'])
    assert seen == [1, 'encoded'] * 3


@pytest.mark.parametrize('frozen', [True, False])
def test_training(counted, monkeypatch, frozen):
    """A frozen backbone is sliced too; one that is trained sees the batch whole."""
    model, seen = counted
    model.train()
    model.freeze_backbone = frozen
    monkeypatch.setattr(slices, 'CACHED_PIXELS', 41 * 41)
    model.loss(toys.episodes(2, 2), toys.samples(2, (41, 41)))
    assert seen == ([1] * 6 if frozen else [2, 4])
