# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Faults of the input end in one message and status 1; bugs keep their traceback."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import Registry
from torch.utils.data import DataLoader, Dataset

from mmfss.utils.checkpoint_files import CheckpointFileError, read_file
from mmfss.utils.plain_errors import StopError, expected_message, plain_errors
from mmfss.utils.weights import MisfitError, load_weights


def caught(function) -> BaseException:
    """The error that a function ends with, traceback and all."""
    with pytest.raises(Exception) as found:
        function()
    return found.value


def misfit():
    load_weights(torch.nn.Linear(2, 2), {}, 'a.pth does not fit')


def test_what_mmfss_says_of_an_input_is_a_message(tmp_path, capsys):
    (tmp_path / 'a.pth').write_text('<html>')
    for function, words in (
        (lambda: read_file(tmp_path / 'a.pth'), 'a.pth is no checkpoint: it is a web page'),
        (lambda: read_file(tmp_path / 'gone.pth'), 'there is no checkpoint'),
        (lambda: open(tmp_path / 'gone.txt'), 'No such file'),
        (misfit, 'a.pth does not fit:'),
    ):
        with pytest.raises(SystemExit) as end, plain_errors('tool'):
            function()
        message = capsys.readouterr().err
        assert end.value.code == 1 and message.startswith('tool: ') and words in message


def test_bugs_keep_their_traceback():
    bugs = (lambda: torch.ones(2).reshape(3), lambda: int('a'), lambda: [].index(1), lambda: {}['a'], lambda: None.a)
    for function in bugs:
        error = caught(function)
        with pytest.raises(type(error)), plain_errors('tool'):
            function()


def test_an_error_that_was_wrapped_is_still_ours(tmp_path):
    registry = Registry('things')

    @registry.register_module()
    class Thing:
        def __init__(self):
            misfit()

    assert 'a.pth does not fit' in expected_message(caught(lambda: registry.build(dict(type='Thing'))))


class Broken(Dataset):
    """Data whose file is broken, or whose code is."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return read_file(self.path) if self.path else int('a')


def test_an_error_of_a_data_worker_keeps_its_words(tmp_path):
    (tmp_path / 'a.pth').write_text('<html>')

    def load(path):
        return lambda: next(iter(DataLoader(Broken(path), num_workers=1)))

    assert expected_message(caught(load(tmp_path / 'a.pth'))).endswith('direct address')
    assert expected_message(caught(load(None))) is None


def test_a_stop_is_expected_only_from_mmfss():
    def stop():
        raise StopError('here')

    assert expected_message(caught(stop)) is None  # raised by this test
    assert issubclass(MisfitError, ValueError) and issubclass(CheckpointFileError, ValueError)


def test_every_tool_has_the_rule():
    root = Path(__file__).parents[2] / 'tools'
    for path in root.rglob('*.py'):
        assert f"@plain_errors('{path.stem}')\ndef main(" in path.read_text(), path


def test_a_lost_process_is_told_from_a_pipe_of_our_own(monkeypatch):
    monkeypatch.setenv('RANK', '3')

    def fail(words):
        raise RuntimeError(words)

    lost = '[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234'
    message = expected_message(caught(lambda: fail(lost)))
    assert message.startswith('process 3 lost another process') and 'env_cfg.dist_cfg.timeout' in message
    assert lost in message and '--resume' in message
    assert expected_message(caught(lambda: fail('Broken pipe'))) is None
