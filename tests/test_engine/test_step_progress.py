# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Progress and remaining time of tools that run tools."""

import io
import os
import sys
from collections import deque

import pytest

from mmfss.engine.step_progress import StepProgress
from mmfss.engine.subprocesses import run_logged

TRAIN = 'mmengine - INFO - Epoch(train) [3][ 50/200]  lr: 1.0e-02  eta: {}  time: 0.5  loss: 1'


class Work:
    """A progress over a stream in memory, with a clock that is set."""

    def __init__(self, kinds, terminal=False, every=300):
        self.now, self.stream = 0.0, io.StringIO()
        self.stream.isatty = lambda: terminal
        self.progress = StepProgress(kinds, self.stream, every, clock=lambda: self.now)

    def step(self, kind, seconds):
        self.progress.start(kind, 'x')
        self.now += seconds
        self.progress.finish()

    def told(self, line) -> str:
        """What is new on the stream after a line."""
        before = len(self.stream.getvalue())
        self.progress.watch(line)
        return self.stream.getvalue()[before:]


def test_the_time_left_is_that_of_finished_steps_of_the_same_kind():
    work = Work(['train', 'test', 'train', 'test'])
    work.progress.start('train', 'fold 0 training')
    work.now = 100
    line = work.told(TRAIN.format('0:05:00'))
    # No test is finished, so nothing is known of its length: 300 s of this training and 400 of the next at least.
    assert (
        line
        == '[1/4] fold 0 training: Epoch(train) [3][ 50/200], eta 0:05:00 | 0:01:40 elapsed, at least 0:11:40 left\n'
    )
    work.now = 400
    work.progress.finish()
    work.step('test', 50)
    work.progress.start('train', 'fold 1 training')
    work.now += 100
    assert 'about 0:05:50 left' in work.told('Epoch(train) [1][ 1/2]  lr: 1')  # 300 of the training, 50 of the test
    work.now += 1000  # slower than the first: its own eta counts
    assert work.progress.remaining() == (50, True)
    work.told(TRAIN.format('0:01:00'))
    assert work.progress.remaining() == (110, True)


def test_days_and_validations():
    work = Work(['train'], every=0)
    work.progress.start('train', 'x')
    assert 'eta 1 day, 2:03:04 |' in work.told(TRAIN.format('1 day, 2:03:04'))
    line = work.told('mmengine - INFO - Epoch(val) [3][ 50/250]    eta: 0:00:10  time: 0.1')
    assert 'Epoch(val) [3][ 50/250], eta 1 day, 2:03:04' in line  # not that of the validation
    assert work.told('Saving checkpoint at 3 epochs') == ''


def test_nothing_known_is_said():
    work = Work(['train', 'test'])
    work.progress.start('train', 'x')
    assert 'time left unknown' in work.told('Iter(train) [ 50/100]  lr: 1')


def test_lines_now_and_then_without_a_terminal_and_one_line_on_it(monkeypatch):
    work = Work(['train'])
    work.progress.start('train', 'x')
    assert work.told(TRAIN.format('0:05:00')) and not work.told(TRAIN.format('0:04:00'))
    work.now = 301
    assert work.told(TRAIN.format('0:03:00')).count('\n') == 1

    monkeypatch.setenv('COLUMNS', '50')
    work = Work(['train'], terminal=True)
    work.progress.start('train', 'x')
    line = work.told(TRAIN.format('0:05:00'))
    assert line.startswith('\r\033[K[1/1] x: Epoch(train)') and '\n' not in line and len(line) == 4 + 49
    assert work.told(TRAIN.format('0:04:00')).startswith('\r\033[K')
    work.progress.finish()
    assert work.stream.getvalue().endswith('\r\033[K')


def test_steps_that_turned_out_to_be_done_are_passed_over():
    work = Work(['train', 'test', 'train', 'test'])
    work.step('test', 5)
    work.step('test', 5)
    work.progress.start('test', 'one more')  # than planned
    assert '[5/5] one more' in work.told('Epoch(test) [ 1/2]  eta: 0:00:07')


@pytest.mark.parametrize('status', [0, 3])
def test_run_logged_gives_status_log_tail_and_lines(tmp_path, status):
    code = f"print('one'); print('two'); raise SystemExit({status})"
    seen, tail = [], deque(maxlen=1)
    log = tmp_path / 'log'
    assert run_logged([sys.executable, '-c', code], log, os.environ, tail, seen.append) == status
    assert seen == ['one\n', 'two\n'] and list(tail) == ['two\n'] and log.read_text() == 'one\ntwo\n'
