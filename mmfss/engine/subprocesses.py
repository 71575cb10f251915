# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Tools that start tools."""

import re
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROGRESS = re.compile(r'((?:Iter|Epoch)\((?:train|val|test)\).*?\[\s*\d+/\d+\])(?:.*?(eta: [\w :]+?)\s\s)?')


def run_logged(command: Sequence[str], log: Path, environment: Mapping[str, str], tail: deque, prefix: str = '') -> int:
    """Run a command to its end, all it prints appended to a file.

    On a terminal its progress is shown on one line. The command is ended when this process is interrupted.

    Args:
        command: Program and arguments.
        log: File to append to.
        environment: The whole environment of the command.
        tail: Gets its last lines, for an error message.
        prefix: Begins the progress line.

    Returns:
        int: Its exit status.
    """
    live = sys.stderr.isatty()
    with (
        open(log, 'a', encoding='utf-8') as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env=dict(environment),
        ) as process,
    ):
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                tail.append(line)
                if live and (found := _PROGRESS.search(line)):
                    shown = f'{prefix}: {found[1]} {found[2] or ""}'
                    print(f'\r\033[K{shown[:110]}', end='', file=sys.stderr, flush=True)
        except BaseException:
            process.terminate()
            raise
        finally:
            if live:
                print('\r\033[K', end='', file=sys.stderr, flush=True)
    return process.returncode
