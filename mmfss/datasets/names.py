# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of many images in little memory, which processes can share."""

from collections.abc import Iterator, Sequence

import numpy as np


class Names(Sequence):
    """A list of names in two arrays: one copy for all processes that are forked, and few bytes for those that are not.

    A Python list is copied page by page into each data worker, as its reference counts change; NumPy's text arrays take
    four bytes a letter and pad every name to the longest.

    Args:
        names (Sequence[str]): The names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        coded = [name.encode() for name in names]
        self._ends = np.cumsum([len(name) for name in coded], dtype=np.int64)  # (N,)
        self._bytes = np.frombuffer(b''.join(coded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> str:
        position = range(len(self))[position]
        start = self._ends[position - 1] if position else 0
        return self._bytes[start : self._ends[position]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        data, start = self._bytes.tobytes(), 0
        for end in self._ends.tolist():
            yield data[start:end].decode()
            start = end
