# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Peak memory: on a GPU what the allocator counted, on a CPU the high-water mark of a process of its own."""

import ctypes
import gc
import multiprocessing
import re
import resource
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from .timing import Run, synchronize

Peak = dict[str, int]


def cuda_peak(run: Run, device: torch.device) -> Peak:
    """Bytes of a call on a GPU.

    Returns:
        dict[str, int]: ``peak``, most allocated at once, and ``working``, how much of it was not there before.
    """
    synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    return dict(peak=peak, working=peak - before)


def process_peak(prepare: Callable[..., Run], *args: object) -> Peak:
    """Bytes of a call on a CPU, in a new process that holds nothing else.

    Args:
        prepare (Callable): Importable by name: makes the call from ``args``, which are pickled. What it leaves behind,
            such as a model, counts; what it frees does not.
        *args (object): Its arguments.

    Returns:
        dict[str, int]: ``peak``, most resident memory of the process, Python and its libraries included, and
        ``working``, how much of it the call added.

    Raises:
        RuntimeError: When the process fails; its traceback is the message.
    """
    context = multiprocessing.get_context('spawn')  # a fork would start with this process's memory
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, torch.get_num_threads(), prepare, args))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        process.join()
        found = f'the process that measures memory ended with status {process.exitcode}'
    process.join()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def _measure(sender, threads: int, prepare: Callable[..., Run], args: tuple) -> None:
    try:
        torch.set_num_threads(threads)
        run = prepare(*args)
        gc.collect()
        _return_freed_memory()
        before = _reset_peak()
        run()
        peak = _status('VmHWM') or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sender.send(dict(peak=peak, working=max(peak - before, 0)))
    except Exception:
        sender.send(traceback.format_exc())


def _return_freed_memory() -> None:
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # glibc's
    if trim is not None:
        trim(0)


def _reset_peak() -> int:
    """Let the high-water mark start anew where the system can; returns the memory in use."""
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:
        pass  # the mark then includes the making of the model
    return _status('VmRSS')


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status, 0 where there is none."""
    try:
        found = re.search(rf'{name}:\s+(\d+) kB', Path('/proc/self/status').read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0
