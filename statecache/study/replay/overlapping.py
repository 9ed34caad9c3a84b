"""The replay where operations take time, so that a read's look-up and its fill lie apart."""

# ruff: noqa: PLR0917 - a kernel takes its columns one by one, by position
from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from statecache.study import jit
from statecache.study.replay.grouping import BYPASS, dense_keys, effective_ops
from statecache.study.replay.lives import LIFE_ROWS, note_life
from statecache.study.replay.settings import Behaviour
from statecache.study.traces import DELETE, READ, WRITE, Trace

__all__ = ["Events", "events_of", "replay_overlapping"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

_LOOKUP: Final = 0  # a read looks into the cache ...
_FILL: Final = 1  # ... and fills it later, if it missed
_ARM: Final = 2  # a write through
_REMOVE: Final = 3  # the entry is removed, the state stays in the database
_DELETE: Final = 4  # both are removed
_CHANGE: Final = 5  # the state is written to the database, the cache is not touched

_NEVER: Final = 0  # a key's state: not in the cache so far, in the database from the start
_ARMED: Final = 1
_REMOVED: Final = 2  # not in the cache, in the database
_GONE: Final = 3  # in neither


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Look-ups and effects, sorted by key and instant; ``operation`` joins a fill to its look-up.

    ``sizes`` is empty for a trace without sizes; ``bypassed`` counts the writes that bypassed the
    cache.
    """

    times: Floats
    codes: Codes
    key: Ints
    operation: Ints
    sizes: Ints
    bypassed: int


def events_of(trace: Trace, behaviour: Behaviour) -> Events:
    """Return the events of a trace, each operation's look-up before its own effect."""
    op, bypassed = effective_ops(trace, behaviour, *dense_keys(trace.key))
    effects = np.zeros(4, dtype=np.uint8)
    effects[[READ, DELETE, BYPASS]] = _FILL, _DELETE, _CHANGE
    effects[WRITE] = _REMOVE if behaviour.writes == "invalidate" else _ARM
    looks = np.flatnonzero(op == READ)

    operation = np.concatenate([looks, np.arange(len(trace))])
    armed_s = trace.time_s if trace.armed_s is None else trace.armed_s
    instant = np.concatenate([trace.time_s[looks], armed_s])
    code = np.concatenate([np.full(looks.size, _LOOKUP, np.uint8), effects[op]])
    is_effect = np.arange(operation.size) >= looks.size
    key = trace.key[operation].astype(np.int64)

    order = np.lexsort((is_effect, operation, instant, key))
    operation = operation[order]
    sizes = np.empty(0, np.int64) if trace.size is None else trace.size[operation]
    return Events(instant[order], code[order], key[order], operation, sizes, bypassed)


@jit.kernel(
    *(jit.FLOATS, jit.CODES, jit.INTS, jit.INTS, jit.INTS),
    *(jit.FLOATS, jit.FLOAT, jit.BOOL, jit.BOOL),
)
def replay_overlapping(  # noqa: C901, PLR0912 - one pass over everything that can happen
    times: Floats,
    codes: Codes,
    key: Ints,
    operation: Ints,
    sizes: Ints,
    ttls: Floats,
    horizon: float,
    sliding: bool,
    listed: bool,
) -> tuple[Ints, Floats, Floats]:
    """Replay :class:`Events` under TTLs in any order; every event is visited once per TTL.

    Returns per TTL counts, in rows (first misses, expired misses, deleted misses, stale hits) and
    sums, in rows (ages at hits, live seconds, live byte-seconds); and, of the last TTL, if
    ``listed``, the lives of all entries (:mod:`statecache.study.replay.lives`).
    """
    counts = np.zeros((4, ttls.size), np.int64)
    sums = np.zeros((3, ttls.size), np.float64)
    lives = np.empty((LIFE_ROWS, times.size if listed else 0), np.float64)
    missed = np.zeros(times.size, np.bool_)
    lived = 0
    for t in range(ttls.size):
        ttl = ttls[t]
        state, armed, size, stale = _NEVER, 0.0, 0, False
        lived = 0
        for i in range(times.size):
            code = codes[i]
            arms = code == _ARM
            if code == _LOOKUP:
                hit = state == _ARMED and times[i] - armed <= ttl
                missed[operation[i]] = not hit
                arms = hit and sliding
                if hit:
                    counts[3, t] += stale
                    sums[0, t] += times[i] - armed
                else:
                    counts[_reason(state), t] += 1
            elif code == _FILL:
                arms = missed[operation[i]] and state != _GONE
            ends = arms or code in (_REMOVE, _DELETE)
            if state == _ARMED and ends:
                close = min(times[i], horizon)
                _add_life(sums, t, armed, close, ttl, size)
                if listed:
                    lived += note_life(lives, lived, armed, close, ttl, size, times[i] > horizon)
            if code == _CHANGE or (arms and code != _LOOKUP):
                stale = code == _CHANGE
            state = _state_after(state, code, arms)
            if arms:
                armed = times[i]
                size = sizes[i] if sizes.size > 0 else 0
            if i + 1 == times.size or key[i + 1] != key[i]:
                if state == _ARMED:
                    _add_life(sums, t, armed, horizon, ttl, size)
                    if listed:
                        lived += note_life(lives, lived, armed, horizon, ttl, size, True)
                state, stale = _NEVER, False
    return counts, sums, lives[:, :lived].copy()


@jit.part
def _reason(state: int) -> int:
    """Return the row of the counts for a miss."""
    if state == _NEVER:
        return 0
    return 1 if state == _ARMED else 2


@jit.part
def _add_life(sums: Floats, t: int, begin: float, close: float, ttl: float, size: int) -> None:
    life = max(0.0, min(ttl, close - begin))
    sums[1, t] += life
    sums[2, t] += life * size


@jit.part
def _state_after(state: int, code: int, arms: bool) -> int:
    if arms:
        return _ARMED
    if code == _DELETE:
        return _GONE
    if (code == _REMOVE and state != _NEVER) or (code == _CHANGE and state == _GONE):
        return _REMOVED
    return state
