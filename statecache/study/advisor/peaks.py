"""The busiest minute: what PostgreSQL gets then, under one TTL."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from statecache.study import jit
from statecache.study.advisor.curve import Policy
from statecache.study.traces import DELETE, READ, Trace

__all__ = ["busiest_minute", "statements_over_time"]

MINUTE_S: Final = 60.0
_ARMS, _REMOVES, _LEAVES = 0, 1, 2  # what a write does to the cache


def busiest_minute(trace: Trace, policy: Policy, ttl_s: float) -> float:
    """Return the database statements a second in the busiest minute of the trace.

    NaN for a trace of less than a minute, for one whose operations take time, and where writes
    bypass the cache: their effect on a single minute is not replayed.
    """
    if trace.duration_s < MINUTE_S or trace.armed_s is not None or policy.bypass_share:
        return float("nan")
    counts = statements_over_time(trace, policy, ttl_s, MINUTE_S)
    return float(counts.max()) / MINUTE_S / policy.sample


def statements_over_time(
    trace: Trace, policy: Policy, ttl_s: float, every_s: float
) -> NDArray[np.int64]:
    """Return the statements in each stretch of ``every_s`` from the trace's beginning on.

    Their sum is ``db_statements`` of the replay; no write bypasses the cache.
    """
    codes, key = np.unique(trace.key, return_inverse=True)
    bins = np.floor((trace.time_s - trace.time_s[0]) / every_s).astype(np.int64)
    effect = {"through": _ARMS, "invalidate": _REMOVES, "ignore": _LEAVES}[policy.writes]
    missed = _statements(
        key.astype(np.int64), trace.op, trace.time_s, codes.size, effect, ttl_s,
        policy.expiry == "sliding",
    )  # fmt: skip
    return np.bincount(bins[missed], minlength=int(bins[-1]) + 1)


@jit.kernel(jit.INTS, jit.CODES, jit.FLOATS, jit.INT, jit.INT, jit.FLOAT, jit.BOOL)
def _statements(  # noqa: PLR0917 - a kernel takes its columns one by one, by position
    key: NDArray[np.int64],
    op: NDArray[np.uint8],
    time: NDArray[np.float64],
    n_keys: int,
    write: int,
    ttl: float,
    slides: bool,
) -> NDArray[np.bool_]:
    """Return which operations are statements: all but the reads that hit."""
    asks = np.ones(key.size, np.bool_)
    armed = np.full(n_keys, np.nan)  # an age of NaN is no hit
    gone = np.zeros(n_keys, np.bool_)
    for i in range(key.size):
        k = key[i]
        if op[i] == READ:
            hit = time[i] - armed[k] <= ttl
            asks[i] = not hit
            if (hit and slides) or not (hit or gone[k]):
                armed[k] = time[i]
        elif op[i] == DELETE:
            armed[k], gone[k] = np.nan, True
        else:
            gone[k] = False
            if write == _ARMS:
                armed[k] = time[i]
            elif write == _REMOVES:
                armed[k] = np.nan
    return asks
