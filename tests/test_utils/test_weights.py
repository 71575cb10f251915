# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Reading checkpoints, and saying whether they fit. Base learners and pre-trained weights: tests/test_models."""

import numpy as np
import pytest
import torch
from torch import nn

from mmfss.utils.checkpoint_files import UntrustedCheckpointError
from mmfss.utils.weights import (
    MisfitError,
    is_missing,
    load_weights,
    model_state,
    read_checkpoint,
    refusal,
    weight_differences,
)


class Payload:
    """Something that is not plain data."""


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict={'module.weight': torch.ones(2, 3)}, meta=dict(best=np.float64(0.5))), path)
    return path


@pytest.fixture
def reads(monkeypatch):
    """The files that torch has opened."""
    found, load = [], torch.load
    monkeypatch.setattr(torch, 'load', lambda file, **kwargs: (found.append(str(file)), load(file, **kwargs))[1])
    return found


def test_plain_files_hold_tensors_and_numbers(checkpoint):
    content = read_checkpoint(checkpoint)
    assert content['meta']['best'] == 0.5
    assert model_state(content).keys() == {'weight'} == model_state(content['state_dict']).keys()


def test_files_with_objects_are_not_plain(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.ones(1)), args=Payload()), tmp_path / 'a.pth')
    for hold in (False, True):  # what is kept for the next reader must not get around the refusal
        read_checkpoint(tmp_path / 'a.pth', trust=True, hold=hold)
        with pytest.raises(UntrustedCheckpointError, match='a.pth holds Python objects .*Payload.*--trust-checkpoint'):
            read_checkpoint(tmp_path / 'a.pth')


def test_a_missing_file_is_named(tmp_path):
    assert is_missing(tmp_path / 'no.pth') and not is_missing('https://host/a.pth')
    with pytest.raises(FileNotFoundError, match='no checkpoint .*no.pth'):
        read_checkpoint(tmp_path / 'no.pth')


def test_a_check_before_the_use_costs_no_second_read(checkpoint, tmp_path, reads):
    torch.save(dict(a=torch.ones(1)), tmp_path / 'other.pth')
    held = read_checkpoint(checkpoint, hold=True)
    read_checkpoint(tmp_path / 'other.pth')
    assert read_checkpoint(checkpoint) is held and reads.count(str(checkpoint)) == 1
    assert read_checkpoint(checkpoint) is not held, 'it was dropped'


def test_a_file_that_was_changed_is_read_again(checkpoint, reads):
    read_checkpoint(checkpoint, hold=True)
    torch.save({'weight': torch.zeros(1)}, checkpoint)
    assert read_checkpoint(checkpoint).keys() == {'weight'}


def test_differences_say_what_they_most_likely_mean():
    ours = {'backbone.a': torch.ones(2), 'head.conv_seg.weight': torch.ones(3, 4), 'head.b': torch.ones(1)}
    assert weight_differences(ours, dict(ours)) == []
    found = {'backbone.c': torch.ones(2), 'head.conv_seg.weight': torch.ones(5, 4)}
    assert weight_differences(ours, found) == [
        'it has another backbone',
        'it has another number of classes',
        'weights missing: backbone.a, head.b',
        'weights unexpected: backbone.c',
        'weights of another shape: head.conv_seg.weight (5, 4) instead of (3, 4)',
    ]
    assert weight_differences(ours, found, ignore=[r'backbone\.', r'head\.']) == []
    many = {f'x{i}': torch.ones(1) for i in range(9)}
    assert weight_differences({}, many) == ['weights unexpected: x0, x1, x2, x3 and 5 more']


def test_loading_is_whole_or_refused():
    model = nn.Linear(3, 2)
    load_weights(model, nn.Linear(3, 2).state_dict(), 'a.pth does not fit')
    with pytest.raises(MisfitError, match='(?s)^a.pth does not fit:\n  - weights missing: bias\nTrain it.$'):
        load_weights(model, dict(weight=torch.ones(2, 3)), 'a.pth does not fit', 'Train it.')
    assert refusal('x', ['y']) == 'x:\n  - y'
