# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Hypercorrelations against loops over positions."""

import torch
import toys

from mmfss.models.layers import foreground, resize
from mmfss.models.layers.hypercorrelation import EPS, encode_blocks, hypercorrelation, unit_length

B, SIZE, QUERY = 3, (4, 5), (3, 6)
CHANNELS = (4, 7)  # blocks of one stage may differ


def masks():
    """(B, 1, H, W): a blob, nothing, everything."""
    mask = foreground(toys.blobs(B, 1, 21, 31, seed=3))
    mask[1], mask[2] = 0, 1
    return mask


def test_hypercorrelation():
    queries = [toys.smooth(B, C, *QUERY, seed=C, cell=2) for C in CHANNELS]
    supports = [toys.smooth(B, C, *SIZE, seed=C + 1, cell=2) for C in CHANNELS]
    support = encode_blocks(supports, masks())
    found = hypercorrelation([unit_length(query) for query in queries], support, SIZE)
    assert found.shape == (B, 2, *QUERY, *SIZE)
    soft = resize(masks(), SIZE)
    expected = torch.empty_like(found)
    for index in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        b, block, *place = index
        q = queries[block][b, :, place[0], place[1]]
        s = (supports[block] * soft)[b, :, place[2], place[3]]
        expected[tuple(index)] = max(q / (q.norm() + EPS) @ (s / (s.norm() + EPS)), 0)
    assert torch.allclose(found, expected, atol=1e-6)
    assert not found[1].any() and found[0].any()


def test_support_vectors_are_the_foreground_in_order():
    supports = [toys.smooth(B, C, *SIZE, seed=C, cell=2) for C in CHANNELS]
    support = encode_blocks(supports, masks())
    keep = resize(masks(), SIZE).flatten(1) > 0
    for b in range(B):
        places = support['places'][b]
        assert places[places > 0].tolist() == (keep[b].nonzero().flatten() + 1).tolist()
        assert not support['vectors_1'][b][:, places == 0].any()
    alone = encode_blocks([s[1:2] for s in supports], masks()[1:2])
    assert alone['vectors_0'].shape == (1, CHANNELS[0], 1) and not alone['places'].any()
