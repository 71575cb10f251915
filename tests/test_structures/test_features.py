# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BackboneFeatures is a value: picked, joined, counted, with whatever a subclass adds."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mmfss.structures import BackboneFeatures


@dataclass(frozen=True)
class WithClassTokens(BackboneFeatures):
    tokens: Tensor | None = None


def features(N=3, side=5, kind=WithClassTokens, **further):
    return kind(
        dict(layer1=torch.rand(N, 2, 2 * side, side), layer3=torch.rand(N, 4, side, side)),
        dict(layer3=(torch.rand(N, 4, side, side), torch.rand(N, 4, side, side))),
        neck=torch.rand(N, 3, side, side),
        extras=dict(scale=torch.arange(N)),
        sizes=dict(layer1=(2 * side, side), layer3=(side, side)),
        padding=torch.rand(N, 1, 8, 8) > 0.5,
        **further,
    )


def test_picked_and_joined():
    whole = features(tokens=torch.rand(3, 7))
    parts = [whole.pick(i) for i in (2, 0)]
    assert all(part.batch_size == 1 and isinstance(part, WithClassTokens) for part in parts)
    assert parts[0].stages['layer1'].data_ptr() != whole.stages['layer1'][2:].data_ptr()
    joined = BackboneFeatures.join(parts)
    assert isinstance(joined, WithClassTokens) and joined.sizes == whole.sizes
    order = [2, 0]
    assert torch.equal(joined['layer3'], whole['layer3'][order]) and torch.equal(joined.tokens, whole.tokens[order])
    assert torch.equal(joined.blocks['layer3'][1], whole.blocks['layer3'][1][order])
    assert joined.extras['scale'].tolist() == [2, 0] and torch.equal(joined.padding, whole.padding[order])


def test_every_tensor_counts():
    with_tokens, without = features(tokens=torch.rand(3, 7)), features()
    assert with_tokens.nbytes - without.nbytes == 3 * 7 * 4
    assert without.nbytes == 4 * 3 * (2 * 50 + 4 * 25 + 2 * 4 * 25 + 3 * 25) + 8 * 3 + 3 * 64


def test_float_leaves_what_is_no_float():
    half = BackboneFeatures(dict(layer2=torch.rand(1, 2, 3, 3).half()), extras=dict(index=torch.arange(1)))
    assert half.float()['layer2'].dtype == torch.float32 and half.float().extras['index'].dtype == torch.int64


def test_refusals():
    with pytest.raises(ValueError, match='cannot be joined'):
        BackboneFeatures.join([features(), features(side=6)])
    with pytest.raises(ValueError, match='cannot be joined'):
        BackboneFeatures.join([BackboneFeatures(dict(layer2=torch.rand(1, 2))), features(kind=BackboneFeatures)])
