"""What a recording holds, in words and figures, for whoever looks at it first."""

from __future__ import annotations

import numpy as np

from statecache.study.traces.formats import FORMATS
from statecache.study.traces.reading import Recording
from statecache.study.traces.trace import DELETE, READ, WRITE, Trace

__all__ = ["facts"]

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def facts(recording: Recording) -> dict[str, str]:
    """Return what is to be known of a recording, by name, in the order in which to show it."""
    trace = recording.trace
    found = {"format": f"{recording.format}: {FORMATS[recording.format].what}"}
    if trace.synthetic:
        found["synthetic"] = trace.source or "drawn, not recorded"
    found |= {
        "lines": f"{recording.lines:,}; {recording.ignored:,} hold no operation on a state",
        "malformed": _malformed(recording),
        "operations": f"{len(trace):,}",
        "reads, writes, deletes": _shares(trace),
        "keys": f"{_count_keys(trace):,}",
        "duration": _duration(trace.duration_s),
        "rate": _rate(trace),
        "sizes": _sizes(trace),
    }
    return found


def _malformed(recording: Recording) -> str:
    if recording.first_malformed is None:
        return "none"
    line, reason = recording.first_malformed
    return f"{recording.malformed:,}, left out; the first is line {line}: {reason}"


def _shares(trace: Trace) -> str:
    if not len(trace):
        return "none"
    counts = np.bincount(trace.op, minlength=3)
    return ", ".join(f"{counts[op]:,} ({counts[op] / len(trace):.1%})" for op in _IN_ORDER)


def _count_keys(trace: Trace) -> int:
    return int(np.unique(trace.key).size)


def _duration(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit} ({seconds:,.0f} s)"
    return f"{seconds:,.3g} s"


def _rate(trace: Trace) -> str:
    return f"{len(trace) / trace.duration_s:,.4g} operations/s" if trace.duration_s else "unknown"


def _sizes(trace: Trace) -> str:
    if trace.size is None or not len(trace):
        return "not recorded"
    middle, high = np.quantile(trace.size, [0.5, 0.99])
    return (
        f"mean {trace.size.mean():,.0f}, median {middle:,.0f}, 99 % below {high:,.0f}, "
        f"largest {trace.size.max():,} bytes"
    )


_IN_ORDER = (READ, WRITE, DELETE)
