# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Constant maps as biases, against the concatenation of expanded ones."""

import pytest
import torch
import toys
from torch import nn

from mmfss.models.layers.constant_maps import conv_of_parts


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('constant', [(), (0,), (1, 2)])
def test_the_same_as_expanded(constant, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(9, 4, 1, bias=bias)
    sizes = [(1, 1) if i in constant else (5, 6) for i in range(4)]
    parts = [toys.smooth(2, c, *size, seed=c, cell=2) for c, size in zip((2, 3, 1, 3), sizes, strict=True)]
    expected = conv(torch.cat([part.expand(-1, -1, 5, 6) for part in parts], dim=1))
    assert torch.allclose(conv_of_parts(conv, parts, constant), expected, atol=1e-5)
