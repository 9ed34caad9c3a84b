"""The ladder of offered rates: its rungs, which of them were sustained, and where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

__all__ = [
    "LATE",
    "SATURATED_CLIENT",
    "Climb",
    "judged_ladder",
    "place_below",
    "rate_at",
    "rungs_over",
    "sustained",
]

#: Where the geometric ladder of rates is anchored, in events a second.
_ANCHOR: Final = 100.0

#: The ladder reaches at least this far above what callers in a closed loop got.
_ABOVE_PEAK: Final = 1.1

#: A client that uses this share of a core and starts events later (99th percentile) than this share
#: of the limit is what limits. One that is busy and yet on time is not: gathering takes one by one
#: what comes one by one, with CPU time that is free, and makes larger batches of more.
SATURATED_CLIENT: Final = 0.95
LATE: Final = 0.1
#: Fewer of the offered events than this is not a rate that is sustained.
COMPLETED: Final = 0.99
#: A backlog grows where this share of what came in the second half was not handled in it, and
#: more than two deviations of what chance brings.
GROWTH: Final = 0.1

#: A climb goes from rate to rate by about this ratio.
_STRIDE: Final = 1.5


def judged_ladder(cells: pd.DataFrame, limit_ms: float) -> pd.DataFrame:
    """Return the ladder's cells with what ``find_capacity`` needs: latency_us and failed.

    And with what a reader wants to know of the client: busy, saturated.
    """
    half = cells["offered"] / 2
    grown = cells["unfinished_end"] - cells["unfinished_half"]
    growing = (grown > GROWTH * half) & (grown > 2 * np.sqrt(half))
    busy = cells["client_share"] >= SATURATED_CLIENT
    saturated = busy & (cells["late_p99_us"] > LATE * 1_000 * limit_ms)
    failed = growing | saturated | (cells["completed_share"] < COMPLETED)
    return cells.assign(
        latency_us=cells["request_p99_us"], failed=failed, busy=busy, saturated=saturated
    )


def sustained(cells: pd.DataFrame, limit_ms: float) -> dict[str, bool]:
    """Return mechanisms → whether they sustained the rate that each was offered, in one block."""
    steps = judged_ladder(cells, limit_ms)
    held = ~steps["failed"] & (steps["latency_us"] <= 1_000 * limit_ms)
    return dict(zip(steps["mechanisms"], held.tolist(), strict=True))


def rate_at(place: int, step: float) -> float:
    """Return the rate of a place on the ladder: all variants share one, of whole numbers."""
    return float(round(_ANCHOR * step**place))


def place_below(rate: float, step: float) -> int:
    """Return the highest place whose rate is at most this."""
    return math.floor(math.log(rate / _ANCHOR, step))


def rungs_over(peak: float, edge: float, step: float, count: int) -> list[float]:
    """Return rates of the ladder, ascending, without a gap.

    So many up to the first well above the ``peak``, which callers in a closed loop got, and so many
    around the ``edge``, a place, which may lie between two: where a climb saw it fail once.
    """
    top = math.ceil(math.log(_ABOVE_PEAK * peak / _ANCHOR, step))
    lowest = math.ceil(edge - count / 2)
    places = range(min(top - count, lowest - 1) + 1, max(top, lowest + count - 1) + 1)
    return [rate_at(place, step) for place in places]


@dataclass(slots=True)
class Climb:
    """Looks for the edge of what is sustained: up from a rate that is, down from one that is not.

    ``place`` is where to look next.
    """

    place: int
    step: float
    #: The highest place that was sustained, and the lowest that was not.
    held: int | None = None
    failed: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the edge lies between two places that were looked at."""
        return self.held is not None and self.failed is not None

    @property
    def edge(self) -> float:
        """The best guess of the edge so far, as a place."""
        if self.held is not None and self.failed is not None:
            return (self.held + self.failed) / 2
        return float(self.place)

    def note(self, *, held: bool) -> None:
        """Hear whether the rate at ``place`` was sustained."""
        stride = max(1, round(math.log(_STRIDE, self.step)))
        if held:
            self.held = self.place
            self.place += stride
        else:
            self.failed = self.place
            self.place -= stride
