"""The compiled loops of the replay, for operations that take effect at once.

Functions over the arrays of :class:`statecache.study.replay.grouping.Grouped`. An entry is live
while ``now - armed <= ttl``; the age is always compared in this form, since ``armed + ttl`` rounds
differently. TTLs ascend, and a TTL's place among them is called t.

What holds from one TTL on is noted as a difference (plus there, minus where it ends) and summed up
last, so that most events cost the same for any number of TTLs. With a fixed expiry:

* A run is an arming and the reads up to the next event of another kind. A gap longer than the TTL
  makes its read miss, whatever came before. So the TTL cuts the run into bursts without such a gap,
  each begun by an arming. Longer TTLs join bursts: seen over all TTLs they are nested, and there
  are fewer of them than reads.
* A TTL as long as a burst hits all of it but the first. Only for TTLs between the burst's longest
  gap and its length are the armings within it visited, one by one.
"""

# ruff: noqa: PLR0917 - a kernel takes its columns one by one, by position
from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from statecache.study import jit
from statecache.study.replay.grouping import CHANGED, FOLLOW, REMOVE

__all__ = ["AGE", "BYTES", "EXPIRED", "LIVE", "STALE", "replay_fixed", "replay_sliding"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

# Rows of the counts that a replay returns, one column per TTL
EXPIRED: Final = 0  # expired misses
STALE: Final = 1  # stale hits
_WHOLE: Final = 2  # armings that live as long as the TTL, beside the expired ones and those always
_HEAVY: Final = 3  # bytes of all of them
# Rows of the sums
AGE: Final = 0  # ages at hits
LIVE: Final = 1  # seconds
BYTES: Final = 2  # each times its bytes

_ROWS: Final = 4, 3
_NEAR: Final = 8
"""Events looked at one by one before the steps double: most bursts are short."""


@jit.kernel(
    *(jit.FLOATS, jit.CODES, jit.INTS, jit.BOOL, jit.INTS, jit.INTS, jit.INT, jit.INT),
    *(jit.FLOATS, jit.FLOAT),
)
def replay_fixed(
    times: Floats,
    codes: Codes,
    sizes: Ints,
    marked: bool,
    start: Ints,
    stop: Ints,
    first_key: int,
    end_key: int,
    ttls: Floats,
    horizon: float,
) -> tuple[Ints, Floats]:
    """Replay the keys first_key:end_key where only misses and writes arm.

    ``marked`` says that there are codes with CHANGED; ``horizon`` is when the last entries end.

    Returns (counts, sums) with the rows named above, one column per TTL.
    """
    n = ttls.size
    counts = np.zeros((_ROWS[0], n + 1), np.int64)
    sums = np.zeros((_ROWS[1], n + 1), np.float64)
    longest = 0
    for k in range(first_key, end_key):
        longest = max(longest, stop[k] - start[k])
    elapsed = np.empty(longest, np.float64)
    marks = np.empty((2, longest if marked else 0), np.int32)
    nested = np.empty((2, n + 1), np.int64)
    runs = 0
    for k in range(first_key, end_key):
        run = start[k]
        while run < stop[k]:
            end = run + 1
            if codes[run] != REMOVE:
                while end < stop[k] and codes[end] & ~CHANGED == FOLLOW:
                    end += 1
                runs += 1
                close = times[end] if end < stop[k] else horizon
                if marked:
                    _find_marks(codes[run:end], marks)
                if end == run + 1:
                    size = sizes[run] if sizes.size > 0 else 0
                    counts[_HEAVY, 0] += size
                    _cut_life(counts, sums, ttls, close - times[run], size, 0, n)
                else:
                    own = sizes[run:end] if sizes.size > 0 else sizes
                    _replay_run(
                        times[run:end], own, marks, close, ttls, counts, sums, elapsed, nested
                    )
            run = end
    _sum_up(counts, sums, ttls, runs, True)
    return counts, sums


@jit.kernel(
    *(jit.FLOATS, jit.CODES, jit.INTS, jit.BOOL, jit.INTS, jit.INTS, jit.INT, jit.INT),
    *(jit.FLOATS, jit.FLOAT),
)
def replay_sliding(
    times: Floats,
    codes: Codes,
    sizes: Ints,
    marked: bool,  # noqa: ARG001 - what replay_fixed takes
    start: Ints,
    stop: Ints,
    first_key: int,
    end_key: int,
    ttls: Floats,
    horizon: float,
) -> tuple[Ints, Floats]:
    """Replay the keys first_key:end_key where every access arms, so that only gaps matter.

    Arguments and result are those of :func:`replay_fixed`. After a write that bypassed the cache a
    hit is stale for TTLs as long as every gap since, the one with the write in it among them.
    """
    n = ttls.size
    counts = np.zeros((_ROWS[0], n + 1), np.int64)
    sums = np.zeros((_ROWS[1], n + 1), np.float64)
    arms = 0
    for k in range(first_key, end_key):
        stale_from = -1
        for i in range(start[k], stop[k]):
            if codes[i] == REMOVE:
                continue
            arms += 1
            after = i + 1
            gap = (times[after] if after < stop[k] else horizon) - times[i]
            longer = below(ttls, gap, 0, n)
            counts[_WHOLE, longer] -= 1
            sums[LIVE, longer] += gap
            if sizes.size > 0:
                counts[_HEAVY, 0] += sizes[i]
                counts[_HEAVY, longer] -= sizes[i]
                sums[BYTES, longer] += sizes[i] * gap
            if after == stop[k] or codes[after] & ~CHANGED != FOLLOW:
                stale_from = -1
                continue
            counts[EXPIRED, 0] += 1
            counts[EXPIRED, longer] -= 1
            sums[AGE, longer] += gap
            if codes[after] != FOLLOW:
                stale_from = longer
            elif stale_from >= 0:
                stale_from = max(stale_from, longer)
            if stale_from >= 0:
                counts[STALE, stale_from] += 1
    _sum_up(counts, sums, ttls, arms, False)
    return counts, sums


@jit.part
def below(ttls: Floats, span: float, low: int, high: int) -> int:
    """Return the first of the TTLs low:high that covers a span (an age equal to it still hits)."""
    while low < high:
        middle = (low + high) // 2
        if ttls[middle] < span:
            low = middle + 1
        else:
            high = middle
    return low


@jit.part
def _replay_run(
    times: Floats,
    sizes: Ints,
    marks: NDArray[np.int32],
    close: float,
    ttls: Floats,
    counts: Ints,
    sums: Floats,
    elapsed: Floats,
    nested: Ints,
) -> None:
    """Replay a run that ends at ``close``; ``elapsed`` and ``nested`` are scratch.

    ``nested`` holds the bursts that end at the present event: the row 0 their lowest TTL, falling,
    the row 1 where they begin, rising. A gap ends those that it is too long for, and begins, or
    goes on with, the burst of the TTLs that it is not too long for.
    """
    n = ttls.size
    sized = sizes.size > 0
    if sized:
        counts[_HEAVY, 0] += sizes[0]
    depth = 0
    elapsed[0] = 0.0
    for i in range(1, times.size + 1):
        longer, ends = n, close  # the end of the run ends all bursts
        if i < times.size:
            elapsed[i] = elapsed[i - 1] + (times[i] - times[0])
            longer, ends = below(ttls, times[i] - times[i - 1], 0, n), np.inf
            counts[EXPIRED, 0] += 1
            counts[EXPIRED, longer] -= 1
            if sized:
                counts[_HEAVY, 0] += sizes[i]
                counts[_HEAVY, longer] -= sizes[i]
        else:
            alone = nested[0, depth - 1] if depth > 0 else n
            size = sizes[-1] if sized else 0
            _cut_life(counts, sums, ttls, close - times[-1], size, 0, alone)
        begin = i - 1
        while depth > 0 and nested[0, depth - 1] < longer:
            depth -= 1
            low, begin = nested[0, depth], nested[1, depth]
            high = min(longer, nested[0, depth - 1]) if depth > 0 else longer
            _replay_burst(
                times, sizes, marks, begin, i, ttls, low, high, ends, counts, sums, elapsed
            )
        if longer < n and (depth == 0 or nested[0, depth - 1] > longer):
            nested[0, depth] = longer
            nested[1, depth] = begin
            depth += 1


@jit.part
def _replay_burst(
    times: Floats,
    sizes: Ints,
    marks: NDArray[np.int32],
    begin: int,
    end: int,
    ttls: Floats,
    low: int,
    high: int,
    close: float,
    counts: Ints,
    sums: Floats,
    elapsed: Floats,
) -> None:
    """Replay the events begin:end under the TTLs low:high, which are as long as any gap in it.

    ``close`` is when its last entry ends, infinite where that outlives its TTL.
    """
    last = end - 1
    sized = sizes.size > 0
    whole = below(ttls, times[last] - times[begin], low, high)
    if whole < high:
        age = _age(times, elapsed, begin, end)
        stale = _stale(marks, begin, end)
        sums[AGE, whole] += age
        sums[AGE, high] -= age
        counts[STALE, whole] += stale
        counts[STALE, high] -= stale
        if close < np.inf:
            size = sizes[begin] if sized else 0
            _cut_life(counts, sums, ttls, close - times[begin], size, whole, high)
    first = begin + 1  # that is too old under the TTL before, which is shorter
    t = low
    while t < whole:
        ttl = ttls[t]
        first = _next_expired(times, begin, first - 1, end, ttl)
        expired, armed = first, begin
        soonest = np.inf  # the least age at which a read of the burst misses
        age = 0.0
        misses, stale, heavy = 0, 0, 0
        while expired < end:
            soonest = min(soonest, times[expired] - times[armed])
            age += _age(times, elapsed, armed, expired)
            stale += _stale(marks, armed, expired)
            armed = expired
            misses += 1
            if sized:
                heavy += sizes[armed]
            expired = _next_expired(times, armed, armed, end, ttl)
        until = below(ttls, soonest, t + 1, whole)  # TTLs with the same misses
        age += _age(times, elapsed, armed, end)
        sums[AGE, t] += age
        sums[AGE, until] -= age
        counts[EXPIRED, t] += misses
        counts[EXPIRED, until] -= misses
        stale += _stale(marks, armed, end)
        if stale > 0:
            counts[STALE, t] += stale
            counts[STALE, until] -= stale
        if sized:
            counts[_HEAVY, t] += heavy
            counts[_HEAVY, until] -= heavy
        if close < np.inf:
            size = sizes[armed] if sized else 0
            _cut_life(counts, sums, ttls, close - times[armed], size, t, until)
        t = until


@jit.part
def _age(times: Floats, elapsed: Floats, armed: int, end: int) -> float:
    """Sum up the ages at armed+1:end; ``elapsed`` sums up the times since the run's first event."""
    return float(elapsed[end - 1] - elapsed[armed] - (end - 1 - armed) * (times[armed] - times[0]))


@jit.part
def _find_marks(codes: Codes, marks: NDArray[np.int32]) -> None:
    """Note in row 0 how many CHANGED events there are up to each, in row 1 where they are."""
    found = 0
    for i in range(codes.size):
        if codes[i] & CHANGED:
            marks[1, found] = i
            found += 1
        marks[0, i] = found


@jit.part
def _stale(marks: NDArray[np.int32], armed: int, end: int) -> int:
    """Count the events armed+1:end from the first CHANGED one on."""
    if marks.shape[1] == 0 or marks[0, armed] == marks[0, end - 1]:
        return 0
    return end - int(marks[1, marks[0, armed]])


@jit.part
def _next_expired(times: Floats, armed: int, fresh: int, end: int, ttl: float) -> int:
    """Find the first event after ``fresh``, which is not too old, that is; ``end`` if none is."""
    since = times[armed]
    near = min(fresh + _NEAR, end)
    for i in range(fresh + 1, near):
        if times[i] - since > ttl:
            return i
    low, step = near - 1, _NEAR
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


@jit.part
def _cut_life(
    counts: Ints, sums: Floats, ttls: Floats, life: float, size: int, low: int, high: int
) -> None:
    """Note for the TTLs low:high that an entry lives for ``life``, if the TTL is not shorter."""
    cut = below(ttls, life, low, high)
    counts[_WHOLE, cut] -= 1
    counts[_WHOLE, high] += 1
    sums[LIVE, cut] += life
    sums[LIVE, high] -= life
    if size > 0:
        counts[_HEAVY, cut] -= size
        counts[_HEAVY, high] += size
        sums[BYTES, cut] += size * life
        sums[BYTES, high] -= size * life


@jit.part
def _sum_up(counts: Ints, sums: Floats, ttls: Floats, arms: int, expiry_arms: bool) -> None:
    """Turn differences into values per TTL; ``arms`` are the armings under every TTL."""
    for row in range(counts.shape[0]):
        for t in range(ttls.size):
            counts[row, t + 1] += counts[row, t]
    for row in range(sums.shape[0]):
        for t in range(ttls.size):
            sums[row, t + 1] += sums[row, t]
    for t in range(ttls.size):
        whole = arms + counts[_WHOLE, t] + (counts[EXPIRED, t] if expiry_arms else 0)
        if whole > 0:  # an infinite TTL has none, and infinity times 0 is not a number
            sums[LIVE, t] += whole * ttls[t]
        if counts[_HEAVY, t] > 0:
            sums[BYTES, t] += counts[_HEAVY, t] * ttls[t]
