# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Work for several processes, of which any may be killed: by the kernel for memory, by a library that crashes, by hand.

``multiprocessing.Pool`` starts another process and waits for ever for the item that the dead one had. Here the run ends
within seconds and names the item.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from .plain_errors import StopError

Item, Result = TypeVar('Item'), TypeVar('Result')

AHEAD = 4  # items a process that wait in its queue: small ones keep all processes busy, and few results pile up
_NONE = -1

_own: dict[str, Any] = {}  # of a worker process: its function, and where it says what it works on


class WorkerDied(StopError):
    """A worker process ended in the middle of an item.

    Args:
        items (list[str]): Names of the items that it may have been; one, as a rule.
        how (str): How it ended, in words.
    """

    def __init__(self, items: list[str], how: str) -> None:
        self.items = items
        what = ' or '.join(items) or 'its start'
        super().__init__(
            f'A worker process was killed ({how}) while it worked on {what}. Either the memory was full (use fewer '
            '`--workers`) or that file makes a library crash (take it out, or see why with `--workers 0`).'
        )


def run_in_workers(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    name_of: Callable[[Item], str] = str,
    initializer: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Results of ``function(item)`` in the order of the items.

    Closing the iterator, an error and Ctrl-C stop what has not begun; what is being worked on is finished.

    Args:
        function (Callable[[Item], Result]): Of a module, so that processes can find it.
        items (Iterable[Item]): What to work on.
        workers (int, optional): Processes, None for one a core, 0 for this process alone.
        name_of (Callable[[Item], str]): How an error calls an item. Called in this process.
        initializer (Callable[[], None], optional): Called once in each process.

    Yields:
        Result: Of each item.

    Raises:
        WorkerDied: When a process was killed; names the item.
        Exception: When ``function`` failed for an item: what it raised for the first one.
    """
    items = list(items)
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers <= 0 or len(items) < 2:
        yield from map(function, items)
        return
    workers = min(workers, len(items))
    context = multiprocessing.get_context()
    count, slots = context.Value('i', 0), context.Array('q', [_NONE] * 2 * workers, lock=False)
    executor = ProcessPoolExecutor(workers, context, _begin, (function, count, slots, initializer))
    waiting, processes, number = deque(), {}, 0
    try:
        while number < len(items) or waiting:
            while number < len(items) and len(waiting) < AHEAD * workers:
                with _interrupts_held():  # the first call starts the processes
                    waiting.append(executor.submit(_work, number, items[number]))
                number += 1
                if len(processes) < workers:  # they are started one by one, and forgotten when one dies
                    processes.update((process.pid, process) for process in multiprocessing.active_children())
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise _died(items, name_of, slots, processes) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes when the block is done, and never to the processes and threads started in it.

    A process that it hit between its start and :func:`_begin` went on with the caller's code, and the caller waited
    for it for ever.
    """
    if not hasattr(signal, 'pthread_sigmask'):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _died(items: list, name_of: Callable, slots, processes: dict[int, Any]) -> WorkerDied:
    """Which process was killed, and over which item: the others were ended because of it, with SIGTERM."""
    begun = {slots[i]: slots[i + 1] for i in range(0, len(slots), 2) if slots[i] != _NONE}
    for pid in begun:
        if pid in processes:
            processes[pid].join(5)
    codes = {pid: processes[pid].exitcode for pid in begun if pid in processes}
    killed = [pid for pid, code in codes.items() if code not in (None, 0, -signal.SIGTERM)]
    code = codes[killed[0]] if killed else None
    how = 'no word why' if code is None else f'exit status {code}' if code > 0 else signal.Signals(-code).name
    numbers = [begun[pid] for pid in killed or begun if begun[pid] != _NONE]
    return WorkerDied([name_of(items[number]) for number in numbers], how)


def _begin(function: Callable, count, slots, initializer: Callable | None) -> None:
    """First thing in a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with count.get_lock():
        place = count.value
        count.value += 1
    _own.update(function=function, slots=slots, place=2 * place)
    slots[2 * place] = os.getpid()
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)  # it was killed: nobody takes the results


def _work(number: int, item: Any) -> Any:
    slots, place = _own['slots'], _own['place']
    slots[place + 1] = number
    try:
        return _own['function'](item)
    finally:
        slots[place + 1] = _NONE
