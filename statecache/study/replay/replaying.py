"""A replay: which kernel works on a trace, on which processors, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.errors import StudyError
from statecache.study.replay import kernels
from statecache.study.replay.grouping import Grouped, grouped
from statecache.study.replay.overlapping import events_of, replay_overlapping
from statecache.study.replay.settings import Behaviour, Expiry, Writes, checked_ttls
from statecache.study.replay.sums import Tally, curve_of
from statecache.study.traces import DELETE, READ, WRITE, Trace

__all__ = ["hit_curve", "replay_keys", "span_of", "takes_effect_at_once", "tally"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PART_EVENTS: Final = 250_000
"""Events per unit of work: enough to hide the hand-over, few enough to share among processors. Not
derived from the processors, so that the sums are the same to the last bit on every machine."""


def hit_curve(
    trace: Trace,
    ttls: Iterable[float],
    *,
    expiry: Expiry = "fixed",
    writes: Writes = "through",
    bypass_share: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Replay a trace under every TTL and return one row per TTL, in the order given.

    ``ttls`` are seconds, from 0 (only accesses in the same instant hit) to infinity. ``writes``
    says what a write does to the cache: it fills it ("through"), removes the entry ("invalidate")
    or doesn't touch it ("ignore"). Of the writes, a share of ``bypass_share`` bypasses the cache;
    which ones, ``seed`` says. The semantics are those of :mod:`statecache.study.replay`, the
    columns those of :func:`curve_of`.

    Raises StudyError for an unknown option, a share or seed out of range, and a TTL that is
    negative, NaN or not a number.
    """
    behaviour: Any = {
        "expiry": expiry,
        "writes": writes,
        "bypass_share": bypass_share,
        "seed": seed,
    }
    return curve_of(tally(trace, ttls, **behaviour))


def tally(
    trace: Trace,
    ttls: Iterable[float],
    *,
    expiry: Expiry = "fixed",
    writes: Writes = "through",
    bypass_share: float = 0.0,
    seed: int = 0,
    span_s: tuple[float, float] | None = None,
) -> Tally:
    """Replay a trace, or all operations of some of its keys, and return sums that add up.

    The options are those of :func:`hit_curve`. ``span_s`` is the time over which entries are taken
    to live: first and last ``time_s`` of the whole trace. It is the trace's own where it isn't
    given; parts of a trace need that of the whole, so that their entries live on to its end.

    Raises StudyError as :func:`hit_curve` does, and for operations outside ``span_s``.
    """
    behaviour = Behaviour(expiry, writes, bypass_share, seed)
    seconds = checked_ttls(ttls)
    span = span_of(trace) if span_s is None else _checked_span(trace, span_s)
    replay = _replay_at_once if takes_effect_at_once(trace) else _replay_overlapping
    operations = np.bincount(trace.op, minlength=3)
    sums = replay(trace, seconds, behaviour, span[1])
    if trace.size is None and len(trace):
        sums["live_byte_s"] = np.full(seconds.size, np.nan)
    return Tally(
        ttls=seconds,
        behaviour=behaviour,
        span_s=span,
        reads=int(operations[READ]),
        writes=int(operations[WRITE]),
        deletes=int(operations[DELETE]),
        **sums,
    )


def takes_effect_at_once(trace: Trace) -> bool:
    """Whether no operation of the trace takes time."""
    return trace.armed_s is None or bool(np.array_equal(trace.armed_s, trace.time_s))


def span_of(trace: Trace) -> tuple[float, float]:
    """Return the first and the last instant of a trace; twice 0 where it is empty."""
    return (float(trace.time_s[0]), float(trace.time_s[-1])) if len(trace) else (0.0, 0.0)


def _checked_span(trace: Trace, span_s: tuple[float, float]) -> tuple[float, float]:
    first, last = float(span_s[0]), float(span_s[1])
    own = span_of(trace) if len(trace) else (first, last)
    if not (np.isfinite([first, last]).all() and first <= own[0] and own[1] <= last):
        raise StudyError(
            f"The span from {first} to {last} s does not hold all operations, which are from "
            f"{own[0]} to {own[1]} s: give the first and the last time of the whole trace."
        )
    return first, last


def _replay_at_once(
    trace: Trace, ttls: Floats, behaviour: Behaviour, horizon: float
) -> dict[str, Any]:
    events = grouped(trace, behaviour)
    ascending = np.argsort(ttls, kind="stable")
    counts, sums = replay_keys(events, ttls[ascending], behaviour.expiry, horizon)
    asked = np.argsort(ascending)
    return {
        "bypassed": events.bypassed,
        "misses_first": np.full(ttls.size, events.first),
        "misses_expired": counts[kernels.EXPIRED, asked],
        "misses_deleted": np.full(ttls.size, events.deleted),
        "stale_hits": counts[kernels.STALE, asked],
        "age_at_hit_s": sums[kernels.AGE, asked],
        "live_key_s": sums[kernels.LIVE, asked],
        "live_byte_s": sums[kernels.BYTES, asked],
    }


def replay_keys(
    events: Grouped, ttls: Floats, expiry: Expiry, horizon: float
) -> tuple[Ints, Floats]:
    """Replay ranges of keys on all processors (the kernels leave the interpreter) and add up."""
    kernel = kernels.replay_fixed if expiry == "fixed" else kernels.replay_sliding
    n_events = int(events.times.size)
    parts = n_events // _PART_EVENTS + 1
    cuts = np.searchsorted(events.start, np.linspace(0, n_events, parts + 1)[1:-1])
    edges = [0, *cuts.tolist(), events.start.size]
    columns = (
        events.times,
        events.codes,
        events.sizes,
        events.changes > 0,
        events.start,
        events.stop,
    )

    def replay(first_key: int, end_key: int) -> tuple[Ints, Floats]:
        return kernel(*columns, first_key, end_key, ttls, horizon)

    with ThreadPoolExecutor(min(parts, os.cpu_count() or 1)) as pool:
        done = list(pool.map(replay, edges[:-1], edges[1:]))
    counts, sums = zip(*done, strict=True)
    return np.sum(counts, axis=0), np.sum(sums, axis=0)


def _replay_overlapping(
    trace: Trace, ttls: Floats, behaviour: Behaviour, horizon: float
) -> dict[str, Any]:
    events = events_of(trace, behaviour)
    columns = events.times, events.codes, events.key, events.operation, events.sizes
    sliding = behaviour.expiry == "sliding"
    counts, sums, _lives = replay_overlapping(*columns, ttls, horizon, sliding, False)
    return {
        "bypassed": events.bypassed,
        "misses_first": counts[0],
        "misses_expired": counts[1],
        "misses_deleted": counts[2],
        "stale_hits": counts[3],
        "age_at_hit_s": sums[0],
        "live_key_s": sums[1],
        "live_byte_s": sums[2],
    }
