# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Superpixels of ASGNet: where they begin, how they grow, which of them guides a pixel."""

import golden
import numpy as np
import pytest
import torch
import toys

from mmfss.models.layers import guided_clustering
from mmfss.models.layers.guided_clustering import superpixel_prototypes
from mmfss.models.layers.masks import resize_nearest
from mmfss.models.layers.prototype_allocation import allocate
from mmfss.models.layers.superpixel_seeds import place_seeds, recount

# --- seeds ---


def test_seeds_are_those_of_the_released_code():
    """Full, rectangular, thin, empty, parted and ragged masks."""
    stored = np.load(golden.FOLDER / 'asgnet_seeds.npz')
    H, W = stored['size']
    masks = torch.as_tensor(np.unpackbits(stored['mask'], axis=-1)[..., :W]).view(-1, 1, H, W).float()
    seeds, placed = place_seeds(resize_nearest(masks, (60, 60)).squeeze(1) > 0)
    assert torch.equal(seeds, torch.as_tensor(stored['seeds']).long())
    assert torch.equal(recount(seeds), torch.as_tensor(stored['count']).long())
    assert (recount(seeds) <= placed).all() and not torch.equal(recount(seeds), placed)


def slow_seeds(mask: torch.Tensor, most: int, area: float) -> torch.Tensor:
    """The definition, pixel by pixel."""
    inside = mask.nonzero().tolist()
    seeds = torch.zeros(most, 2, dtype=torch.long)
    number = min(round(len(inside) / area), most)
    if number < 2:
        return seeds
    top, left = min(r for r, _ in inside), min(c for _, c in inside)
    bottom, right = max(r for r, _ in inside), max(c for _, c in inside)
    box = [[r, c] for r in range(top, bottom + 1) for c in range(left, right + 1)]
    outside = [place for place in box if place not in inside] or [[top - 1, left]]
    for i in range(number):
        distance = [min((r - y) ** 2 + (c - x) ** 2 for y, x in outside) for r, c in inside]
        seeds[i] = torch.tensor(inside[distance.index(max(distance))])
        outside = [place for place in outside if place[0] >= top] + [seeds[i].tolist()]
    return seeds


@pytest.mark.parametrize('size', [(9, 13), (12, 8)])
def test_seeds_follow_their_definition(size):
    heights = toys.smooth(12, *size, seed=3, cell=4)
    masks = heights > torch.linspace(-1, 1, 12).view(-1, 1, 1)
    masks[0], masks[1] = False, True
    masks[2] = False
    masks[2, 2:6, 1:7] = True  # no background in its box
    seeds, placed = place_seeds(masks, 4, 7)
    assert placed.unique().numel() > 2
    for mask, found in zip(masks, seeds, strict=True):
        assert torch.equal(found, slow_seeds(mask, 4, 7))


def test_half_a_superpixel_rounds_to_even():
    masks = torch.zeros(4, 20, 20, dtype=torch.bool)
    for mask, pixels in zip(masks, (149, 150, 250, 251), strict=True):
        mask.view(-1)[:pixels] = True
    assert place_seeds(masks)[1].tolist() == [0, 2, 2, 3]


# --- clustering and allocation ---


@pytest.mark.parametrize('rounds', [1, 4])
def test_clusters_follow_their_definition(rounds):
    features, mask = 2 * torch.randn(2, 5, 6, 7), torch.zeros(2, 1, 6, 7)
    mask[0, 0, 1:5, 2:6], mask[1, 0, 3:, :3] = 1, 1
    seeds = torch.tensor([[[1, 2], [4, 5], [0, 0]], [[0, 6], [5, 1], [3, 2]]])  # one lies outside of its region
    found, valid = superpixel_prototypes(features, mask, seeds, torch.tensor([2, 3]), rounds)
    assert valid.tolist() == [[True, True, False], [True, True, True]] and not found[0, :, 2].any()
    for n in range(2):
        pixels = [(r, c) for r in range(6) for c in range(7) if mask[n, 0, r, c]]
        for s in range(int(valid[n].sum())):
            place = seeds[n, s].double()
            centre = features[n, :, seeds[n, s, 0], seeds[n, s, 1]].double()
            for _ in range(rounds):
                spatial = [((torch.tensor(p) - place) ** 2).sum() / 100 for p in pixels]
                vectors = torch.stack([features[n, :, r, c].double() for r, c in pixels])
                distance = (((vectors - centre) ** 2).sum(1) + torch.stack(spatial)).sqrt()
                weights = (-distance).exp() / (-distance).exp().sum()
                centre, place = weights @ vectors, weights @ torch.tensor(pixels).double()
            torch.testing.assert_close(found[n, :, s], centre.float(), atol=1e-5, rtol=1e-5)


def test_one_prototype_is_the_masked_average():
    features, mask = torch.randn(2, 5, 6, 7), torch.zeros(2, 1, 6, 7)
    mask[1, 0, 2:4, 3] = 1
    seeds, none = torch.zeros(2, 5, 2, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    found, valid = superpixel_prototypes(features, mask, seeds, none, 5)
    assert valid.tolist() == [[True, False, False, False, False]] * 2
    assert not found[0].any() and not found[1, :, 1:].any()
    torch.testing.assert_close(found[1, :, 0], features[1, :, 2:4, 3].sum(1) / (2 + 5e-4))


def test_far_pixels_and_empty_regions_do_no_harm():
    """exp(-distance) is 0 in float32 for every pixel here."""
    features, mask = 1e3 * torch.randn(1, 5, 6, 7), torch.ones(1, 1, 6, 7)
    seeds, count = torch.tensor([[[2, 2], [4, 4]]]), torch.tensor([2])
    features[0, :, 2, 2] = 1e5
    mask[0, 0, 2, 2] = 0
    assert superpixel_prototypes(features, mask, seeds, count, 3)[0].isfinite().all()
    assert not superpixel_prototypes(features, 0 * mask, seeds, count, 3)[0].any()


def test_recorded_graphs_compute_the_same_distances(monkeypatch):
    centres, vectors = torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    usual = guided_clustering.distances(centres, vectors)
    monkeypatch.setattr(guided_clustering, 'exporting', lambda: True)
    torch.testing.assert_close(guided_clustering.distances(centres, vectors), usual)


def test_each_pixel_is_guided_by_the_prototype_most_like_it():
    query = torch.randn(2, 4, 3, 5)
    prototypes = torch.randn(2, 4, 6)
    valid = torch.tensor([[True, False, True, True, False, False], [True, True, True, True, True, True]])
    cosine, index, guide = allocate(query, prototypes, valid)
    for b in range(2):
        kept = prototypes[b, :, valid[b]]
        expected = torch.nn.functional.cosine_similarity(query[b, :, None], kept[:, :, None, None], dim=0)  # (P, h, w)
        torch.testing.assert_close(cosine[b].sum(0), expected.sum(0))
        assert torch.equal(guide[b], kept[:, expected.argmax(0)])
        assert torch.equal(prototypes[b][:, index[b]], guide[b])
