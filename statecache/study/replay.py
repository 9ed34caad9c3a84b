"""Exact replay of a trace: what hit rate each TTL would have had, in virtual time.

What the cache does:

* A read looks its key up at ``time_s`` and hits while the entry's age is at most the TTL, as in
  Redis, where a key is gone once now is past its expiry. A read that misses reads the database and
  fills the cache.
* A write makes the state exist in the database; what it does to the cache is the option ``writes``.
* A delete removes the state from the database and the cache. Later reads of the key are misses that
  find nothing to fill, until a write makes the state exist again. A key that the trace has not
  deleted is taken to exist in the database from the start.
* Whatever arms an entry gives it the age 0. With ``expiry="fixed"`` fills and writes through arm,
  with ``"sliding"`` hits do as well.

**Operations that take time.** A recorded live run knows two instants of an operation: ``time_s``,
its look-up, and ``armed_s``, when its fill, write or removal reached the cache. Both of them are
events of their own, and the events of a key happen in order of their instants, ties in the order of
the trace, an operation's look-up before its own effect:

* A read sees what reached the cache before its look-up, even from an operation that began later.
* A read's look-up decides whether it misses. Its fill takes effect at its ``armed_s``, whatever
  came in between, if the state exists at that instant; so a fill overtaken by a delete is dropped,
  and two overlapping misses of a key both fill (a coalesced miss is a miss).
* The effect that comes later in ``armed_s`` order replaces the earlier one, its expiry included.
* A write or delete changes cache and database in one instant, its ``armed_s``.
* A hit has no later effect: with ``expiry="sliding"`` it arms at ``time_s``.

Without ``armed_s`` every operation takes effect at ``time_s``, in the order of the trace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study import replay_kernels as kernels
from statecache.study.errors import StudyError
from statecache.study.replay_kernels import Floats, Ints
from statecache.study.traces import DELETE, READ, WRITE, Trace

__all__ = ["hit_curve"]

Expiry = Literal["fixed", "sliding"]
Writes = Literal["through", "invalidate", "ignore"]

_EXPIRY: Final = ("fixed", "sliding")
_WRITES: Final = {
    "through": kernels.THROUGH,
    "invalidate": kernels.INVALIDATE,
    "ignore": kernels.IGNORE,
}
_WRITE_EFFECTS: Final = {
    "through": kernels.ARM,
    "invalidate": kernels.REMOVE,
    "ignore": kernels.REVIVE,
}
_PART_EVENTS: Final = 250_000
"""Events per unit of work: enough to hide the hand-over, few enough to share among processors. Not
derived from the processors, so that the sums are the same to the last bit on every machine."""


def hit_curve(
    trace: Trace, ttls: Iterable[float], *, expiry: Expiry = "fixed", writes: Writes = "through"
) -> pd.DataFrame:
    """Replay a trace under every TTL and return one row per TTL, in the order given.

    ``ttls`` are seconds, from 0 (only accesses in the same instant hit) to infinity. ``writes``
    says what a write does to the cache: it fills it ("through"), removes the entry ("invalidate")
    or doesn't touch it ("ignore"). The semantics are those of the module's text.

    Columns of the result:

    ttl_s           float64, seconds
    reads, writes, deletes   int64, operations in the trace
    hits            int64
    hit_rate        float64, hits / reads; NaN where there are no reads
    misses_first    int64, reads of keys that have not been in the cache so far: no TTL avoids them
    misses_expired  int64, reads that find an entry too old: a longer TTL avoids them
    misses_deleted  int64, reads of keys whose entry a delete, or with writes="invalidate" a write,
                    removed since it was armed last, its age aside: no TTL avoids them
    db_statements   int64, misses + writes + deletes
    mean_live_keys  float64, entries within their TTL, averaged over the time from the first
                    ``time_s`` to the last; NaN where that is no time

    Raises StudyError for an unknown option and for a TTL that is negative, NaN or not a number.
    """
    if expiry not in _EXPIRY:
        raise StudyError(f"The expiry {expiry!r} is unknown: use one of {', '.join(_EXPIRY)}.")
    if writes not in _WRITES:
        raise StudyError(f"The writes {writes!r} are unknown: use one of {', '.join(_WRITES)}.")
    seconds = _checked_ttls(ttls)
    ascending = np.argsort(seconds, kind="stable")

    replay = _replay_at_once if _takes_effect_at_once(trace) else _replay_overlapping
    counts = replay(trace, seconds[ascending], expiry, writes)
    return _table(trace, seconds, counts.in_order(np.argsort(ascending)))


@dataclass(frozen=True, slots=True)
class _Counts:
    """What a replay counts, one value per TTL."""

    first: Ints
    expired: Ints
    deleted: Ints
    live_s: Floats

    def in_order(self, order: NDArray[np.intp]) -> _Counts:
        return _Counts(
            self.first[order], self.expired[order], self.deleted[order], self.live_s[order]
        )


def _checked_ttls(ttls: Iterable[float]) -> Floats:
    given = list(ttls)
    try:
        seconds = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StudyError(f"The TTLs {given!r} are not all numbers: give seconds.") from error
    if np.any(bad := ~(seconds >= 0)):
        raise StudyError(f"The TTL {seconds[bad][0]} is out of range: give 0 seconds or more.")
    return seconds


def _takes_effect_at_once(trace: Trace) -> bool:
    return trace.armed_s is None or bool(np.array_equal(trace.armed_s, trace.time_s))


def _replay_at_once(trace: Trace, ttls: Floats, expiry: Expiry, writes: Writes) -> _Counts:
    key, n_keys = _dense(trace.key)
    start, stop, times, codes, first, deleted = kernels.group_by_key(
        key, trace.op, trace.time_s, n_keys, _WRITES[writes]
    )
    kernel = kernels.replay_fixed if expiry == "fixed" else kernels.replay_sliding
    horizon = _horizon(trace)

    def replay(first_key: int, end_key: int) -> tuple[Ints, Floats]:
        return kernel(times, codes, start, stop, first_key, end_key, ttls, horizon)

    expired, live = _over_keys(replay, start, len(trace))
    return _Counts(np.full(ttls.size, first), expired, np.full(ttls.size, deleted), live)


def _dense(key: NDArray[np.int32] | NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Number the keys from 0 without large gaps; codes of names are that already."""
    if key.size == 0:
        return key.astype(np.int32), 0
    highest = int(key.max())
    if key.min() >= 0 and highest < 2 * key.size:
        return key.astype(np.int32, copy=False), highest + 1
    codes, names = pd.factorize(key)
    return codes.astype(np.int32), len(names)


def _over_keys(
    replay: Callable[[int, int], tuple[Ints, Floats]], start: Ints, n_events: int
) -> tuple[Ints, Floats]:
    """Replay ranges of keys on all processors (the kernels leave the interpreter) and add up."""
    parts = n_events // _PART_EVENTS + 1
    cuts = np.searchsorted(start, np.linspace(0, n_events, parts + 1)[1:-1])
    edges = [0, *cuts.tolist(), start.size]
    with ThreadPoolExecutor(min(parts, os.cpu_count() or 1)) as pool:
        done = list(pool.map(replay, edges[:-1], edges[1:]))
    expired, live = zip(*done, strict=True)
    return np.sum(expired, axis=0), np.sum(live, axis=0)


def _replay_overlapping(trace: Trace, ttls: Floats, expiry: Expiry, writes: Writes) -> _Counts:
    assert trace.armed_s is not None  # noqa: S101 - what _takes_effect_at_once is for
    effects = np.zeros(3, dtype=np.uint8)
    effects[[READ, WRITE, DELETE]] = kernels.FILL, _WRITE_EFFECTS[writes], kernels.DELETE
    looks = np.flatnonzero(trace.op == READ)

    operation = np.concatenate([looks, np.arange(len(trace))])
    instant = np.concatenate([trace.time_s[looks], trace.armed_s])
    code = np.concatenate([np.full(looks.size, kernels.LOOKUP, np.uint8), effects[trace.op]])
    is_effect = np.arange(operation.size) >= looks.size
    key = trace.key[operation].astype(np.int64)

    order = np.lexsort((is_effect, operation, instant, key))
    return _Counts(
        *kernels.replay_overlapping(
            instant[order],
            code[order],
            key[order],
            operation[order],
            ttls,
            _horizon(trace),
            expiry == "sliding",
        )
    )


def _horizon(trace: Trace) -> float:
    return float(trace.time_s[-1]) if len(trace) else 0.0


def _table(trace: Trace, ttls: Floats, counts: _Counts) -> pd.DataFrame:
    operations = np.bincount(trace.op, minlength=3)
    reads, writes, deletes = (int(operations[code]) for code in (READ, WRITE, DELETE))
    misses = counts.first + counts.expired + counts.deleted
    rows = np.ones(ttls.size, dtype=np.int64)
    return pd.DataFrame(
        {
            "ttl_s": ttls,
            "reads": reads * rows,
            "writes": writes * rows,
            "deletes": deletes * rows,
            "hits": reads - misses,
            "hit_rate": (reads - misses) / (reads or np.nan),
            "misses_first": counts.first,
            "misses_expired": counts.expired,
            "misses_deleted": counts.deleted,
            "db_statements": misses + writes + deletes,
            "mean_live_keys": counts.live_s / (trace.duration_s or np.nan),
        }
    )
