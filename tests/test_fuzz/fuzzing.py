# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every fuzz test demands: a result, or a refusal that names what was handed in; soon, and in bounded memory."""

import faulthandler
import logging
import os
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from mmfss.utils.notices import collected
from mmfss.utils.plain_errors import expected_message

SECONDS = 30  # of one case; an image of the largest size allowed takes a few
MEMORY = 4 << 30  # bytes that one case may take
STUCK = 120  # seconds after which a decoder that no signal stops takes the process down
tried = 0  # cases since the start
stack_file = None  # where a campaign wants to read what was stuck


class Refusal(str):
    """The message with which an input was refused."""


class Overtime(BaseException):
    """A case takes too long; no `except Exception` on the way stops it."""


def attempt(call: Callable[[], Any], *names: str, typed: bool = False) -> Any:
    """The result of a call, or how it was refused.

    Args:
        call: Without arguments.
        *names: One of them must be in the message of a refusal: the file, the option.
        typed: A TypeError worded by us is a refusal too, as for Python values of the wrong type.
    """
    global tried
    tried += 1
    try:
        with limits(), silence():
            return call()
    except Overtime:
        raise AssertionError(f'{SECONDS} seconds were not enough') from None
    except Exception as error:
        message = expected_message(error)
        if message is None and typed and isinstance(error, TypeError):
            message = expected_message(ValueError(error).with_traceback(error.__traceback__))
        if message is None:
            raise
        assert any(name in message for name in names), f'none of {names} is named in: {message}'
        return Refusal(message)


def attempt_options(call: Callable[[], Any], *names: str) -> Any:
    """As :func:`attempt`, of a command line: argparse ends the process with status 2 and words on stderr."""
    said = StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(StringIO()):
            return attempt(call, *names)
    except SystemExit as end:
        assert end.code == 2, f'status {end.code}: {said.getvalue()}'
        message = said.getvalue().split('error: ', 1)[-1]
        assert any(name in message for name in names), f'none of {names} is named in: {message}'
        return Refusal(message)


@contextmanager
def limits() -> Iterator[None]:
    """Time for all, memory where the system counts it (Linux)."""

    def stop(*_):
        raise Overtime

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, stop)
    if sys.platform == 'linux':
        used = int(Path('/proc/self/statm').read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    if stack_file is not None:
        faulthandler.dump_traceback_later(STUCK, exit=True, file=stack_file)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def silence() -> Iterator[None]:
    """Millions of cases would fill the report with their warnings."""
    logger = MMLogger.get_current_instance()
    logger.addFilter(_nothing)
    try:
        with warnings.catch_warnings(), collected():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


class Trap:
    """An object that leaves a file behind when a pickle of it is read."""

    place = str(Path(tempfile.gettempdir(), 'mmfss_fuzz_ran_code'))  # the same in every run: hypothesis repeats cases

    def __init__(self, kind: str = 'open') -> None:
        self.kind = kind

    def __reduce__(self):
        if self.kind == 'eval':
            return eval, (f'open({self.place!r}, "w")',)
        return (open, (self.place, 'w')) if self.kind == 'open' else (os.system, (f'touch {self.place}',))

    @classmethod
    def sprung(cls) -> bool:
        """Whether code of a file was run; forgets it."""
        found = os.path.exists(cls.place)
        if found:
            os.remove(cls.place)
        return found


def folder() -> tempfile.TemporaryDirectory:
    """A fresh folder for one case: ``with folder() as place``."""
    return tempfile.TemporaryDirectory(prefix='fuzz')


def written(place: str, name: str, data: bytes) -> Path:
    """A file of these bytes; folders are made."""
    path = Path(place, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
