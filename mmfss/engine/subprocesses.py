# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Tools that start tools."""

import ctypes
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # of Linux' prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None


def end_with_parent() -> None:
    """Let Linux end this process with SIGTERM when its parent dies, however that dies; elsewhere do nothing.

    Else a training whose starter was killed goes on unseen, and writes to the work dir beside the one that is started
    anew.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def run_logged(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    tail: deque,
    watch: Callable[[str], None] | None = None,
) -> int:
    """Run a command to its end, all it prints appended to a file.

    The command is ended when this process is interrupted or killed.

    Args:
        command (Sequence[str]): Program and arguments.
        log (Path): File to append to.
        environment (Mapping[str, str]): The whole environment of the command.
        tail (deque): Gets its last lines, for an error message.
        watch (Callable[[str], None], optional): Called with each line that it prints, to show how far it is.

    Returns:
        int: Its exit status.
    """
    with (
        open(log, 'a', encoding='utf-8') as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env=dict(environment),
            preexec_fn=end_with_parent,
        ) as process,
    ):
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                tail.append(line)
                if watch is not None:
                    watch(line)
        except BaseException:
            process.terminate()
            raise
    return process.returncode
