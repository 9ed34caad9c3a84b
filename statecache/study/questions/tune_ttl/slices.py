"""Which part of a trace is run live, and how much faster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from statecache.study.advisor.parts import of_operations, span
from statecache.study.errors import StudyError
from statecache.study.traces import READ, Trace

__all__ = ["Slice", "cut"]

#: A slice lasts so many TTLs, where there is time for it: then entries expire, and often.
TTLS: Final = 4.0
_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a trace, from its time 0 on, and how it is run live.

    ``time_scale`` is seconds of the trace in a second of wall clock, ``key_share`` the share of the
    keys that are in it.
    """

    trace: Trace
    begins_s: float
    time_scale: float
    key_share: float = 1.0

    def live_ttl_ms(self, ttl_s: float) -> int:
        """Return the TTL in wall-clock milliseconds, as the cache is given it."""
        return max(1, round(ttl_s * 1000 / self.time_scale))


def cut(trace: Trace, ttl_s: float, *, live_s: float, rate_per_s: float) -> Slice:
    """Cut a slice that takes ``live_s`` at that rate at most: four TTLs after the trace's middle.

    Earlier where the trace ends before, and shorter where it is. Of the keys only so many, drawn by
    a seed, that their operations fit into the time; keys know nothing of each other, so that what
    they show is theirs. Raises StudyError where that leaves no reads.
    """
    first, last = span(trace)
    length = min(TTLS * ttl_s, last - first)
    begin = min((first + last) / 2, last - length)
    start, stop = np.searchsorted(trace.time_s, [begin, begin + length], side="left")
    window = of_operations(trace, slice(int(start), int(stop) + 1))
    kept = _some_keys(window, max(1, int(live_s * rate_per_s)))
    part = of_operations(window, np.isin(window.key, kept))
    if not np.any(part.op == READ) or not part.duration_s:
        raise StudyError(
            f"The {len(part)} operations from {begin:g} s on hold no reads over time: take a "
            "longer live run, or another trace."
        )
    begin = float(part.time_s[0])
    return Slice(
        trace=replace(part, time_s=part.time_s - begin),
        begins_s=begin,
        time_scale=part.duration_s / live_s,
        key_share=kept.size / np.unique(window.key).size,
    )


def _some_keys(trace: Trace, most: int) -> NDArray[np.int64]:
    """Return as many keys, in a drawn order, as have at most so many operations, at least one."""
    keys, counts = np.unique(trace.key, return_counts=True)
    order = np.random.default_rng(_SEED).permutation(keys.size)
    fit = int(np.searchsorted(np.cumsum(counts[order]), most, side="right"))
    return keys[order[: max(1, fit)]].astype(np.int64)
