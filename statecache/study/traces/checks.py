"""Which rows of a table are refused, why the first of them is, and what the others become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from statecache.study.traces.rows import UNKNOWN_SIZE, Malformed, Rows, Tally

__all__ = ["Checks", "counts", "sizes"]

_LARGEST_SIZE: Final = 2.0**53
_LARGEST_COUNT: Final = 1e6
"""Of one line: a number that nobody believes could fill the memory."""


class Checks:
    """Gathers what is wrong with rows; the first row's first reason is told."""

    def __init__(self, count: int) -> None:
        self._good = np.ones(count, dtype=np.bool_)
        self._first: tuple[int, str] | None = None

    def refuse(self, bad: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        """Refuse the rows of a mask; the reason is asked for of one row."""
        if not np.any(bad):
            return
        self._good &= ~bad
        row = int(np.argmax(bad))
        if self._first is None or row < self._first[0]:
            self._first = row, reason(row)

    def choose(
        self, rows: Rows, lines: NDArray[np.int64], repeats: NDArray[np.int64] | None
    ) -> Rows:
        """Return the rows that are left, with their tally.

        ``lines`` are the rows' numbers in the file, ``repeats`` of how many operations they tell.
        """
        tally = Tally(len(lines))
        if self._first is not None:
            row, reason = self._first
            malformed = int(np.count_nonzero(~self._good))
            tally = Tally(len(lines), 0, malformed, Malformed(int(lines[row]), reason))
        if self._first is None and repeats is None:
            return replace(rows, tally=tally)
        places = np.flatnonzero(self._good)
        if repeats is not None:
            places = np.repeat(places, repeats[places])

        def chosen(column: Any) -> Any:
            if column is None:
                return None
            return column[places] if isinstance(column, np.ndarray) else column.take(places)

        return Rows(
            time_s=chosen(rows.time_s),
            key=chosen(rows.key),
            op=chosen(rows.op),
            size=chosen(rows.size),
            armed_s=chosen(rows.armed_s),
            tally=tally,
        )


def sizes(
    values: NDArray[np.float64], unknown: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return sizes, and which values are none though they are not unknown."""
    good = _whole(values, 0, _LARGEST_SIZE)
    return np.where(good, values, UNKNOWN_SIZE).astype(np.int64), ~(good | unknown)


def counts(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return numbers of operations, and which values are none."""
    good = _whole(values, 1, _LARGEST_COUNT)
    return np.where(good, values, 0).astype(np.int64), ~good


def _whole(values: NDArray[np.float64], least: float, most: float) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = (values >= least) & (values <= most) & (values == np.floor(values))
    return whole
