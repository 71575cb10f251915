# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The few types beside tensors that checkpoints of mmengine hold, and that can run no code when they are read.

``torch.load(weights_only=True)`` builds tensors and plain containers only; :func:`plain_types` adds these. mmengine's
own list has ``getattr`` and with it the way to any attribute of any listed object; here it finds the four statistics
of a ``HistoryBuffer``, for which mmengine's files need it, and nothing else.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

_STATISTICS = ('min', 'max', 'current', 'mean')
_KINDS = '?bBhHiIlLqQefdgFDGOUSMm'  # codes of NumPy's number and text types


def _named(function: Callable, module: str, name: str) -> Callable:
    """A function of our own under the name by which files ask for another one."""

    def stand_in(*args):
        return function(*args)

    # torch 2.4 looks at __name__, later ones at __qualname__
    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, name, name
    return stand_in


def _statistic(owner: type, name: str) -> Callable:
    """``getattr`` for the methods that a HistoryBuffer keeps in its state."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise TypeError(f'GLOBAL builtins.getattr was asked for {name!r}')
    return getattr(HistoryBuffer, name)


def _types() -> list:
    multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    found = [
        HistoryBuffer,
        ConfigDict,
        np.ndarray,
        np.dtype,
        _named(_statistic, 'builtins', 'getattr'),
        # torch fills plain dicts only; what the missing keys would have become is of no interest in a file
        _named(lambda *factory: {}, 'collections', 'defaultdict'),
        *(_named(kind, 'builtins', kind.__name__) for kind in (list, dict, int, float)),
    ]
    for name in ('scalar', '_reconstruct'):  # NumPy 2 moved them; files have the name of where they were written
        found += [_named(getattr(multiarray, name), f'numpy.{core}.multiarray', name) for core in ('core', '_core')]
    return [*found, *{type(np.dtype(kind)) for kind in _KINDS}]


_PLAIN = _types()


@contextmanager
def plain_types() -> Iterator[None]:
    """Within it, ``torch.load(weights_only=True)`` reads what checkpoints of mmengine are made of."""
    if hasattr(torch.serialization, 'safe_globals'):
        with torch.serialization.safe_globals(_PLAIN):
            yield
        return
    before = torch.serialization.get_safe_globals()  # torch 2.4
    torch.serialization.add_safe_globals(_PLAIN)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
