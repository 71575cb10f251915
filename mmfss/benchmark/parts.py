# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Where the time goes: calls of named parts are timed and counted, a part within another for itself."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from .timing import Run, synchronize

Target = tuple[object, str]  # owner and attribute: a method of a module or class, a function of a Python module
Parts = Mapping[str, Sequence[Target]]
REST = 'rest'


@dataclass
class _Recorder:
    """Adds up what the calls of each part cost, without what parts within them cost."""

    cost: Callable[[], float]
    totals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    stack: list[list[float]] = field(default_factory=list)

    def wrap(self, part: str, function: Callable) -> Callable:
        @wraps(function)
        def recorded(*args, **kwargs):
            start, inner = self.cost(), [0.0]
            self.stack.append(inner)
            try:
                return function(*args, **kwargs)
            finally:
                self.stack.pop()
                spent = self.cost() - start
                self.totals[part] += spent - inner[0]
                if self.stack:
                    self.stack[-1][0] += spent

        return recorded


@contextmanager
def _recording(parts: Parts, cost: Callable[[], float]) -> Iterator[_Recorder]:
    recorder = _Recorder(cost)
    with ExitStack() as stack:
        for part, targets in parts.items():
            for owner, name in targets:
                wrapped = recorder.wrap(part, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, wrapped))
        yield recorder


def part_seconds(run: Run, parts: Parts, device: torch.device) -> dict[str, float]:
    """Seconds of each part in one call, and of the ``rest``.

    The device is waited for at every border of a part, so on a GPU the sum is a little more than an undivided call.
    """

    def clock() -> float:
        synchronize(device)
        return time.perf_counter()

    return _costs(run, parts, clock)


def part_flops(run: Run, parts: Parts) -> dict[str, int]:
    """Floating-point operations of each part in one call, and of the ``rest``: convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        return {part: int(count) for part, count in _costs(run, parts, counter.get_total_flops).items()}


def flops(run: Run) -> int:
    """Floating-point operations of one call: a multiplication and an addition are two."""
    return sum(part_flops(run, {}).values())


def _costs(run: Run, parts: Parts, cost: Callable[[], float]) -> dict[str, float]:
    with _recording(parts, cost) as recorder:
        start = cost()
        run()
        total = cost() - start
    found = {part: recorder.totals[part] for part in parts}
    return {**found, REST: max(total - sum(found.values()), 0)}


def methods(owner: object, *names: str) -> list[Target]:
    """Those of the names that an object has: a model need not have every part, or has it as a child module."""
    found = {name: getattr(owner, name, None) for name in names}
    return [(owner, name) for name, part in found.items() if part is not None and not isinstance(part, torch.nn.Module)]


def modules(owner: torch.nn.Module, *names: str) -> list[Target]:
    """``forward`` of those children of a module that it has."""
    return [(getattr(owner, name), 'forward') for name in names if getattr(owner, name, None) is not None]


def functions(package: str, *names: str) -> list[Target]:
    """Functions of these names, in every loaded module of a package that has imported them."""
    return [
        (module, name)
        for loaded, module in list(sys.modules.items())
        if loaded == package or loaded.startswith(f'{package}.')
        for name in names
        if callable(vars(module).get(name))
    ]
