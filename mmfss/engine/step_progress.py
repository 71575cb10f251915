# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How far a tool is that runs tools: which step of how many, and when all will be done."""

import datetime
import re
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean
from typing import TextIO

# A line of mmengine's log: 'Epoch(train) [3][ 50/200]  lr: 1.0e-02  eta: 1 day, 0:12:01  time: 0.5'
_LOGGED = re.compile(r'((?:Iter|Epoch)\((train|val|test)\).*?\[\s*\d+/\d+\])')
_ETA = re.compile(r'eta: (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)')


class StepProgress:
    """Tells how far the steps of a long work are, from the logs of the steps.

    On a terminal it is one line that is written over; elsewhere a line now and then. The time that is left is
    estimated from the steps of the same kind that are finished, and from the running step's own ``eta``. Before a step
    of each kind is finished that is a lower bound, and told as one.

    Args:
        kinds (Sequence[str]): Kind of each step to do, in order, such as ``['train', 'test']``.
        stream (TextIO, optional): Where to write. Defaults to stderr.
        every (float): Seconds between lines where there is no terminal. Defaults to 300.
        clock (Callable): Seconds, ascending. Defaults to :func:`time.monotonic`.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        stream: TextIO | None = None,
        every: float = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds, self._every, self._clock = list(kinds), every, clock
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._begun = clock()
        self._durations = defaultdict(list)  # kind -> seconds of finished steps
        self._number = 0
        self._name, self._started, self._eta, self._told = '', self._begun, None, None

    def start(self, kind: str, name: str) -> None:
        """A step begins.

        Args:
            kind (str): Its kind; planned steps of other kinds before it are passed over, as they turned out to be done.
            name (str): What to call it.
        """
        rest = self._kinds[self._number :]
        if kind not in rest:
            self._kinds.insert(self._number, kind)
        self._number += 1 + (rest.index(kind) if kind in rest else 0)
        self._name, self._started, self._eta, self._told = name, self._clock(), None, None

    def finish(self) -> None:
        """The step is done."""
        self._durations[self._kind].append(self._clock() - self._started)
        self.clear()

    def watch(self, line: str) -> None:
        """Read a line that the running step has logged.

        Args:
            line (str): Any line; those without progress change nothing.
        """
        found = _LOGGED.search(line)
        if found is None:
            return
        if found[2] != 'val' and (eta := _ETA.search(line)):  # a validation's eta is not its training's
            days, hours, minutes, seconds = (int(part or 0) for part in eta.groups())
            self._eta = 86400 * days + 3600 * hours + 60 * minutes + seconds
        now = self._clock()
        if self._live:
            text = self.text(found[1])[: shutil.get_terminal_size().columns - 1]
            print(f'\r\033[K{text}', end='', file=self._stream, flush=True)
        elif self._told is None or now - self._told >= self._every:
            self._told = now
            print(self.text(found[1]), file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the line off the terminal, before something else is printed."""
        if self._live:
            print('\r\033[K', end='', file=self._stream, flush=True)

    def text(self, progress: str) -> str:
        """The line.

        Args:
            progress (str): What the running step says of itself.
        """
        eta = '' if self._eta is None else f', eta {_clock_time(self._eta)}'
        left, exact = self.remaining()
        guess = f'{"about" if exact else "at least"} {_clock_time(left)} left' if left else 'time left unknown'
        elapsed = _clock_time(self._clock() - self._begun)
        return f'[{self._number}/{len(self._kinds)}] {self._name}: {progress}{eta} | {elapsed} elapsed, {guess}'

    def remaining(self) -> tuple[float, bool]:
        """Seconds to the end of all steps, and whether that is an estimate (True) or a lower bound (False)."""
        spent = self._clock() - self._started
        typical = {kind: mean(seconds) for kind, seconds in self._durations.items()}
        exact = all(kind in typical for kind in self._kinds[self._number - 1 :])
        # A training's eta is that of its present stage, so it says least what is left.
        running = max(typical.get(self._kind, 0) - spent, self._eta or 0, 0)
        if self._eta is not None:
            typical.setdefault(self._kind, spent + self._eta)
        return running + sum(typical.get(kind, 0) for kind in self._kinds[self._number :]), exact

    @property
    def _kind(self) -> str:
        return self._kinds[self._number - 1]


def _clock_time(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
