# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Shifted windows against loops over tokens and windows."""

from itertools import product

import pytest
import torch

from mmfss.models.layers.shifted_windows import APART, relative_positions, window_order
from mmfss.models.layers.window_transformer import WindowTransformer


@pytest.mark.parametrize(
    ('sides', 'window', 'shift'), [((4, 6), 2, 1), ((4, 4, 2, 2), 2, 1), ((8, 4), 4, 2), ((4, 8), 4, 0)]
)
def test_windows_hold_the_tokens_of_a_shifted_grid(sides, window, shift):
    found = window_order(sides, window, shift)
    tokens = window ** len(sides)
    expected = {}
    for window_place in product(*(range(side // window) for side in sides)):
        inside = []
        for offset in product(range(window), repeat=len(sides)):
            place = [(w * window + o + shift) % side for w, o, side in zip(window_place, offset, sides, strict=True)]
            number = 0
            for p, side in zip(place, sides, strict=True):
                number = number * side + p
            # Which end of each axis a token came from: those that the shift has brought round lie past the edge.
            around = tuple(
                w * window + o + shift >= side for w, o, side in zip(window_place, offset, sides, strict=True)
            )
            inside.append((number, around))
        expected[tuple(n for n, _ in inside)] = [a for _, a in inside]
    assert found.order[found.inverse].equal(torch.arange(len(found.order)))
    windows, start = found.order.view(-1, tokens).tolist(), 0
    assert {tuple(w) for w in windows} == set(expected) and sum(found.counts) == len(windows)
    for count, mask in zip(found.counts, found.masks, strict=True):
        for ordered in windows[start : start + count]:
            around = expected[tuple(ordered)]
            apart = [[a != b for b in around] for a in around]
            assert torch.equal(torch.tensor(apart) * APART, mask)
        start += count


def test_relative_positions():
    index = relative_positions(3, 2)
    for a, b in product(range(9), repeat=2):
        dy, dx = a // 3 - b // 3, a % 3 - b % 3
        assert index[a, b] == (dy + 2) * 5 + dx + 2
    assert relative_positions(4, 4).shape == (256, 256) and relative_positions(4, 4).max() == 7**4 - 1


@pytest.mark.parametrize('sides', [(4, 6), (4, 4, 2, 2)])
def test_a_plain_block_attends_within_windows(sides):
    torch.manual_seed(0)
    transformer = WindowTransformer(8, depth=1, window=2, sides=sides, heads=2)
    torch.nn.init.normal_(transformer.blocks[0].attn.relative_position_bias_table)
    x = torch.randn(1, *sides, 8, requires_grad=True)
    place = (0, *[1] * len(sides))
    transformer(x)[place].sum().backward()
    reached = x.grad.abs().sum(-1)[0].nonzero().tolist()
    assert reached == [list(p) for p in product(range(2), repeat=len(sides))]


def test_shifted_blocks_carry_over_windows_but_not_round_the_edge():
    torch.manual_seed(0)
    transformer = WindowTransformer(8, depth=2, window=2, sides=(6, 6), heads=2)
    x = torch.randn(1, 6, 6, 8, requires_grad=True)
    transformer(x)[0, 0, 0].sum().backward()  # alone with itself in a shifted window
    assert x.grad.abs().sum(-1)[0].gt(1e-12).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    x.grad = None
    transformer(x)[0, 1, 1].sum().backward()
    assert x.grad.abs().sum(-1)[0].gt(1e-12).nonzero().tolist() == [list(p) for p in product(range(4), repeat=2)]


def test_sides_must_be_multiples_of_the_window():
    with pytest.raises(ValueError, match='windows of side 4 do not fill a map of sides'):
        WindowTransformer(8, depth=1, window=4, sides=(6, 8))
