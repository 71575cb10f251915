# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Prior mask and similarity maps against loops over pixels."""

import pytest
import torch
import torch.nn.functional as F
import toys

from mmfss.models.layers import encode_block, encode_prior, foreground, prior_mask, resize, similarity, similarity_map
from mmfss.models.layers.multi_similarity import SQUEEZINGS

B, K, C, SIZE = 2, 2, 5, (4, 6)


def pair(seed=0, relu=False):
    """Query (B, C, h, w) and support maps (B, K, C, h, w)."""
    query, support = toys.smooth(B, C, *SIZE, seed=seed, cell=2), toys.smooth(B, K, C, *SIZE, seed=seed + 1, cell=2)
    return (query.relu(), support.relu()) if relu else (query, support)


def masks(size=(21, 31)):
    """(B, K, H, W) in {0., 1.}: a blob, everything, nothing, and a corner."""
    mask = foreground(toys.blobs(B, K, *size, seed=3))
    mask[0, 1], mask[1, 0], mask[1, 1] = 1, 0, 0
    mask[1, 1, :9, :9] = 1
    return mask


def encode(function, support, mask, *args):
    encoded = function(support.flatten(0, 1), mask.flatten(0, 1).unsqueeze(1), *args)
    return {name: tensor.unflatten(0, (B, K)) for name, tensor in encoded.items()}


def columns(feature):
    return list(feature.flatten(1).T)  # (C, h, w) -> h*w vectors


@pytest.mark.parametrize('relu', [True, False], ids=['after ReLU', 'negative features too'])
def test_prior_mask(relu):
    (query, support), mask = pair(relu=relu), masks()
    if not relu:
        query[0] = -support[0, 1]  # against an all-foreground support no similarity need be positive
    found = prior_mask(query, encode(encode_prior, support, mask))
    for b in range(B):
        for k in range(K):
            soft = resize(mask[b : b + 1, k : k + 1], SIZE)[0]
            best = []
            for q in columns(query[b]):
                cosines = [q @ s / (q.norm() * s.norm() + 1e-7) for s in columns(support[b, k] * soft)]
                best.append(max(cosines))
            best = torch.stack(best)
            expected = (best - best.min()) / (best.max() - best.min() + 1e-7)
            assert torch.allclose(found[b, k].flatten(), expected, atol=1e-5), (b, k)
    assert not found[1, 0].any()  # the empty mask


def kept_by_loop(feature, soft, squeezing):
    """Positions that a similarity map uses, read off the spec."""
    positions = [i for i, value in enumerate(soft.flatten().tolist()) if value > 0]
    if squeezing == 'released':
        values = soft.flatten()
    else:
        values = torch.stack([vector.mean() for vector in columns(feature * soft)])
    mean = sum(values[i] for i in positions) / max(len(positions), 1)
    return [i for i in positions if values[i] >= mean - 1e-7]


@pytest.mark.parametrize('squeezing', sorted(SQUEEZINGS))
def test_similarity_map(squeezing):
    (query, support), mask = pair(), resize(masks().flatten(0, 1).unsqueeze(1), SIZE).view(B, K, *SIZE)
    found = similarity_map(query, encode(encode_block, support, mask, squeezing))
    for b in range(B):
        expected = torch.zeros(SIZE).flatten()
        for k in range(K):
            vectors = columns(support[b, k])
            kept = kept_by_loop(support[b, k], mask[b, k : k + 1], squeezing)
            for i, q in enumerate(columns(query[b])):
                for s in (vectors[j] for j in kept):
                    cosine = (q / (q.norm() + 1e-5)) @ (s / (s.norm() + 1e-5))
                    expected[i] += max(cosine, 0) / len(kept) / K
        assert torch.allclose(found[b].mean(0).flatten(), expected, atol=1e-5)


def test_padding_changes_nothing():
    (query, support), mask = pair(), masks()
    soft = resize(mask.flatten(0, 1).unsqueeze(1), SIZE).view(B, K, *SIZE)
    joint = (
        similarity_map(query, encode(encode_block, support, soft)),
        prior_mask(query, encode(encode_prior, support, mask)),
    )
    for b in range(B):
        alone = []
        for k in range(K):
            block = encode_block(support[b, k : k + 1], soft[b, k : k + 1, None])
            prior = encode_prior(support[b, k : k + 1], mask[b, k : k + 1, None])
            alone.append(
                (
                    similarity_map(query[b : b + 1], {n: t[None] for n, t in block.items()}),
                    prior_mask(query[b : b + 1], {n: t[None] for n, t in prior.items()}),
                )
            )
        assert torch.allclose(joint[0][b : b + 1], torch.cat([m for m, _ in alone], dim=1), atol=1e-6)
        assert torch.allclose(joint[1][b : b + 1], torch.cat([p for _, p in alone], dim=1), atol=1e-5)


def test_slices_give_the_same_maps(monkeypatch):
    (query, support), mask = pair(), masks()
    soft = resize(mask.flatten(0, 1).unsqueeze(1), SIZE).view(B, K, *SIZE)
    block, prior = encode(encode_block, support, soft), encode(encode_prior, support, mask)
    whole = similarity_map(query, block), prior_mask(query, prior)
    for limit in (1, 7 * B * prior['vectors'].shape[-1]):  # one position at a time, and an uneven split
        monkeypatch.setattr(similarity, 'CACHED_PRODUCTS', limit)
        assert torch.allclose(similarity_map(query, block), whole[0], atol=1e-6)
        assert torch.allclose(prior_mask(query, prior), whole[1], atol=1e-6)
    calls = []
    similarity.chunked_correlation(
        query.flatten(2), prior['vectors'], lambda p, shots: calls.append((shots.start, p.shape[1])) or p[..., 0]
    )
    assert calls == [(k, n) for k in range(K) for n in (7, 7, 7, 3)]


def test_gradient_flows_through_slices(monkeypatch):
    (query, support), mask = pair(), masks()
    soft = resize(mask.flatten(0, 1).unsqueeze(1), SIZE).view(B, K, *SIZE)
    grads = []
    for limit in (2**26, 1):
        monkeypatch.setattr(similarity, 'CACHED_PRODUCTS', limit)
        q, s = query.clone().requires_grad_(), support.clone().requires_grad_()
        similarity_map(q, encode(encode_block, s, soft)).square().sum().backward()
        grads.append((q.grad, s.grad))
    assert all(g.abs().sum() > 0 and torch.allclose(g, h, atol=1e-6) for g, h in zip(*grads, strict=True))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_inputs_stay_finite(dtype):
    query, support = (100 * t for t in pair())
    mask = masks()
    soft = resize(mask.flatten(0, 1).unsqueeze(1), SIZE).view(B, K, *SIZE)
    with torch.autocast('cpu', dtype):
        maps = similarity_map(query.to(dtype), encode(encode_block, support.to(dtype), soft))
        prior = prior_mask(query.to(dtype), encode(encode_prior, support.to(dtype), mask))
    assert maps.dtype == prior.dtype == torch.float32 and maps.isfinite().all() and prior.isfinite().all()
    assert torch.allclose(maps, similarity_map(query, encode(encode_block, support, soft)), atol=1e-2)


def test_maps_are_not_copied(monkeypatch):
    """Channels last, as backbones give them, a block is rows of the product; nor are the shots' vectors joined."""
    (query, support), mask = pair(), masks()
    soft = resize(mask.flatten(0, 1).unsqueeze(1), SIZE).view(B, K, *SIZE)
    block, seen = encode(encode_block, support, soft), []
    own = F.conv2d

    def conv2d(maps, *args, **kwargs):
        assert maps.is_contiguous(memory_format=torch.channels_last)  # or the convolution copies it
        seen.append((maps.data_ptr(), args[0].data_ptr()))
        return own(maps, *args, **kwargs)

    monkeypatch.setattr(F, 'conv2d', conv2d)
    query = query.contiguous(memory_format=torch.channels_last)
    similarity_map(query, block)
    assert seen == [(query[b].data_ptr(), block['vectors'][b, k].data_ptr()) for k in range(K) for b in range(B)]


def test_bfloat16_is_added_up_in_float32():
    """A mean over thousands of products, each rounded: in bfloat16 the sum itself would stop at 256 ones."""
    query, support = torch.ones(1, 4, 2, 2), torch.ones(1, 4, 40, 50)
    block = encode_block(support.bfloat16(), torch.ones(1, 1, 40, 50))
    assert block['vectors'].dtype == torch.bfloat16
    found = similarity_map(query.bfloat16(), {name: t[None] for name, t in block.items()})
    assert found.dtype == torch.float32 and torch.allclose(found, torch.ones(1, 1, 2, 2), atol=1e-3)
    prior = encode_prior(support.bfloat16(), torch.ones(1, 1, 40, 50))
    assert prior['vectors'].dtype == torch.bfloat16
