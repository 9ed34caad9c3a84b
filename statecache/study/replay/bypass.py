"""Which writes bypass the cache: a seeded draw per write that does not depend on the other keys.

A write bypasses the cache if a hash of (seed, key, how many writes of the key came before it) falls
into the lower ``share`` of its range. So the draw of a write is the same wherever its key's other
operations are replayed, alone or among others, and a larger share adds writes to those of a
smaller one. A key counts by its name where the trace has names, else by its code.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study import jit
from statecache.study.traces import WRITE, Trace

__all__ = ["bypassing_writes"]

_BITS: Final = 53  # of the hash: as many as a float64 between 0 and 1 has
_STEP: Final = 0x9E3779B97F4A7C15  # odd, near 2^64 over the golden ratio: spreads what is counted


def bypassing_writes(
    trace: Trace, key: NDArray[np.int32], n_keys: int, share: float, seed: int
) -> NDArray[np.bool_]:
    """Return which operations are writes that bypass the cache; ``key`` are codes below n_keys."""
    identity = np.zeros(n_keys, dtype=np.uint64)
    if trace.keys is None:
        identity[key] = trace.key.astype(np.int64).view(np.uint64)
    else:
        names = pd.util.hash_array(np.array([str(name) for name in trace.keys], dtype=object))
        identity[key] = names[trace.key]
    threshold = int(share * 2**_BITS)
    return _draw(key, trace.op, identity, seed, threshold)


@jit.part
def _mixed(value: np.uint64) -> np.uint64:
    """Mix 64 bits so that each depends on all: the finalizer of SplitMix64 (Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@jit.kernel(jit.INTS32, jit.CODES, jit.WORDS, jit.INT, jit.INT)
def _draw(
    key: NDArray[np.int32],
    op: NDArray[np.uint8],
    identity: NDArray[np.uint64],
    seed: int,
    below: int,
) -> NDArray[np.bool_]:
    bypasses = np.zeros(key.size, np.bool_)
    states = np.empty(identity.size, np.uint64)
    start = _mixed(np.uint64(seed) + np.uint64(_STEP))
    for k in range(identity.size):
        states[k] = _mixed(start ^ identity[k])
    for i in range(key.size):
        if op[i] == WRITE:
            k = key[i]
            states[k] += np.uint64(_STEP)
            bypasses[i] = _mixed(states[k]) >> np.uint64(64 - _BITS) < np.uint64(below)
    return bypasses
