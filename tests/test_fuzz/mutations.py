# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Valid files and values made wrong: bytes that are cut, turned and grown; trees whose parts are of another kind."""

import copy
import math
import struct
import zlib
from typing import Any

from hypothesis import strategies as st

EXTREMES = tuple(
    bytes.fromhex(text)
    for text in (
        '00', 'ff', '80', '0000', 'ffff', '7fff', 'ff7f', '00000000', 'ffffffff', '7fffffff', 'ffffff7f', '80000000',
        '000186a0', 'a0860100', '0001000000', 'ffffffffffffffff', '0000c07f', '7ff8000000000000',
    )
)  # fmt: skip
_HEAD = 64  # bytes in which most formats say what they are
_KINDS = ('cut', 'set', 'flip', 'insert', 'delete', 'repeat')


@st.composite
def damaged(draw, data: bytes, most: int = 4) -> bytes:
    """A file with 1 to ``most`` faults."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, most))):
        near = st.integers(0, min(_HEAD, len(data)))
        at = draw(near | st.integers(0, len(data)))
        kind = draw(st.sampled_from(_KINDS))
        if kind == 'cut':
            del data[at:]
        elif kind == 'set':
            value = draw(st.sampled_from(EXTREMES) | st.binary(min_size=1, max_size=4))
            data[at : at + len(value)] = value
        elif kind == 'flip' and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 'insert':
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        else:
            end = at + draw(st.integers(1, 64))
            data[at:end] = b'' if kind == 'delete' else data[at:end] * draw(st.integers(2, 4))
    return bytes(data)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold now, so that a decoder looks at it."""
    if not data.startswith(b'\x89PNG'):
        return data
    out, at = data[:8], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack('>I', data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack('>I', zlib.crc32(body))
        at += 12 + length
    return out + data[at:]


def _deep(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


NUMBERS = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0, -0.0, -1, 0.5, 1e-300, 1e300, 10**9, 10**18, 2**31, 10**400]),
    st.integers(-100, 300),
    st.floats(-100, 300),
)
TEXTS = st.sampled_from(
    ['', ' ', '0', '1', 'nan', 'inf', '1e999', 'a', 'cat', '\0', '../../x', '/etc', 'ä\U0001f600', '\ud800', 'x' * 5000]
)
VALUES = st.one_of(
    NUMBERS,
    TEXTS,
    st.sampled_from([None, True, False]),
    st.lists(NUMBERS, max_size=7),
    st.sampled_from([{}, [[]], [{}], {'a': 1}, {'size': [40, 60], 'counts': 'x'}, _deep(50), _deep(150)]),
)


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all parts of a tree of dicts and lists, itself included."""
    found = [path]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


@st.composite
def mangled(draw, tree: Any, values: st.SearchStrategy = VALUES, most: int = 3) -> Any:
    """A tree of dicts and lists in which 1 to ``most`` parts are replaced, taken out, doubled or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(places(tree)))
        if not path:
            if draw(st.integers(0, 19)) == 7:
                return draw(values)
            continue
        owner = tree
        for key in path[:-1]:
            owner = owner[key]
        kind = draw(st.sampled_from(('replace', 'replace', 'replace', 'remove', 'double', 'rename')))
        if kind == 'remove':
            del owner[path[-1]]
        elif kind == 'double' and isinstance(owner, list):
            owner.insert(path[-1], copy.deepcopy(owner[path[-1]]))
        elif kind == 'rename' and isinstance(owner, dict):
            owner[draw(st.sampled_from(['', 'x', *map(str, owner)]))] = owner.pop(path[-1])
        else:
            owner[path[-1]] = copy.deepcopy(draw(values))  # a later fault must not change the strategy's own
    return tree


ENCODINGS = ('utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'cp1252', 'latin-1')


@st.composite
def encoded(draw, text: str) -> bytes:
    """The text in some encoding, now and then damaged."""
    data = text.encode(draw(st.sampled_from(ENCODINGS[:1] * 6 + ENCODINGS)), 'replace')
    return draw(damaged(data)) if draw(st.integers(0, 3)) == 3 else data
