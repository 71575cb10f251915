# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Features that are kept between the batches of an evaluation."""

import pytest
import torch
import toys

from mmfss.models.segmentors.feature_cache import FeatureCache, digests

MODEL = dict(type='BaseLearnerEnsemble', backbone=toys.RESNET, decode_head=toys.MSANET, base_head=toys.BASE_HEAD)


class Counted:
    """A backbone's ``extract_blocks`` that counts its images."""

    def __init__(self, backbone):
        self.backbone, self.images = backbone, 0

    def __call__(self, images):
        self.images += len(images)
        return self.backbone.extract_blocks(images)


class ImageCache(FeatureCache):
    """Keyed by nothing but images."""

    def __call__(self, images, extract):
        return super().__call__(digests('stages', images), lambda chosen: extract(images[chosen]))


@pytest.fixture
def parts():
    backbone = toys.build(toys.RESNET)
    return backbone, ImageCache(backbone, gigabytes=1), Counted(backbone)


def maps(features):
    return [*features.stages.values(), *(block for group in features.blocks.values() for block in group)]


def size_of(cache: FeatureCache) -> int:
    """Bytes whose storage the cache really keeps alive."""
    tensors = [t for f in cache._entries.values() for t in maps(f)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@torch.no_grad()
def test_equal_features_and_no_second_run(parts):
    backbone, cache, extract = parts
    images = toys.smooth(3, 3, 33, 33, seed=0)
    plain = backbone.extract_blocks(images[[0, 1, 0, 2]])
    for _ in range(2):
        found = cache(images[[0, 1, 0, 2]], extract)
        for a, b in zip(maps(found), maps(plain), strict=True):
            assert torch.allclose(a, b, atol=1e-6)
        assert found.sizes == plain.sizes
    assert extract.images == 3  # the repeated image counts once
    cache(images.flip(0), extract)
    assert extract.images == 3
    cache(images.flip(3), extract)
    assert extract.images == 6


@torch.no_grad()
def test_the_oldest_go_first(parts):
    backbone, cache, extract = parts
    images = toys.smooth(4, 3, 33, 33, seed=0)
    cache(images[:1], extract)
    one = cache._size
    cache.capacity = 3 * one
    cache(images[1:3], extract)
    cache(images[:1], extract)  # now image 1 is the oldest
    cache(images[3:], extract)
    assert cache._size == size_of(cache) == 3 * one
    extract.images = 0
    cache(images[[0, 2, 3]], extract)
    assert extract.images == 0
    cache(images[1:2], extract)
    assert extract.images == 1


@torch.no_grad()
def test_evicted_features_free_their_memory(parts):
    """Entries of one batch must not share storage, or the last of them keeps all."""
    _, cache, extract = parts
    cache(toys.smooth(4, 3, 33, 33, seed=0), extract)
    cache.capacity = cache._size // 4
    cache(toys.smooth(1, 3, 33, 33, seed=1), extract)
    assert len(cache._entries) == 1 and size_of(cache) == cache._size


@torch.no_grad()
def test_too_small_for_anything(parts):
    _, cache, extract = parts
    cache.capacity = 1
    images = toys.smooth(2, 3, 33, 33, seed=0)
    cache(images, extract)
    assert not cache._entries and cache._size == 0
    assert cache(images, extract)['layer2'].shape[0] == 2 and extract.images == 4


@torch.no_grad()
@pytest.mark.parametrize('change', ['load', 'parameter', 'buffer'])
def test_new_weights_empty_it(parts, change):
    backbone, cache, extract = parts
    images = toys.smooth(1, 3, 33, 33, seed=0)
    before = cache(images, extract)
    if change == 'load':
        backbone.load_state_dict({k: v + v for k, v in backbone.state_dict().items()})
    elif change == 'parameter':
        backbone.conv1.weight.mul_(2)
    else:
        backbone.bn1.running_mean.add_(1)
    after = cache(images, extract)
    assert extract.images == 2 and not torch.allclose(before['layer2'], after['layer2'])
    assert torch.equal(after['layer2'], backbone.extract_blocks(images)['layer2'])


@torch.no_grad()
def test_precisions_are_told_apart(parts):
    _, cache, extract = parts
    images = toys.smooth(1, 3, 33, 33, seed=0)
    with torch.autocast('cpu', torch.bfloat16):
        half = cache(images, extract)['layer2']
    exact = cache(images, extract)['layer2']
    assert extract.images == 2 and exact.dtype == torch.float32 and not torch.equal(exact, half.float())


@torch.no_grad()
def test_in_a_segmentor():
    plain, cached = toys.build(MODEL), toys.build(dict(MODEL, feature_cache_gb=0.1))
    inputs = toys.episodes(2, 2)
    for _ in range(2):
        expected, found = plain(inputs), cached(inputs)
        assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert len(cached.feature_cache._entries) == 6
    cached.train()
    cached.extract_feat(toys.smooth(1, 3, 41, 41, seed=7))
    assert len(cached.feature_cache._entries) == 6  # augmented images do not come again
