"""Parts of a trace: some of its keys, its beginning, and what came after that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from statecache.study.errors import StudyError
from statecache.study.replay import Tally
from statecache.study.traces import Trace

__all__ = ["after", "before", "of_operations", "span"]


def span(trace: Trace) -> tuple[float, float]:
    """Return the first and the last instant of a trace, in seconds."""
    return float(trace.time_s[0]), float(trace.time_s[-1])


def of_operations(trace: Trace, chosen: NDArray[np.bool_] | slice) -> Trace:
    """Return the operations chosen; the keys keep their codes and names."""
    return replace(
        trace,
        time_s=trace.time_s[chosen],
        key=trace.key[chosen],
        op=trace.op[chosen],
        size=None if trace.size is None else trace.size[chosen],
        armed_s=None if trace.armed_s is None else trace.armed_s[chosen],
    )


def before(trace: Trace, instant_s: float) -> Trace:
    """Return the operations before an instant."""
    return of_operations(trace, slice(0, int(np.searchsorted(trace.time_s, instant_s))))


def after(whole: Tally, first: Tally) -> Tally:
    """Return the tally of what came after a beginning, with the cache as that had left it.

    Nothing that comes later changes what came before, so the rest is the difference. ``first``
    covers the time up to the instant at which the rest begins.
    """
    if whole.span_s[0] != first.span_s[0] or not np.array_equal(whole.ttls, first.ttls):
        raise StudyError("A beginning starts with its whole and has the same TTLs: replay it so.")
    sums = (
        "reads",
        "writes",
        "deletes",
        "bypassed",
        "misses_first",
        "misses_expired",
        "misses_deleted",
        "stale_hits",
        "age_at_hit_s",
        "live_key_s",
        "live_byte_s",
    )
    left = {name: getattr(whole, name) - getattr(first, name) for name in sums}
    return replace(whole, span_s=(first.span_s[1], whole.span_s[1]), **left)
