"""Which part of a trace is run live, and how much faster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from statecache.study.advisor.parts import of_operations
from statecache.study.errors import StudyError
from statecache.study.traces import READ, Trace

__all__ = ["Slice", "cut"]

#: A slice lasts so many TTLs, where there is time for it: then entries expire, and often.
TTLS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a trace, from its time 0 on, and how it is run live.

    ``time_scale`` is seconds of the trace in a second of wall clock.
    """

    trace: Trace
    begins_s: float
    time_scale: float

    def live_ttl_ms(self, ttl_s: float) -> int:
        """Return the TTL in wall-clock milliseconds, as the cache is given it."""
        return max(1, round(ttl_s * 1000 / self.time_scale))


def cut(trace: Trace, ttl_s: float, *, live_s: float, rate_per_s: float) -> Slice:
    """Cut a slice from the middle of the trace that takes ``live_s`` at most at that rate.

    It lasts eight TTLs, or as long as the operations that fit into the time. Raises StudyError
    where it has no reads.
    """
    most = max(2, int(live_s * rate_per_s))
    first = len(trace) // 2 if len(trace) > most else 0
    begin = float(trace.time_s[first])
    end = int(np.searchsorted(trace.time_s, begin + TTLS * ttl_s, side="right"))
    part = of_operations(trace, slice(first, min(end, first + most)))
    if not np.any(part.op == READ) or not part.duration_s:
        raise StudyError(
            f"The {len(part)} operations from {begin:g} s on hold no reads over time: take a "
            "longer live run, or another trace."
        )
    return Slice(
        trace=replace(part, time_s=part.time_s - begin),
        begins_s=begin,
        time_scale=part.duration_s / live_s,
    )
