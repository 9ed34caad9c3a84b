"""Which rows are refused, and why the first of them is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from statecache.study.traces.rows import Malformed, Tally

__all__ = ["Checks"]


class Checks:
    """Gathers what is wrong with rows; the first row's first reason is told."""

    def __init__(self, count: int) -> None:
        self.good = np.ones(count, dtype=np.bool_)
        self._first: tuple[int, str] | None = None

    def refuse(self, bad: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        """Refuse the rows of a mask; the reason is asked for of one row."""
        if not np.any(bad):
            return
        self.good &= ~bad
        row = int(np.argmax(bad))
        if self._first is None or row < self._first[0]:
            self._first = row, reason(row)

    def tally(self, lines: NDArray[np.int64]) -> Tally:
        """Count what was refused; ``lines`` are the rows' numbers."""
        if self._first is None:
            return Tally()
        row, reason = self._first
        count = int(np.count_nonzero(~self.good))
        return Tally(count, 0, count, Malformed(int(lines[row]), reason))
