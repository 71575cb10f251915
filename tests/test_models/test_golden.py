# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""MSANet's golden cases in half precision, and the size of rebuilt weights (parity itself: tests/methods)."""

import golden
import pytest
import torch

from mmfss.conversion.parity import build


@pytest.mark.parametrize(
    'name, dtype',
    [('r50_pascal_5shot', 'bfloat16'), ('vgg16_pascal_1shot', 'bfloat16'), ('vgg16_pascal_1shot', 'float16')],
)
@torch.no_grad()
def test_half_precision(name, dtype):
    """Under autocast the scores stay within 1e-2, single pixels of `final` included."""
    case = golden.case(name)
    model = build(case)
    with torch.autocast('cpu', getattr(torch, dtype)):
        scores = model(case.inputs, mode='tensor')
    for output, score in scores.items():
        expected = case.arrays[f'{output}_logits']
        assert (score - expected).norm() / expected.norm() < 1e-2, output
    assert (scores['final'] - case.arrays['final_logits']).abs().max() < 1e-2


def test_rebuilt_weights_have_the_released_size():
    learned = {'r50_pascal_1shot': (51.85, 5.13), 'vgg16_pascal_1shot': (24.45, 4.74)}
    for name, sizes in learned.items():
        model = build(golden.case(name))
        counts = [
            sum(p.numel() for p in model.parameters()),
            sum(p.numel() for p in model.parameters() if p.requires_grad),
        ]
        assert [round(count / 1e6, 2) for count in counts] == list(sizes)
