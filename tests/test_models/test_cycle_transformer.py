# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The layers of CyCTR, each against a few plain lines."""

import math

import pytest
import torch

from mmfss.models.layers.cycle_attention import CycleConsistentAttention, cycle_consistent
from mmfss.models.layers.deformable_attention import DeformableAttention
from mmfss.models.layers.sine_position import sine_position
from mmfss.models.layers.support_tokens import token_flags
from mmfss.models.layers.token_draw import TokenDraw, draw_balanced, random_keys
from mmfss.models.losses.channel_dice import channel_dice


def plain_take(foreground: int, background: int, number: int) -> tuple[int, int]:
    """How many of each kind, case by case."""
    if foreground < number:
        return foreground, min(background, 2 * number - foreground)
    if background < number:
        return min(foreground, 2 * number - background), background
    return number, number


@pytest.mark.parametrize('number', [1, 3, 5, 20])
@pytest.mark.parametrize('share', [0, 1, 2, 5, 8, 10, 11, 12])  # foreground tokens of 12
def test_how_many_of_each_kind_are_drawn(number, share):
    foreground = torch.zeros(12, dtype=torch.bool)
    foreground[torch.randperm(12, generator=torch.Generator().manual_seed(share))[:share]] = True
    take, take_background = plain_take(share, 12 - share, number)
    vector, rank, drawn = draw_balanced(foreground[None], number, random_keys(torch.tensor([3]), 12))
    vector, rank, drawn = vector[0], rank[0], drawn[0]
    assert len(vector) == take + take_background == min(12, 2 * number) and len(set(vector.tolist())) == len(vector)
    assert foreground[vector].tolist() == [True] * take + [False] * take_background  # foreground first
    for kind in (True, False):
        places, mine = (foreground == kind).nonzero().flatten().tolist(), foreground[vector] == kind
        assert [places.index(v) for v in vector[mine].tolist()] == rank[mine].tolist()
        whole = share < number if kind else share >= number > 12 - share
        assert not (drawn[mine] == whole).any()
        if whole:
            assert vector[mine].tolist() == places


def test_flags_of_drawn_tokens_are_read_at_their_rank():
    foreground = torch.tensor([[0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0]], dtype=torch.bool)  # 5 of 12
    seed = torch.tensor([0])
    (released,), (aligned,) = (
        TokenDraw(3, pairing).evaluation(foreground, 1, seed, 1) for pairing in ('released', 'aligned')
    )
    assert torch.equal(released.vector, aligned.vector) and torch.equal(aligned.label, aligned.vector)
    lists = [2, 4, 5, 7, 10], [0, 1, 3, 6, 8, 9, 11]
    expected = [lists[0].index(v) for v in released.vector[0, :3]] + [lists[1].index(v) for v in released.vector[0, 3:]]
    assert released.label[0].tolist() == expected
    # A kind that is taken whole keeps its own flags: with ten of each kind asked for, all the foreground.
    (whole,) = TokenDraw(5, 'released').evaluation(foreground, 2, seed, 1)
    assert whole.vector[0, :5].tolist() == whole.label[0, :5].tolist() == lists[0]
    assert sorted(whole.label[0, 5:].tolist()) == list(range(7))


def test_draws_are_uniform_and_their_own_for_each_seed_and_token():
    keys = random_keys(torch.arange(2000), 30)
    assert all(len(set(row.tolist())) == 30 for row in keys[:50])
    assert torch.equal(random_keys(torch.tensor([7]), 30)[0], keys[7])
    # splitmix64's first numbers for the seed 1234567, as signed ones
    gamma, signed = 0x9E3779B97F4A7C15, [6457827717110365317, 3203168211198807973, 9817491932198370423 - 2**64]
    assert random_keys(torch.tensor([1234567 + gamma - 2**64]), 3)[0].tolist() == signed
    first = keys.argsort(1)[:, :10].flatten().bincount(minlength=30) / 2000  # each of 30 in a third of the draws
    assert (first - 1 / 3).abs().max() < 0.05
    together = torch.corrcoef((keys.argsort(1).argsort(1) < 10).float().T) - torch.eye(30)
    assert together.abs().max() < 0.15
    with pytest.raises(ValueError, match='tokens=0'):
        TokenDraw(0)


def test_no_kind_of_token_is_missing():
    labels = torch.zeros(4, 1, 65, 65)
    labels[1], labels[2], labels[3] = 1, 255, 1
    labels[3, :, 32:] = 0
    foreground, padded = token_flags(labels, (9, 8))
    middle = torch.zeros(9, 8, dtype=torch.bool)
    middle[3:5, 3:5] = True
    corners = torch.ones(9, 8, dtype=torch.bool)
    corners[::8, ::7] = False
    assert torch.equal(foreground[0], middle) and torch.equal(foreground[2], middle)
    assert torch.equal(foreground[1], corners) and 0 < foreground[3].sum() < 72
    assert padded[2].all() and not padded[[0, 1, 3]].any()


@pytest.mark.parametrize('limit', [11, 2**22])  # a position at a time, and all at once
def test_consistent_tokens_lead_back_to_their_kind(limit, monkeypatch):
    monkeypatch.setattr('mmfss.models.layers.similarity.CACHED_PRODUCTS', limit)
    torch.manual_seed(0)
    query, key, foreground = torch.randn(2, 4, 7), torch.randn(2, 4, 11), torch.rand(2, 11) > 0.5
    found = cycle_consistent(query, key, foreground)
    scores = query.transpose(1, 2) @ key
    for b in range(2):
        for j in range(11):
            position = int(scores[b, :, j].argmax())
            back = int(scores[b, position].argmax())
            assert found[b, j] == (foreground[b, j] == foreground[b, back])
    assert found.any() and not found.all()


@torch.no_grad()
def test_the_cross_attention_hides_what_is_inconsistent_or_padded():
    torch.manual_seed(0)
    attention = CycleConsistentAttention(8, 2).eval()
    tokens, support = torch.randn(1, 6, 8), torch.randn(1, 9, 8)
    foreground, padded = torch.rand(1, 9) > 0.5, torch.rand(1, 9) > 0.7
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        q, k, v = (
            layer(x)[0, :, part]
            for layer, x in ((attention.query, tokens), (attention.key, support), (attention.value, support))
        )
        scores = q @ k.T / 2
        kept = attention.consistent(tokens, support, foreground)[0, head] & ~padded[0]
        assert kept.any() and not kept.all()
        heads.append(scores[:, kept].softmax(-1) @ v[kept])
    expected = attention.output(torch.cat(heads, 1))
    assert torch.allclose(attention(tokens, support, foreground, padded)[0], expected, atol=1e-6)


@torch.no_grad()
def test_deformable_attention_point_by_point():
    torch.manual_seed(0)
    h, w, C, M, P = 3, 4, 8, 2, 3
    attention = DeformableAttention(C, M, P).eval()
    torch.nn.init.normal_(attention.offsets.weight)
    torch.nn.init.normal_(attention.weights.weight)
    tokens, position = torch.randn(1, h * w, C), torch.randn(1, h * w, C)
    padded = torch.zeros(1, h * w, dtype=torch.bool)
    padded[0, 5] = True
    value = attention.value(tokens)[0] * ~padded[0].unsqueeze(1)
    offsets = attention.offsets(tokens + position)[0].view(h * w, M, P, 2)
    weights = attention.weights(tokens + position)[0].view(h * w, M, P).softmax(-1)
    expected = torch.zeros(h * w, C)
    for i in range(h * w):
        for m in range(M):
            for p in range(P):
                x, y = (i % w + offsets[i, m, p, 0]).item(), (i // w + offsets[i, m, p, 1]).item()
                for yy in (math.floor(y), math.floor(y) + 1):
                    for xx in (math.floor(x), math.floor(x) + 1):
                        if 0 <= yy < h and 0 <= xx < w:
                            share = weights[i, m, p] * (1 - abs(y - yy)) * (1 - abs(x - xx))
                            expected[i, 4 * m : 4 * m + 4] += share * value[yy * w + xx, 4 * m : 4 * m + 4]
    found = attention(tokens, position, padded, (h, w))[0]
    assert torch.allclose(found, attention.output(expected), atol=1e-5)


def test_at_first_the_points_lie_on_rays():
    bias = DeformableAttention(16, 8, 3).offsets.bias.view(8, 3, 2)
    assert torch.allclose(bias[0], torch.tensor([[1.0, 0], [2, 0], [3, 0]]), atol=1e-6)
    assert torch.allclose(bias[1], torch.tensor([[1.0, 1], [2, 2], [3, 3]]), atol=1e-6)


def test_values_of_positions_are_dropped_in_training_and_not_scaled():
    torch.manual_seed(0)
    attention = DeformableAttention(4, 1, 1, dropout=0.5).train()
    attention.weight_dropout.p = 0
    with torch.no_grad():
        attention.offsets.bias.zero_()  # each position looks at itself
        attention.output.weight.copy_(torch.eye(4))
    tokens = torch.randn(1, 400, 4)
    found = attention(tokens, torch.zeros_like(tokens), torch.zeros(1, 400, dtype=torch.bool), (20, 20))
    value = attention.value(tokens)
    dropped = (found.abs() < 1e-4).all(2)[0]
    assert 0.4 < dropped.float().mean() < 0.6
    assert torch.allclose(found[0, ~dropped], value[0, ~dropped], atol=1e-5)


def test_positions_are_counted_over_the_photograph():
    valid = torch.ones(1, 4, 5, dtype=torch.bool)
    valid[:, 3] = False
    code = sine_position(valid, 8)
    assert code.shape == (1, 8, 4, 5)
    for row, angle in enumerate((1 / 3, 2 / 3, 1, 1)):
        for i in range(4):
            phase = angle * 2 * math.pi / 10000 ** (2 * (i // 2) / 4)
            assert code[0, i, row, 2].item() == pytest.approx([math.sin, math.cos][i % 2](phase), abs=1e-4)
    assert torch.equal(code[0, 4:, 0], code[0, 4:, 2])  # the columns' half


def test_dice_counts_void_as_neither():
    logits, labels = torch.randn(2, 2, 3, 5), torch.randint(0, 2, (2, 3, 5))
    labels[0, 0] = 255
    total = 0.0
    for image, label in zip(logits.sigmoid(), labels, strict=True):
        for channel in range(2):
            target = (label == channel).float()
            s = image[channel]
            total += 1 - 2 * (s * target).sum() / (s.square().sum() + target.square().sum())
    assert torch.allclose(channel_dice(logits, labels), total / 2)
