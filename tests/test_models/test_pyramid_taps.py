# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PSPNet's pyramid at bin size, against mmseg's head."""

import pytest
import torch
import torch.nn.functional as F
import toys

from mmfss.models.layers import pyramid_taps
from mmfss.models.layers.pyramid_taps import enlarged_taps, psp_logits
from mmfss.registry import MODELS


@pytest.fixture
def convolved(monkeypatch):
    """Shapes of the weights that F.conv2d was called with."""
    seen, own = [], F.conv2d
    monkeypatch.setattr(F, 'conv2d', lambda x, weight, *args, **kw: seen.append(weight) or own(x, weight, *args, **kw))
    return seen


@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('bins', [(1, 1), (2, 3), (6, 6)])
def test_taps_before_enlarging(bins, align_corners):
    maps, weight = toys.smooth(2, 5, *bins, seed=0, cell=2), toys.smooth(7, 5, 3, 3, seed=1, cell=2)
    large = F.interpolate(maps, (11, 9), mode='bilinear', align_corners=align_corners)
    found = enlarged_taps(maps, weight, (11, 9), align_corners)
    assert torch.allclose(found, F.conv2d(large, weight, padding=1), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('head', [{}, dict(type='NarrowPSPHead', pyramid_channels=4)], ids=['PSP', 'narrow'])
def test_psp_logits(head, align_corners, convolved):
    built = toys.build(dict(toys.BASE_HEAD, align_corners=align_corners, pool_scales=(1, 2, 3), **head))
    x = toys.smooth(2, 64, 13, 11, seed=0, cell=3)
    expected = built([x])
    convolved.clear()
    found = psp_logits(built, [x])
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.std()))
    assert max(weight.shape[1] for weight in convolved) == 64  # nothing convolves the enlarged maps


def test_other_heads_run_as_they_are(monkeypatch):
    monkeypatch.setattr(pyramid_taps, 'enlarged_taps', None)
    x = toys.smooth(2, 64, 13, 11, seed=0, cell=3)
    norm_free = MODELS.build(dict(toys.BASE_HEAD, norm_cfg=None)).eval()
    with torch.no_grad():
        assert torch.equal(psp_logits(norm_free, [x]), norm_free([x]))
    trained = toys.build(toys.BASE_HEAD).train()
    assert psp_logits(trained, [x]).requires_grad
