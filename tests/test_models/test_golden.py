# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""mmfss computes what the released MSANet code computes (docs/parity.md holds the table)."""

import golden
import pytest
import torch


@pytest.mark.parametrize('case', golden.CASES)
def test_golden_case(case):
    deviations = golden.compare(case)
    kinds = {name.split('/')[0] for name in deviations}
    assert kinds == set(golden.TOLERANCES)
    too_far = {name: value for name, value in deviations.items() if not value <= golden.TOLERANCES[name.split('/')[0]]}
    assert not too_far


@pytest.mark.parametrize(
    'case, dtype',
    [('r50_pascal_5shot', 'bfloat16'), ('vgg16_pascal_1shot', 'bfloat16'), ('vgg16_pascal_1shot', 'float16')],
)
@torch.no_grad()
def test_half_precision(case, dtype):
    """Under autocast the scores stay within 1e-2, single pixels of `final` included."""
    reference, model = golden.arrays(case), golden.build(case).eval()
    inputs = dict(
        query=reference['query_img'], support=reference['support_img'], support_mask=reference['support_mask']
    )
    with torch.autocast('cpu', getattr(torch, dtype)):
        scores = model(inputs, mode='tensor')
    for name, score in scores.items():
        expected = reference[f'{name}_logits']
        assert (score - expected).norm() / expected.norm() < 1e-2, name
    assert (scores['final'] - reference['final_logits']).abs().max() < 1e-2


def test_rebuilt_weights_have_the_released_size():
    learned = {'r50_pascal_1shot': (51.85, 5.13), 'vgg16_pascal_1shot': (24.45, 4.74)}
    for case, sizes in learned.items():
        model = golden.build(case)
        counts = [
            sum(p.numel() for p in model.parameters()),
            sum(p.numel() for p in model.parameters() if p.requires_grad),
        ]
        assert [round(count / 1e6, 2) for count in counts] == list(sizes)
