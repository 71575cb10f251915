# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""run_in_workers: results in order, and no item on which it waits for ever."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from multiprocessing.util import register_after_fork

import numpy as np
import pytest

from mmfss.utils.workers import WorkerDied, run_in_workers


def square(number):
    time.sleep(0.01 * (number % 3))
    return number * number


def end_at(number, bad, how):
    if number == bad:
        if how == 'error':
            raise ValueError(f'{number} is bad')
        if how == 'exit':
            os._exit(3)
        if how != 'SIGKILL':  # a test run under nohup ignores SIGHUP, and workers inherit that
            signal.signal(getattr(signal, how), signal.SIG_DFL)
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)
    time.sleep(0.01)
    return number


def test_results_come_in_order():
    for workers in (0, 1, 3, None):
        assert list(run_in_workers(square, range(30), workers)) == [n * n for n in range(30)]
    assert list(run_in_workers(square, [], 2)) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    'how, said', [('SIGKILL', 'SIGKILL'), ('SIGHUP', 'SIGHUP'), ('SIGTERM', 'no word'), ('exit', 'exit status 3')]
)
@pytest.mark.parametrize('bad', [0, 9])
def test_a_worker_that_is_killed_ends_the_run_and_is_named(how, said, bad):
    start, done = time.monotonic(), []
    with pytest.raises(WorkerDied, match=rf'killed \({said}.*worked on .*item {bad}\b.*--workers') as caught:
        done += run_in_workers(partial(end_at, bad=bad, how=how), range(20), 3, name_of=lambda n: f'item {n}')
    assert time.monotonic() - start < 20
    if how != 'SIGTERM':  # the others are ended with it too
        assert caught.value.items == [f'item {bad}']


def test_an_error_of_an_item_passes_through():
    with pytest.raises(ValueError, match='9 is bad'):
        list(run_in_workers(partial(end_at, bad=9, how='error'), range(2000), 2))


def test_a_caller_that_has_seen_enough():
    start = time.monotonic()
    with closing(run_in_workers(partial(end_at, bad=-1, how='exit'), range(100000), 2)) as results:
        assert next(results) == 0
    assert time.monotonic() - start < 10


SCRIPT = """
import sys, time
from mmfss.utils.workers import run_in_workers
def slow(n):
    print('at', n, flush=True)
    time.sleep(0.3)
if __name__ == '__main__':
    list(run_in_workers(slow, range(1000), 2))
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL])
def test_the_workers_end_with_the_parent(tmp_path, how):
    (tmp_path / 'script.py').write_text(SCRIPT)
    run = subprocess.Popen(
        [sys.executable, tmp_path / 'script.py'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert run.stdout.readline().startswith(b'at')
    os.killpg(run.pid, how) if how == signal.SIGINT else run.send_signal(how)
    out, err = run.communicate(timeout=60)  # the pipe is closed when the last worker is gone
    assert run.returncode == -how and out.count(b'at') < 30
    assert err.count(b'KeyboardInterrupt') <= 2  # the parent's own traceback, not one a worker


class Interrupt:
    """While one is alive, Ctrl-C comes to each process as soon as it is forked."""

    def __init__(self):
        register_after_fork(self, lambda _: os.kill(os.getpid(), signal.SIGINT))


@pytest.mark.timeout(60)
@pytest.mark.skipif(multiprocessing.get_start_method() != 'fork', reason='acts on forked processes')
def test_ctrl_c_does_not_hit_a_worker_that_starts():
    interrupt = Interrupt()
    assert list(run_in_workers(square, range(6), 2)) == [n * n for n in range(6)]
    del interrupt


def test_big_items_and_results():
    items = [np.full(200000, n) for n in range(8)]
    assert [int(r.sum()) for r in run_in_workers(np.copy, items, 2)] == [n * 200000 for n in range(8)]
