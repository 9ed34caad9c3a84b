"""The compiled loops behind :func:`statecache.study.replay.hit_curve`.

Functions over arrays, no objects: what the arrays hold is said here, what the figures mean in
:mod:`statecache.study.replay`. An entry is live while ``now - armed <= ttl``; the age is always
compared in this form, since ``armed + ttl`` rounds differently.
"""

# ruff: noqa: PLR0917 - a kernel takes its columns one by one, by position
from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from statecache.study import jit
from statecache.study.traces import READ, WRITE

__all__ = ["group_by_key", "replay_fixed", "replay_overlapping", "replay_sliding"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

THROUGH: Final = 0  # what a write does to the cache
INVALIDATE: Final = 1
IGNORE: Final = 2

FOLLOW: Final = 0  # a read after an arming: the TTL decides whether it hits
ARM: Final = 1  # a write through, or a read that misses and fills whatever the TTL
REMOVE: Final = 2  # the entry is removed, the state stays in the database
DELETE: Final = 3  # both are removed
LOOKUP: Final = 4  # a read looks into the cache ...
FILL: Final = 5  # ... and fills it later, if it missed
REVIVE: Final = 6  # the state is in the database again, the cache is not touched

_NEVER: Final = 0  # a key's state: not in the cache so far, in the database from the start
_ARMED: Final = 1
_REMOVED: Final = 2  # not in the cache, in the database
_GONE: Final = 3  # in neither


@jit.kernel(jit.INTS32, jit.CODES, jit.FLOATS, jit.INT, jit.INT)
def group_by_key(
    key: NDArray[np.int32], op: Codes, time: Floats, n_keys: int, writes: int
) -> tuple[Ints, Ints, Floats, Codes, int, int]:
    """Group operations that take effect at once by key, and settle what no TTL can change.

    A counting sort: key ``k`` has the events ``start[k]:stop[k]`` of ``(times, codes)``, in the
    order given, with the codes FOLLOW, ARM and REMOVE. Operations without effect are left out.

    Returns (start, stop, times, codes, first misses, misses for want of a deleted state).
    """
    start = np.zeros(n_keys, np.int64)
    for i in range(key.size):
        start[key[i]] += 1
    total = 0
    for k in range(n_keys):
        total, start[k] = total + start[k], total
    stop = start.copy()
    times = np.empty(key.size, np.float64)
    codes = np.empty(key.size, np.uint8)
    states = np.zeros(n_keys, np.uint8)
    first = 0
    deleted = 0
    for i in range(key.size):
        k = key[i]
        state = states[k]
        if op[i] == READ:
            first += state == _NEVER
            deleted += state >= _REMOVED
            if state == _GONE:
                continue
            code = FOLLOW if state == _ARMED else ARM
            states[k] = _ARMED
        elif op[i] == WRITE and writes == THROUGH:
            code = ARM
            states[k] = _ARMED
        else:
            if op[i] != WRITE:
                states[k] = _GONE
            elif state == _GONE or (state == _ARMED and writes == INVALIDATE):
                states[k] = _REMOVED
            if state != _ARMED or states[k] == _ARMED:
                continue
            code = REMOVE
        times[stop[k]] = time[i]
        codes[stop[k]] = code
        stop[k] += 1
    return start, stop, times, codes, first, deleted


@jit.part
def _below(ttls: Floats, span: float) -> int:
    """Count the TTLs too short for a span; an age equal to the TTL still hits."""
    low, high = 0, ttls.size
    while low < high:
        middle = (low + high) // 2
        if ttls[middle] < span:
            low = middle + 1
        else:
            high = middle
    return low


@jit.part
def _add_live(whole: Ints, part: Floats, ttls: Floats, span: float, low: int, high: int) -> None:
    """Add min(TTL, span) to the live seconds of the TTLs low:high, as differences.

    ``whole`` counts the spans of which a TTL covers only its own length, ``part`` sums the others.
    """
    split = min(max(_below(ttls, span), low), high)
    whole[low] += 1
    whole[split] -= 1
    part[split] += span
    part[high] -= span


@jit.part
def _summed(whole: Ints, part: Floats, ttls: Floats) -> Floats:
    """Turn the differences of :func:`_add_live` into seconds per TTL."""
    live = np.cumsum(part[:-1])
    spans = 0
    for k in range(ttls.size):
        spans += whole[k]
        if spans > 0:  # an infinite TTL has none, and infinity times 0 is not a number
            live[k] += spans * ttls[k]
    return live


@jit.part
def _next_expired(times: Floats, armed: int, end: int, ttl: float) -> int:
    """Find the first of the events armed+1:end that is too old, by doubling steps; end if none."""
    since = times[armed]
    low, step = armed, 1
    while low + step < end and times[low + step] - since <= ttl:
        low += step
        step *= 2
    high = min(low + step, end)
    while high - low > 1:
        middle = (low + high) // 2
        if times[middle] - since <= ttl:
            low = middle
        else:
            high = middle
    return high


@jit.kernel(jit.FLOATS, jit.CODES, jit.INTS, jit.INTS, jit.INT, jit.INT, jit.FLOATS, jit.FLOAT)
def replay_fixed(
    times: Floats,
    codes: Codes,
    start: Ints,
    stop: Ints,
    first_key: int,
    end_key: int,
    ttls: Floats,
    horizon: float,
) -> tuple[Ints, Floats]:
    """Replay grouped keys where only misses and writes arm; ``ttls`` ascend.

    A run is an arming and the reads up to the next event of another kind. TTLs shorter than its
    shortest gap miss every read of it, TTLs as long as the run hit every one: only those between
    are replayed, and of them only the armings are visited.

    Returns per TTL (expired misses, live seconds up to ``horizon``).
    """
    n = ttls.size
    expired = np.zeros(n + 1, np.int64)  # differences, like whole and part
    whole = np.zeros(n + 1, np.int64)
    part = np.zeros(n + 1, np.float64)
    misses = np.zeros(n, np.int64)
    lives = np.zeros(n, np.float64)
    for k in range(first_key, end_key):
        run = start[k]
        while run < stop[k]:
            if codes[run] == REMOVE:
                run += 1
                continue
            shortest = np.inf
            end = run + 1
            while end < stop[k] and codes[end] == FOLLOW:
                shortest = min(shortest, times[end] - times[end - 1])
                end += 1
            close = times[end] if end < stop[k] else horizon
            last = times[end - 1]
            longest = _below(ttls, last - times[run])
            _add_live(whole, part, ttls, close - times[run], longest, n)
            if longest > 0:
                between = min(_below(ttls, shortest), longest)
                follows = end - run - 1
                expired[0] += follows
                expired[between] -= follows
                whole[0] += follows
                whole[between] -= follows
                _add_live(whole, part, ttls, close - last, 0, between)
                for t in range(between, longest):
                    ttl = ttls[t]
                    armed = run
                    while last - times[armed] > ttl:
                        armed = _next_expired(times, armed, end, ttl)
                        misses[t] += 1
                        lives[t] += ttl
                    lives[t] += min(ttl, close - times[armed])
            run = end
    return np.cumsum(expired[:-1]) + misses, _summed(whole, part, ttls) + lives


@jit.kernel(jit.FLOATS, jit.CODES, jit.INTS, jit.INTS, jit.INT, jit.INT, jit.FLOATS, jit.FLOAT)
def replay_sliding(
    times: Floats,
    codes: Codes,
    start: Ints,
    stop: Ints,
    first_key: int,
    end_key: int,
    ttls: Floats,
    horizon: float,
) -> tuple[Ints, Floats]:
    """Replay grouped keys where every access arms, so that only gaps matter; ``ttls`` ascend.

    Returns per TTL (expired misses, live seconds up to ``horizon``).
    """
    n = ttls.size
    expired = np.zeros(n + 1, np.int64)
    whole = np.zeros(n + 1, np.int64)
    part = np.zeros(n + 1, np.float64)
    for k in range(first_key, end_key):
        for i in range(start[k], stop[k]):
            if codes[i] == REMOVE:
                continue
            after = i + 1
            gap = (times[after] if after < stop[k] else horizon) - times[i]
            _add_live(whole, part, ttls, gap, 0, n)
            if after < stop[k] and codes[after] == FOLLOW:
                expired[0] += 1
                expired[_below(ttls, gap)] -= 1
    return np.cumsum(expired[:-1]), _summed(whole, part, ttls)


@jit.kernel(jit.FLOATS, jit.CODES, jit.INTS, jit.INTS, jit.FLOATS, jit.FLOAT, jit.BOOL)
def replay_overlapping(
    times: Floats,
    codes: Codes,
    key: Ints,
    operation: Ints,
    ttls: Floats,
    horizon: float,
    sliding: bool,
) -> tuple[Ints, Ints, Ints, Floats]:
    """Replay events sorted by key and instant, where a read's look-up and its fill lie apart.

    ``operation`` joins a FILL to its LOOKUP. Every event is visited once per TTL.

    Returns per TTL (first misses, expired misses, deleted misses, live seconds).
    """
    first = np.zeros(ttls.size, np.int64)
    expired = np.zeros(ttls.size, np.int64)
    deleted = np.zeros(ttls.size, np.int64)
    live = np.zeros(ttls.size, np.float64)
    missed = np.zeros(times.size, np.bool_)
    for t in range(ttls.size):
        ttl = ttls[t]
        state = _NEVER
        armed = 0.0
        for i in range(times.size):
            code = codes[i]
            arms = code == ARM
            if code == LOOKUP:
                hit = state == _ARMED and times[i] - armed <= ttl
                missed[operation[i]] = not hit
                arms = hit and sliding
                first[t] += state == _NEVER
                expired[t] += state == _ARMED and not hit
                deleted[t] += state >= _REMOVED
            elif code == FILL:
                arms = missed[operation[i]] and state != _GONE
            if state == _ARMED and (arms or code in (REMOVE, DELETE)):
                live[t] += max(0.0, min(ttl, min(times[i], horizon) - armed))
            state = _state_after(state, code, arms)
            if arms:
                armed = times[i]
            if i + 1 == times.size or key[i + 1] != key[i]:
                if state == _ARMED:
                    live[t] += max(0.0, min(ttl, horizon - armed))
                state = _NEVER
    return first, expired, deleted, live


@jit.part
def _state_after(state: int, code: int, arms: bool) -> int:
    if arms:
        return _ARMED
    if code == DELETE:
        return _GONE
    if (code == REMOVE and state != _NEVER) or (code == REVIVE and state == _GONE):
        return _REMOVED
    return state
