"""How long something took, many times over: a histogram of fixed buckets."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from statecache.forking import new_lock

__all__ = ["BOUNDS_S", "Durations", "Spread"]

#: Upper bounds of the buckets in seconds, each including its own; one bucket more is for the rest.
#: From an indexed read on loopback (about 150 µs) to the longest time-out of a statement.
BOUNDS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spread:
    """A picture of a histogram: durations per bucket (not added up), and their sum in seconds."""

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum: float = 0.0

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.buckets)


class Durations:
    """Counts durations by bucket, from any thread, without losing one."""

    __slots__ = ("_buckets", "_lock", "_sum")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration."""
        bucket = bisect_left(BOUNDS_S, seconds)
        with self._lock:
            self._buckets[bucket] += 1
            self._sum += seconds

    def snapshot(self) -> Spread:
        """Return the picture of now; buckets and sum belong together."""
        with self._lock:
            return Spread(tuple(self._buckets), self._sum)
