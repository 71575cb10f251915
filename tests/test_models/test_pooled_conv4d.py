# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""4D convolution with pooling, and correlations that come pooled, against the plain way."""

import pytest
import torch
import torch.nn.functional as F
import toys

from mmfss.models.layers import foreground
from mmfss.models.layers.hypercorrelation import encode_blocks, hypercorrelation, unit_length
from mmfss.models.layers.pooled_conv4d import PooledConv4d
from mmfss.models.layers.pooled_correlation import pooled_correlations

QUERY, SUPPORT, CHANNELS = (4, 8), (8, 4), (5, 7)


def plain(conv: PooledConv4d, volume: torch.Tensor) -> torch.Tensor:
    """(B, L, ha, wa, hb, wb) -> (B, C, ha', wa', hb', wb'), position by position of the other plane."""
    B, L, ha, wa, hb, wb = volume.shape

    def pooled(maps, stride):
        return F.max_pool2d(maps, stride, ceil_mode=True) if stride > 1 else maps

    on_support = pooled(volume.permute(0, 2, 3, 1, 4, 5).reshape(-1, L, hb, wb), conv.support_stride)
    side = on_support.shape[-2:]
    query = on_support.view(B, ha, wa, L, *side).permute(0, 4, 5, 3, 1, 2)  # (B, hb', wb', L, ha, wa)
    a = torch.stack([torch.stack([conv.query(query[:, i, j]) for j in range(side[1])], -1) for i in range(side[0])], -2)
    on_query = pooled(volume.permute(0, 4, 5, 1, 2, 3).reshape(-1, L, ha, wa), conv.query_stride)
    side = on_query.shape[-2:]
    support = on_query.view(B, hb, wb, L, *side).permute(0, 4, 5, 3, 1, 2)  # (B, ha', wa', L, hb, wb)
    b = torch.stack(
        [torch.stack([conv.support(support[:, i, j]) for j in range(side[1])], 2) for i in range(side[0])], 2
    )
    return a + b


@pytest.mark.parametrize('strides', [(1, 1), (2, 1), (1, 2), (2, 2)])
@torch.no_grad()
def test_convolution(strides):
    torch.manual_seed(0)
    conv = PooledConv4d(3, 6, *strides)
    volume = torch.randn(2, 3, *QUERY, *SUPPORT)
    assert torch.allclose(conv(volume), plain(conv, volume), atol=1e-5)
    odd = torch.randn(1, 3, 3, 5, 5, 3)  # cells at the far edges are smaller
    assert torch.allclose(conv(odd), plain(conv, odd), atol=1e-5)


@pytest.mark.parametrize('strides', [(1, 1), (2, 1), (1, 2), (2, 2)])
@torch.no_grad()
def test_correlations_come_pooled(strides):
    mask = foreground(toys.blobs(3, 1, 21, 31, seed=3))
    mask[1], mask[2] = 0, 1  # a blob, nothing, everything
    queries = [unit_length(toys.smooth(3, C, *QUERY, seed=C, cell=2)) for C in CHANNELS]
    supports = encode_blocks([toys.smooth(3, C, *SUPPORT, seed=C + 1, cell=2) for C in CHANNELS], mask)
    volume = hypercorrelation(queries, supports, SUPPORT)
    torch.manual_seed(0)
    conv = PooledConv4d(2, 6, *strides)
    pooled = pooled_correlations(queries, supports, SUPPORT, *strides)
    assert pooled[0].shape == (3, 2, *QUERY, *(side // strides[1] for side in SUPPORT))
    assert torch.allclose(conv.from_pooled(*pooled), conv(volume), atol=1e-5)


def test_gradients_reach_a_trained_backbone():
    block = toys.smooth(2, 5, *SUPPORT, seed=1, cell=2).requires_grad_()
    mask = foreground(toys.blobs(2, 1, 21, 31, seed=3))
    query = toys.smooth(2, 5, *QUERY, seed=2, cell=2).requires_grad_()
    pooled = pooled_correlations([unit_length(query)], encode_blocks([block], mask), SUPPORT, 2, 2)
    sum(part.square().sum() for part in pooled).backward()
    assert query.grad.abs().sum() > 0 and block.grad.abs().sum() > 0
