# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""SupportBank is a value: kept, moved, saved, stacked."""

import pytest
import torch

from mmfss.structures import SupportBank

OPEN = dict(vectors=(-1,), weight=(-1,), valid=(-1,), attention=(-2, -1), tokens=(-2,))


def bank(B=2, K=3, M=4, fingerprint='w1', **extra):
    tensors = dict(
        prototype=torch.rand(B, K, 5),
        vectors=torch.rand(B, K, 5, M),
        weight=torch.rand(B, K, M),
        valid=torch.rand(B, K, M) > 0.5,
        blank=torch.rand(B, K) > 0.5,
        attention=torch.rand(B, K, 5, 3, 2),
    )
    return SupportBank(tensors | extra, fingerprint, OPEN)


def test_what_it_knows():
    found = bank()
    assert (found.batch_size, found.num_shots) == (2, 3)
    assert found.nbytes == 4 * (30 + 120 + 24 + 180) + 24 + 6
    assert SupportBank().batch_size == SupportBank().num_shots == SupportBank().nbytes == 0


def test_parts_of_several_heads():
    meta, prior = bank(), bank(M=7)
    merged = SupportBank.merge(dict(meta=meta.tensors, prior=prior.tensors), 'w1')
    assert merged.fingerprint == 'w1' and len(merged.tensors) == 12
    assert all(merged.part('prior')[k] is v for k, v in prior.tensors.items())
    assert merged.part('meta').tensors.keys() == meta.tensors.keys() and not merged.part('other').tensors


def test_shots_behind_shots():
    first, second, third = bank(K=1), bank(K=2, M=6), bank(K=1, M=1)
    joined = SupportBank.stack_shots([first, second, third])
    assert joined.num_shots == 4 and joined.fingerprint == 'w1'
    assert torch.equal(joined['prototype'], torch.cat([b['prototype'] for b in (first, second, third)], 1))
    assert joined['vectors'].shape == (2, 4, 5, 6) and joined['weight'].shape == joined['valid'].shape == (2, 4, 6)
    assert joined['valid'].dtype == joined['blank'].dtype == torch.bool
    assert torch.equal(joined['weight'][:, :1, :4], first['weight']) and not joined['weight'][:, :1, 4:].any()
    assert not joined['valid'][:, 3:, 1:].any()
    again = first.extend(second).extend(third)
    assert all(torch.equal(again[k], v) for k, v in joined.tensors.items())


def test_only_what_a_head_names_is_padded():
    """Masks (B, K, h, w) of two widths must not be padded, tokens (B, K, L, C) must be, along L."""
    few, many = bank(tokens=torch.rand(2, 3, 4, 6)), bank(tokens=torch.rand(2, 3, 7, 6))
    joined = few.extend(many)
    assert joined['tokens'].shape == (2, 6, 7, 6) and not joined['tokens'][:, :3, 4:].any()
    assert torch.equal(joined['tokens'][:, :3, :4], few['tokens'])
    with pytest.raises(ValueError, match=r"'mask' has the sizes \[\(30, 40\), \(30, 50\)\]"):
        bank(mask=torch.rand(2, 3, 30, 40)).extend(bank(mask=torch.rand(2, 3, 30, 50)))
    with pytest.raises(ValueError, match="'tokens' has the sizes"):
        few.extend(bank(tokens=torch.rand(2, 3, 4, 8)))


def test_a_summary_belongs_to_all_shots_together(tmp_path):
    first = bank(B=1, K=1)
    finished = SupportBank.merge(dict(meta=first.tensors), 'w1', dict(meta=OPEN)).with_summary(
        {'meta.keys': torch.rand(1, 6)}
    )
    assert finished.finished and finished.nbytes == first.nbytes + 24
    assert torch.equal(finished.part('meta')['keys'], finished['meta.keys']) and finished.part('meta').finished
    assert finished.expand(3)['meta.keys'].shape == (3, 6)
    finished.save(tmp_path / 'bank.pth')
    loaded = SupportBank.load(tmp_path / 'bank.pth')
    assert loaded.finished and torch.equal(loaded['meta.keys'], finished['meta.keys'])
    assert loaded.open_dims == finished.open_dims
    more = finished.extend(finished)
    assert not more.finished and not more.summary and more.num_shots == 2


def test_a_file_of_an_older_version(tmp_path):
    old = bank()
    torch.save(dict(tensors=old.tensors, fingerprint='w1'), tmp_path / 'old.pth')
    found = SupportBank.load(tmp_path / 'old.pth')
    assert not found.finished and found.extend(bank(M=7))['vectors'].shape == (2, 6, 5, 7)


def test_expand_is_a_view():
    single = bank(B=1)
    many = single.expand(7)
    assert many.batch_size == 7 and all(v.data_ptr() == single[k].data_ptr() for k, v in many.tensors.items())
    assert single.expand(1) is single
    with pytest.raises(ValueError, match='2 episodes cannot serve a batch of 3'):
        bank(B=2).expand(3)


def test_saved_and_loaded(tmp_path):
    stored = bank(B=1).expand(2)
    stored.save(tmp_path / 'bank.pth')
    found = SupportBank.load(tmp_path / 'bank.pth')
    assert found.fingerprint == 'w1' and all(torch.equal(found[k], v) for k, v in stored.tensors.items())


def test_moved_and_cast():
    half = bank().to(torch.float16)
    assert half['vectors'].dtype == torch.float16 and half['valid'].dtype == torch.bool
    meta = bank().to('meta')
    assert all(t.device.type == 'meta' for t in meta.tensors.values()) and meta['valid'].dtype == torch.bool


def test_detached():
    learned = bank(gate=torch.rand(2, 3, requires_grad=True) * 2)
    assert learned['gate'].requires_grad and not learned.detach()['gate'].requires_grad


def test_refusals():
    with pytest.raises(ValueError, match=r'same \(B, K\)'):
        SupportBank(dict(a=torch.rand(2, 3), b=torch.rand(2, 4)))
    with pytest.raises(KeyError, match="no 'nothing'.*encode the supports again"):
        bank()['nothing']
    with pytest.raises(ValueError, match='same model'):
        bank().extend(bank(fingerprint='w2'))
    with pytest.raises(ValueError, match='same model'):
        bank().extend(bank(further=torch.rand(2, 3)))
    with pytest.raises(ValueError, match='of 2 and 1 episodes'):
        bank().extend(bank(B=1))
    with pytest.raises(ValueError, match=r"'attention' has the sizes \[\(5, 3, 2\), \(5, 3, 4\)\]"):
        bank().extend(bank(attention=torch.rand(2, 3, 5, 3, 4)))
    with pytest.raises(ValueError, match='no banks'):
        SupportBank.stack_shots([])


def test_a_file_that_is_no_bank_is_named(tmp_path):
    (tmp_path / 'bank.pth').write_text('<!DOCTYPE html>')
    with pytest.raises(ValueError, match='bank.pth is no support bank .a web page'):
        SupportBank.load(tmp_path / 'bank.pth')
    torch.save([1], tmp_path / 'bank.pth')
    with pytest.raises(ValueError, match='bank.pth is no support bank'):
        SupportBank.load(tmp_path / 'bank.pth')
