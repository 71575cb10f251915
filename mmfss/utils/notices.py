# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a user should know about a file that is used all the same: said once, and not a thousand times."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mmengine.logging import print_log

LIMIT = 10  # of one kind
_told: Counter = Counter()
_said: set[str] = set()
_collecting: ContextVar[list[str] | None] = ContextVar('collecting', default=None)


def tell(kind: str, message: str) -> None:
    """Warn in the log; the same message once, and at most :data:`LIMIT` of a kind since :func:`begin_telling`.

    Args:
        kind (str): What the message is about, such as 'transparency'.
        message (str): A sentence that names the file.
    """
    collected = _collecting.get()
    if collected is not None:
        collected.append(message)
        return
    if message in _said or _told[kind] >= LIMIT:
        return
    _said.add(message)
    _told[kind] += 1
    more = f' (Further messages about {kind} are left out.)' if _told[kind] == LIMIT else ''
    print_log(message + more, 'current', logging.WARNING)


def begin_telling() -> None:
    """Forget what was said: a new piece of work begins."""
    _told.clear()
    _said.clear()


@contextmanager
def collected() -> Iterator[list[str]]:
    """The messages of the block in a list instead of the log, for a page that shows them to a visitor."""
    messages: list[str] = []
    token = _collecting.set(messages)
    try:
        yield messages
    finally:
        _collecting.reset(token)
