"""What the manager's adaptive TTL would give: its own code, on the trace's clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.lifetimes import Lifetimes
from statecache.study.advisor.curve import ENTRY_BYTES, Policy
from statecache.study.advisor.parts import of_operations, span
from statecache.study.traces import DELETE, READ, WRITE, Trace

__all__ = ["Adaptive", "Lived", "adapt", "live_adaptively"]

#: Beyond so many operations only some of the keys, drawn by a seed, are replayed; all keys over
#: less time where it would be fewer keys than these.
MOST_OPERATIONS: Final = 200_000
_ENOUGH_KEYS: Final = 1_000
_SEED: Final = 20110620


@dataclass(frozen=True, slots=True)
class Lived:
    """What a replay with a TTL per key gave: hit rate, entries within their TTL and their bytes."""

    hit_rate: float
    db_statements: int
    live_keys: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Adaptive TTLs beside one TTL, on the same keys.

    ``same_memory`` is the row of the one TTL that keeps as many entries alive (bytes, where sizes
    are known) as the adaptive ones, or next to that; ``one`` that of the TTL in question.
    """

    target: float
    start_ttl_s: float
    lived: Lived
    one: pd.Series
    same_memory: pd.Series
    #: Share of the trace's operations that was replayed.
    share: float

    @property
    def gain(self) -> float:
        """Hit rate gained over one TTL of the same memory."""
        return self.lived.hit_rate - float(self.same_memory["hit_rate"])

    @property
    def configuration(self) -> str:
        """The lines that turn it on."""
        return (
            f"STATE_CACHE_TTL_SECS={self.start_ttl_s:g} "
            f"STATE_CACHE_TARGET_HIT_RATE={self.target:.3g}"
        )


def adapt(
    trace: Trace, policy: Policy, ttls: NDArray[np.float64], ttl_s: float, hit_rate: float
) -> Adaptive | None:
    """Replay with adaptive TTLs that aim at the hit rate of one TTL.

    The rates are learnt as the manager learns them, from the first operation on. None where there
    is nothing to aim at, or where the cache is not run as the manager runs it (fixed expiry, writes
    through, none of them bypassing).
    """
    as_managed = policy.expiry == "fixed" and policy.writes == "through" and not policy.bypass_share
    if not as_managed or not 0.01 <= hit_rate <= 0.99 or trace.armed_s is not None:
        return None
    some = _some_of(trace)
    if not np.any(some.op == READ):
        return None
    lived = live_adaptively(some, ttl_s, hit_rate, policy.state_bytes, span(some))
    lived = replace(
        lived,
        live_keys=lived.live_keys / policy.sample,
        memory_bytes=lived.memory_bytes / policy.sample,
    )
    everywhere = np.union1d(ttls, [ttl_s])
    curve = policy.curve(policy.tally(some, everywhere))
    known = np.isfinite(lived.memory_bytes)
    taken = curve["memory_bytes" if known else "mean_live_keys"]
    wanted = lived.memory_bytes if known else lived.live_keys
    return Adaptive(
        target=hit_rate,
        start_ttl_s=ttl_s,
        lived=lived,
        one=curve.iloc[int(np.searchsorted(everywhere, ttl_s))],
        same_memory=curve.iloc[int((taken - wanted).abs().argmin())],
        share=len(some) / len(trace),
    )


def live_adaptively(
    trace: Trace,
    ttl_s: float,
    target: float,
    state_bytes: float | None,
    over_s: tuple[float, float],
) -> Lived:
    """Replay fixed expiry, writes through, with the lifetimes that the manager would decide on."""
    now = float(over_s[0])
    lifetimes = Lifetimes(
        ttl_s * 1000, target_hit_rate=target, max_keys=len(trace) + 1, clock=lambda: now
    )
    until: dict[int, float] = {}  # key -> when its entry expires
    held: dict[int, tuple[float, float]] = {}  # key -> since when, of which size
    gone: set[int] = set()
    hits = statements = 0
    key_s = byte_s = 0.0

    def end(key: int, instant: float) -> None:
        nonlocal key_s, byte_s
        if key in held:
            since, size = held.pop(key)
            lived = min(until.pop(key), instant) - since
            key_s, byte_s = key_s + lived, byte_s + lived * size

    default = np.nan if state_bytes is None else state_bytes
    sizes = np.full(len(trace), default) if trace.size is None else trace.size
    for now, key, op, size in zip(
        trace.time_s.tolist(), trace.key.tolist(), trace.op.tolist(), sizes.tolist(), strict=True
    ):
        name = str(key)
        arms = op == WRITE
        if op == READ:
            lifetimes.note_read(name)
            if key in until and now <= until[key]:
                hits += 1
                continue
            arms = key not in gone
        else:
            lifetimes.note_write(name)
        statements += 1
        end(key, now)
        if op == DELETE:
            gone.add(key)
        if arms:
            gone.discard(key)
            held[key] = now, size
            until[key] = now + lifetimes.ttl_ms(name) / 1000
    for key in list(held):
        end(key, over_s[1])
    time = (over_s[1] - over_s[0]) or np.nan
    return Lived(
        hit_rate=hits / (int((trace.op == READ).sum()) or np.nan),
        db_statements=statements,
        live_keys=key_s / time,
        memory_bytes=(byte_s + ENTRY_BYTES * key_s) / time,
    )


def _some_of(trace: Trace) -> Trace:
    """Return all operations of some keys, or where these would be few the trace's beginning."""
    if len(trace) <= MOST_OPERATIONS:
        return trace
    keys, places = np.unique(trace.key, return_inverse=True)
    share = MOST_OPERATIONS / len(trace)
    if keys.size * share < _ENOUGH_KEYS:
        return of_operations(trace, slice(0, MOST_OPERATIONS))
    draw = np.random.default_rng(_SEED).random(keys.size)
    return of_operations(trace, draw[places] < share)
