"""How much a cache holds as time goes by, under one TTL."""

# ruff: noqa: PLR0917 - a kernel takes its columns one by one, by position
from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study import jit
from statecache.study.errors import StudyError
from statecache.study.replay.grouping import CHANGED, FOLLOW, REMOVE, grouped
from statecache.study.replay.lives import BEGIN, BYTES, END, LIFE_ROWS, OUTLIVED, note_life
from statecache.study.replay.overlapping import events_of, replay_overlapping
from statecache.study.replay.replaying import span_of, takes_effect_at_once
from statecache.study.replay.settings import Behaviour, Expiry, Writes, checked_ttls
from statecache.study.traces import Trace

__all__ = ["live_over_time"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]


def live_over_time(
    trace: Trace,
    ttl_s: float,
    *,
    bins: int = 200,
    expiry: Expiry = "fixed",
    writes: Writes = "through",
    bypass_share: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how many entries, and how many bytes, live at a time, in ``bins`` bins of equal width.

    The bins divide the time from the first ``time_s`` to the last. The options are those of
    :func:`statecache.study.replay.hit_curve`; entries are counted while they are within their TTL.

    Columns:

    time_s      float64, where the bin begins
    live_keys   float64, entries within their TTL, averaged over the bin; the mean of all bins is
                ``mean_live_keys`` of the curve
    live_bytes  float64, their sizes, likewise; NaN for a trace without sizes
    peak_keys   int64, the most of them at any instant of the bin
    peak_bytes  float64, their sizes, likewise; NaN for a trace without sizes

    The frame is empty where the trace takes no time. Raises StudyError as ``hit_curve`` does, and
    for less than one bin.
    """
    behaviour = Behaviour(expiry, writes, bypass_share, seed)
    ttls = checked_ttls([ttl_s])
    if bins < 1:
        raise StudyError(f"The number of bins is {bins}: give 1 or more.")
    first, last = span_of(trace)
    edges = np.linspace(first, last, bins + 1 if last > first else 1)
    lives = _lives(trace, ttls, behaviour, last)
    means, peaks = _averages(lives, edges), _peaks(lives, edges)
    sized = 1.0 if trace.size is not None else np.nan
    return pd.DataFrame(
        {
            "time_s": edges[:-1],
            "live_keys": means[0],
            "live_bytes": means[1] * sized,
            "peak_keys": peaks[0].astype(np.int64),
            "peak_bytes": peaks[1] * sized,
        }
    )


def _lives(trace: Trace, ttls: Floats, behaviour: Behaviour, horizon: float) -> Floats:
    """List the lives of all entries, in the rows of :mod:`statecache.study.replay.lives`."""
    sliding = behaviour.expiry == "sliding"
    if takes_effect_at_once(trace):
        some = grouped(trace, behaviour)
        columns = some.times, some.codes, some.sizes, some.start, some.stop
        return _lives_at_once(*columns, ttls[0], horizon, sliding)
    events = events_of(trace, behaviour)
    parts = events.times, events.codes, events.key, events.operation, events.sizes
    return replay_overlapping(*parts, ttls, horizon, sliding, True)[2]


@jit.kernel(
    *(jit.FLOATS, jit.CODES, jit.INTS, jit.INTS, jit.INTS),
    *(jit.FLOAT, jit.FLOAT, jit.BOOL),
)
def _lives_at_once(
    times: Floats,
    codes: Codes,
    sizes: Ints,
    start: Ints,
    stop: Ints,
    ttl: float,
    horizon: float,
    sliding: bool,
) -> Floats:
    lives = np.empty((LIFE_ROWS, times.size), np.float64)
    lived = 0
    for k in range(start.size):
        armed = -1
        for i in range(start[k], stop[k]):
            hit = codes[i] & ~CHANGED == FOLLOW and times[i] - times[armed] <= ttl
            if hit and not sliding:
                continue
            if armed >= 0:
                size = sizes[armed] if sizes.size > 0 else 0
                lived += note_life(lives, lived, times[armed], times[i], ttl, size, False)
            armed = -1 if codes[i] == REMOVE else i
        if armed >= 0:
            size = sizes[armed] if sizes.size > 0 else 0
            lived += note_life(lives, lived, times[armed], horizon, ttl, size, True)
    return lives[:, :lived].copy()


@jit.kernel(jit.MATRIX, jit.FLOATS)
def _averages(lives: Floats, edges: Floats) -> Floats:
    """Return per bin the mean number of lives (row 0) and of their bytes (row 1)."""
    bins = edges.size - 1
    covered = np.zeros((2, bins + 1), np.float64)  # bins within a life, as differences
    partly = np.zeros((2, bins + 1), np.float64)
    for i in range(lives.shape[1] if bins > 0 else 0):
        begin, end = lives[BEGIN, i], lives[END, i]
        a, b = _bin(edges, begin), _bin(edges, end)
        for row, weight in ((0, 1.0), (1, lives[BYTES, i])):
            if a == b:
                partly[row, a] += weight * (end - begin)
            else:
                partly[row, a] += weight * (edges[a + 1] - begin)
                partly[row, b] += weight * (end - edges[b])
                covered[row, a + 1] += weight
                covered[row, b] -= weight
    means = np.zeros((2, bins), np.float64)
    for row in range(2):
        whole = 0.0
        for b in range(bins):
            whole += covered[row, b]
            means[row, b] = whole + partly[row, b] / (edges[b + 1] - edges[b])
    return means


def _peaks(lives: Floats, edges: Floats) -> Floats:
    """Return per bin the highest number of lives (row 0) and of their bytes (row 1).

    At an instant, entries that are replaced or removed end first, then others begin; an entry that
    expires is still live at the end of its TTL.
    """
    steps = np.ones(lives.shape[1])
    instants = np.concatenate([lives[BEGIN], lives[END]])
    turns = np.concatenate([steps, 2 * lives[OUTLIVED]])
    changes = np.concatenate([steps, -steps])
    weights = np.concatenate([lives[BYTES], -lives[BYTES]])
    order = np.lexsort((turns, instants))
    return _highest(instants[order], turns[order], changes[order], weights[order], edges)


@jit.kernel(jit.FLOATS, jit.FLOATS, jit.FLOATS, jit.FLOATS, jit.FLOATS)
def _highest(
    instants: Floats, turns: Floats, changes: Floats, weights: Floats, edges: Floats
) -> Floats:
    """Sweep over changes in order of (instant, turn); those of turn 0 precede an edge."""
    bins = edges.size - 1
    peaks = np.zeros((2, bins), np.float64)
    keys, size = 0.0, 0.0
    at = 0
    for b in range(bins):
        peaks[0, b], peaks[1, b] = keys, size
        edge = edges[b + 1]
        while at < instants.size and (
            b == bins - 1 or instants[at] < edge or (instants[at] == edge and turns[at] == 0)
        ):
            keys += changes[at]
            size += weights[at]
            peaks[0, b] = max(peaks[0, b], keys)
            peaks[1, b] = max(peaks[1, b], size)
            at += 1
    return peaks


@jit.part
def _bin(edges: Floats, instant: float) -> int:
    """Return the bin of an instant; the last edge belongs to the last bin."""
    low, high = 0, edges.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= instant:
            low = middle
        else:
            high = middle
    return low
