# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How every tool ends when its input is at fault: one message on stderr and status 1. A bug keeps its traceback.

What is a fault of the input? A file or disk that fails (``OSError``), and a ``ValueError`` or a stop of ours that a
``raise`` statement of mmfss, its tools or demos has worded for the user. A ``ValueError`` out of NumPy or torch is a
bug.
"""

import builtins
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_OURS = (_PACKAGE, *(_PACKAGE.parent / name for name in ('tools', 'demo')))
# What gloo and NCCL say when another process of the run is gone or silent.
_PEER = re.compile(r'gloo|NCCL|ProcessGroup|TCPStore|[Cc]onnection (?:closed|reset) by|Broken pipe|Timed out waiting')
_WORKER = re.compile(r'Caught \w+ in (?:DataLoader worker|pin memory thread)')


class StopError(RuntimeError):
    """A run that cannot go on and says why, such as a training that diverged."""


@contextmanager
def plain_errors(tool: str) -> Iterator[None]:
    """Context manager and decorator of a tool's ``main``: expected errors become one message and status 1.

    Args:
        tool (str): Name that the message begins with.

    Raises:
        SystemExit: When the input explains the error, instead of it.
    """
    try:
        yield
    except Exception as error:
        if (message := expected_message(error)) is None:
            raise
        print(f'{tool}: {message}', file=sys.stderr, flush=True)
        sys.exit(1)


def expected_message(error: BaseException) -> str | None:
    """What to tell the user of an error that the input explains; None for a bug.

    Args:
        error (BaseException): Also one that mmengine's registries or a data worker have wrapped.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if (words := _of_group(error)) is not None:
            return words
        if _WORKER.match(str(error)):
            return _of_worker(str(error))
        if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
            return _words(error)
        if isinstance(error, (ValueError, StopError)) and _raised_by_us(error):
            return _words(error)
        error = error.__cause__ or error.__context__
    return None


def _of_group(error: BaseException) -> str | None:
    """What it means when a collective operation of torch.distributed fails."""
    frames = traceback.extract_tb(error.__traceback__)
    collective = any('/torch/distributed/' in frame.filename.replace('\\', '/') for frame in frames)
    if not collective and 'gloo/' not in str(error):
        return None
    if not isinstance(error, RuntimeError) or not _PEER.search(str(error)):
        return None
    said = str(error).strip().splitlines()[0]
    return (
        f'process {os.environ.get("RANK", "0")} lost another process of this run, which has died or answers no more '
        f'({said}). Its own message, or the list of torchrun below, says why; how long a silent one is waited for is '
        'env_cfg.dist_cfg.timeout (seconds). Go on with --resume'
    )


def _words(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def _raised_by_us(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _is_our_raise(frames[-1].filename, frames[-1].lineno)


def _is_our_raise(filename: str, line: int) -> bool:
    path = Path(filename).resolve()
    return any(folder in path.parents for folder in _OURS) and linecache.getline(str(path), line).lstrip().startswith(
        'raise '
    )


def _of_worker(text: str) -> str | None:
    """Torch raises a worker's error again with its traceback as text; the last frame and the words are in it."""
    frames = re.findall(r'^  File "(.*?)", line (\d+)', text, flags=re.M)
    heads = list(re.finditer(r'^([\w.]*(?:Error|Exception)): ', text, flags=re.M))
    if not frames or not heads:
        return None
    kind = getattr(builtins, heads[-1].group(1), None)
    expected = isinstance(kind, type) and issubclass(kind, OSError)
    if expected or _is_our_raise(frames[-1][0], int(frames[-1][1])):
        return text[heads[-1].end() :].strip()
    return None
