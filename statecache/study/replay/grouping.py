"""Operations grouped by key, with what no TTL can change settled: what the replay works on."""

# ruff: noqa: PLR0917 - a kernel takes its columns one by one, by position
from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study import jit
from statecache.study.replay.bypass import bypassing_writes
from statecache.study.replay.settings import Behaviour
from statecache.study.traces import READ, WRITE, Trace

__all__ = [
    "ARM",
    "BYPASS",
    "CHANGED",
    "FOLLOW",
    "REMOVE",
    "Grouped",
    "dense_keys",
    "effective_ops",
    "grouped",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

BYPASS: Final = 3
"""Beside READ, WRITE and DELETE: a write that reaches only the database."""

FOLLOW: Final = 0  # a read after an arming: the TTL decides whether it hits
ARM: Final = 1  # a write through, or a read that misses and fills whatever the TTL
REMOVE: Final = 2  # the entry is removed
CHANGED: Final = 4  # a FOLLOW since whose predecessor a write has bypassed the cache

_NEVER: Final = 0  # a key's state: not in the cache so far, in the database from the start
_ARMED: Final = 1
_OVERTAKEN: Final = 2  # armed, and since its last event a write has bypassed the cache
_REMOVED: Final = 3  # not in the cache, in the database
_GONE: Final = 4  # in neither


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Events of key ``k`` are ``start[k]:stop[k]`` of ``times``, ``codes`` and ``sizes``, in order.

    ``codes`` are FOLLOW, ARM, REMOVE and FOLLOW | CHANGED; operations that change nothing are left
    out. ``sizes`` is empty for a trace without sizes. ``first`` and ``deleted`` are the misses of
    keys never in the cache, and those for want of a removed entry; ``bypassed`` the writes that
    bypassed the cache, ``changes`` how many events are CHANGED.
    """

    start: Ints
    stop: Ints
    times: Floats
    codes: Codes
    sizes: Ints
    first: int
    deleted: int
    bypassed: int
    changes: int


def grouped(trace: Trace, behaviour: Behaviour) -> Grouped:
    """Group operations that take effect at once by key."""
    key, n_keys = dense_keys(trace.key)
    op, bypassed = effective_ops(trace, behaviour, key, n_keys)
    sizes = np.empty(0, np.int64) if trace.size is None else trace.size
    invalidate = behaviour.writes == "invalidate"
    columns = _group(key, op, trace.time_s, sizes, n_keys, invalidate)
    start, stop, times, codes, sizes, first, deleted, changes = columns
    return Grouped(start, stop, times, codes, sizes, first, deleted, bypassed, changes)


def effective_ops(
    trace: Trace, behaviour: Behaviour, key: NDArray[np.int32], n_keys: int
) -> tuple[Codes, int]:
    """Return the operations, with BYPASS where a write bypasses the cache, and how many do."""
    if behaviour.writes == "ignore":
        bypasses = trace.op == WRITE
    elif behaviour.bypass_share > 0:
        bypasses = bypassing_writes(trace, key, n_keys, behaviour.bypass_share, behaviour.seed)
    else:
        return trace.op, 0
    op = np.where(bypasses, np.uint8(BYPASS), trace.op)
    return op, int(np.count_nonzero(bypasses))


def dense_keys(key: NDArray[np.int32] | NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Number the keys from 0 without large gaps; codes of names are that already."""
    if key.size == 0:
        return key.astype(np.int32), 0
    highest = int(key.max())
    if key.min() >= 0 and highest < 2 * key.size:
        return key.astype(np.int32, copy=False), highest + 1
    codes, names = pd.factorize(key)
    return codes.astype(np.int32), len(names)


@jit.kernel(jit.INTS32, jit.CODES, jit.FLOATS, jit.INTS, jit.INT, jit.BOOL)
def _group(
    key: NDArray[np.int32], op: Codes, time: Floats, size: Ints, n_keys: int, invalidate: bool
) -> tuple[Ints, Ints, Floats, Codes, Ints, int, int, int]:
    """Sort by counting; the result is in the order of :class:`Grouped`, without ``bypassed``."""
    start = np.zeros(n_keys, np.int64)
    for i in range(key.size):
        start[key[i]] += 1
    total = 0
    for k in range(n_keys):
        total, start[k] = total + start[k], total
    stop = start.copy()
    times = np.empty(key.size, np.float64)
    codes = np.empty(key.size, np.uint8)
    sizes = np.empty(size.size, np.int64)
    states = np.zeros(n_keys, np.uint8)
    first = 0
    deleted = 0
    changes = 0
    for i in range(key.size):
        k = key[i]
        state = states[k]
        if op[i] == READ:
            first += state == _NEVER
            deleted += state >= _REMOVED
        states[k], code = _after(state, op[i], invalidate)
        if code == _NOTHING:
            continue
        changes += code == FOLLOW | CHANGED
        at = stop[k]
        times[at] = time[i]
        codes[at] = code
        if size.size > 0:
            sizes[at] = size[i]
        stop[k] = at + 1
    return start, stop, times, codes, sizes, first, deleted, changes


_NOTHING: Final = 255


@jit.part
def _after(state: int, op: int, invalidate: bool) -> tuple[int, int]:
    """Return a key's state after an operation, and the operation's code."""
    armed = state in (_ARMED, _OVERTAKEN)
    if op == READ:
        after, code = _ARMED, ARM
        if armed:
            code = FOLLOW if state == _ARMED else FOLLOW | CHANGED
        elif state == _GONE:
            after, code = _GONE, _NOTHING
    elif op == BYPASS:
        after, code = state, _NOTHING
        if armed or state == _GONE:
            after = _OVERTAKEN if armed else _REMOVED
    elif op == WRITE and not invalidate:
        after, code = _ARMED, ARM
    else:
        after, code = _GONE, REMOVE if armed else _NOTHING
        if op == WRITE:
            after = _NEVER if state == _NEVER else _REMOVED
    return after, code
