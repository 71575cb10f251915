# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Center-pivot convolutions on planes that are smaller than their stride."""

import pytest
import torch
import torch.nn.functional as F
import toys

from mmfss.models.layers.center_pivot import CenterPivotConv4d


@pytest.mark.parametrize('plane, kernel, stride', [((1, 1), 3, 2), ((2, 1), 3, 2), ((1, 3), 5, 4), ((2, 3), 5, 4)])
def test_planes_below_a_stride(plane, kernel, stride):
    """As the strided convolution gives it; in bfloat16 its gradient would hold memory that was never written."""
    conv = CenterPivotConv4d(16, 64, kernel, stride)
    volume = toys.smooth(2, 16, 3 * 4 * plane[0], plane[1], seed=0).view(2, 16, 3, 4, *plane)
    found = conv._on_support(volume)
    planes = volume.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    expected = F.conv2d(planes, conv.support.weight, conv.support.bias, stride, kernel // 2)
    assert torch.allclose(found.permute(0, 2, 3, 1, 4, 5).flatten(0, 2), expected, atol=1e-5)
    (full,) = torch.autograd.grad(found.sum(), conv.support.weight)
    for _ in range(4):
        with torch.autocast('cpu', torch.bfloat16):
            half = conv._on_support(volume).float().sum()
        (gradient,) = torch.autograd.grad(half, conv.support.weight)
        assert (gradient - full).abs().max() < 0.02 * full.abs().max()
