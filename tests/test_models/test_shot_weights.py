# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Adjustment factor and weights of shots."""

import pytest
import torch
import toys

from mmfss.models.layers import ShotWeighting, equal_weights, gram_matrix, scene_difference


def test_gram_matrix():
    maps = toys.smooth(2, 4, 5, 3, seed=0, cell=2)
    maps[1, 2] = 0  # a dead channel
    found = gram_matrix(maps)
    for n in range(2):
        for i in range(4):
            for j in range(4):
                a, b = maps[n, i].flatten(), maps[n, j].flatten()
                assert torch.allclose(found[n, i, j], a @ b / (a.norm() * b.norm() + 1e-7), atol=1e-6)
    assert not found[1, 2].any()


def test_scene_difference():
    query, support = gram_matrix(toys.smooth(2, 4, 5, 3, seed=0)), gram_matrix(toys.smooth(6, 4, 5, 3, seed=1))
    support = support.view(2, 3, 4, 4)
    support[0, 1] = query[0]
    found = scene_difference(query, support)
    for b in range(2):
        for k in range(3):
            expected = ((query[b] - support[b, k]) ** 2).sum().sqrt() / torch.ones(4, 4).norm()
            assert torch.allclose(found[b, k], expected, atol=1e-6)
    assert found[0, 1] == 0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_gram_matrix_of_half_features(dtype):
    maps = 100 * toys.smooth(1, 4, 60, 60, seed=0).relu()
    with torch.autocast('cpu', dtype):
        found = gram_matrix(maps.to(dtype))
    assert found.dtype == torch.float32 and torch.allclose(found, gram_matrix(maps), atol=1e-2)


@pytest.mark.parametrize('restore', [False, True])
def test_learnt_weights(restore):
    torch.manual_seed(0)
    weighting = ShotWeighting(3, restore_order=restore)
    difference = torch.tensor([[0.3, 0.1, 0.2], [0.1, 0.2, 0.3]])
    found = weighting(difference)
    first, last = weighting.layers[0], weighting.layers[2]
    for b in range(2):
        order = sorted(range(3), key=lambda k, b=b: difference[b, k].item())
        hidden = (first.weight[:, :, 0, 0] @ difference[b][order] + first.bias).relu()
        weights = (last.weight[:, :, 0, 0] @ hidden + last.bias).softmax(0)
        if restore:  # the weight computed at a rank goes to the shot of this rank
            expected = torch.stack([weights[order.index(k)] for k in range(3)])
        else:  # as released: the j-th output goes to the j-th given shot
            expected = weights
        assert torch.allclose(found[b], expected, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(2))


def test_restored_weights_follow_their_shots():
    torch.manual_seed(0)
    weighting = ShotWeighting(3, restore_order=True)
    difference, order = torch.tensor([[0.3, 0.1, 0.2]]), torch.tensor([2, 0, 1])
    assert torch.allclose(weighting(difference)[:, order], weighting(difference[:, order]))


@pytest.mark.parametrize('K', [1, 2, 5])
def test_another_number_of_shots_is_weighted_equally(K):
    difference = torch.rand(2, K)
    assert torch.equal(ShotWeighting(3)(difference), torch.full((2, K), 1 / K))
    assert torch.equal(equal_weights(difference), torch.full((2, K), 1 / K))


def test_one_shot_needs_no_weights():
    with pytest.raises(ValueError, match='K > 1'):
        ShotWeighting(1)
