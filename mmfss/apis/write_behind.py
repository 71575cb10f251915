# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Writing results while the network computes the next ones."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .queries import Query
from .results import SegmentationResult
from .writer import ResultWriter


class WriteBehind:
    """Hands results on in their order, each once its files are written.

    Args:
        writer (ResultWriter, optional): None: nothing is written, results are handed on at once.
        ahead (int): Results at most that are computed and not yet written.
    """

    def __init__(self, writer: ResultWriter | None, ahead: int) -> None:
        self._writer, self._ahead = writer, ahead
        self._thread, self._waiting = ThreadPoolExecutor(1), deque()

    def put(self, result: SegmentationResult, query: Query) -> Iterator[SegmentationResult]:
        """Take a result, and give those that are written.

        Raises:
            OSError: When one of them could not be written.
        """
        if self._writer is None:
            yield result
            return
        self._waiting.append((result, self._thread.submit(self._writer.write, result, query)))
        while self._waiting and (len(self._waiting) > self._ahead or self._waiting[0][1].done()):
            yield self._next()

    def drain(self) -> Iterator[SegmentationResult]:
        """Give the rest, waiting for it.

        Raises:
            OSError: When one could not be written.
        """
        while self._waiting:
            yield self._next()

    def _next(self) -> SegmentationResult:
        result, writing = self._waiting.popleft()
        writing.result()
        return result

    def __enter__(self) -> 'WriteBehind':
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Whatever ends the run, what was computed is written."""
        self._thread.shutdown()
