# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Masks at feature size, prototypes and attention against loops."""

import pytest
import torch
import torch.nn.functional as F
import toys

from mmfss.models.layers import GuidedAttention, foreground, mask_pyramid, masked_average, resize
from mmfss.models.layers.masks import gather_kept


def bilinear(x, size):
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


def soft_masks(N=3, size=(41, 33)):
    mask = foreground(toys.blobs(N, 1, *size, seed=4))
    mask[0] = 0
    return mask


def test_foreground_is_exactly_one():
    assert foreground(torch.tensor([[0, 1, 2, 254, 255]])).tolist() == [[0, 1, 0, 0, 0]]


def test_resize_aligns_corners_and_leaves_equal_sizes_alone():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert resize(x, (2, 3)) is x
    larger = resize(x, [3, 5])
    assert larger[0, 0].tolist() == [[0, 0.5, 1, 1.5, 2], [1.5, 2, 2.5, 3, 3.5], [3, 3.5, 4, 4.5, 5]]


def test_mask_pyramid_is_a_chain():
    mask = foreground(toys.blobs(1, 1, 473, 473, seed=1))
    half, quarter, eighth = (238, 238), (119, 119), (60, 60)
    masks = mask_pyramid(mask, [half, quarter], [eighth] * 3 + [(30, 30)])
    chain = bilinear(bilinear(bilinear(mask, half), quarter), eighth)
    assert [tuple(m.shape[-2:]) for m in masks] == [eighth] * 3 + [(30, 30)]
    assert torch.equal(masks[0], chain) and masks[1] is masks[0] and masks[2] is masks[0]
    assert torch.equal(masks[3], bilinear(chain, (30, 30)))
    assert not torch.allclose(chain, bilinear(mask, eighth))  # the way matters


def test_gather_kept_keeps_order_and_pads():
    features = torch.arange(2 * 3 * 5.0).view(2, 3, 5)
    keep = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
    vectors, valid = gather_kept(features, keep)
    assert vectors.shape == (2, 3, 3) and valid.tolist() == [[True] * 3, [True, False, False]]
    assert torch.equal(vectors[0], features[0][:, [1, 3, 4]])
    assert torch.equal(vectors[1, :, 0], features[1, :, 2]) and not vectors[1, :, 1:].any()
    vectors, valid = gather_kept(features, torch.zeros(2, 5, dtype=torch.bool))
    assert vectors.shape == (2, 3, 1) and not vectors.any() and not valid.any()


def test_masked_average():
    mask, maps = soft_masks(), toys.smooth(3, 8, 6, 5, seed=2)
    found = masked_average(maps, mask)
    soft = bilinear(mask, (6, 5))
    for n in range(3):
        total, weight = torch.zeros(8), 0.0
        for y in range(6):
            for x in range(5):
                total += maps[n, :, y, x] * soft[n, 0, y, x]
                weight += soft[n, 0, y, x].item()
        assert torch.allclose(found[n], total / (weight + 0.0005), atol=1e-6)
    assert not found[0].any()


def test_attention_pools_over_the_whole_map():
    mask, maps = soft_masks(), toys.smooth(3, 8, 6, 5, seed=2)
    attention = GuidedAttention(8).eval()
    found = attention(maps, mask)
    first, last = attention.gate[0], attention.gate[2]
    for n in range(3):
        pooled = torch.zeros(8)
        for y in range(6):
            for x in range(5):  # the nearest pixel of the mask: floor of the scaled index
                pooled += maps[n, :, y, x] * mask[n, 0, y * 41 // 6, x * 33 // 5]
        hidden = (first.weight[:, :, 0, 0] @ (pooled / 30) + first.bias).relu()
        gate = (last.weight[:, :, 0, 0] @ hidden + last.bias).sigmoid()
        assert torch.allclose(found[n], gate[:, None, None] * maps[n], atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_averages_are_taken_in_float32(dtype):
    """300 * 60 * 60 is beyond half precision's 65,504."""
    maps, mask = torch.full((1, 2, 60, 60), 300.0, dtype=dtype), torch.ones(1, 1, 60, 60)
    with torch.autocast('cpu', dtype):
        found = masked_average(maps, mask)
    assert found.dtype == torch.float32 and torch.allclose(found, torch.tensor(300.0), rtol=1e-5)
