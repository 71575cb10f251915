# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Pieces of messages."""

from collections.abc import Iterable


def listed(names: Iterable, most: int = 12) -> str:
    """Some names, and how many more there are: 'a, b and 3 more'."""
    names = [str(name) for name in names]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
