"""Groups of keys: where one TTL for all is a bad compromise, and what each would take instead."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.advisor.curve import Policy
from statecache.study.advisor.limits import Limits
from statecache.study.advisor.parts import after, before, of_operations, span
from statecache.study.replay import Tally
from statecache.study.traces import READ, Trace

__all__ = ["Grouping", "Groups", "best_groups", "by_prefix", "by_reads", "own_ttls"]

By = Literal["prefix", "reads"]

_MOST_GROUPS: Final = 8
_CLASSES: Final = 4
_PRICES: Final = 500
_CLASS_NAMES: Final = ("most read", "second", "third", "rarely read", "not read before")
_PREFIX: Final = re.compile(r"^(.+?)[:/|._-]")
#: From here on one TTL for all is called a bad compromise.
_WORTH_HIT_RATE: Final = 0.01
_WORTH_MEMORY: Final = 0.10


@dataclass(frozen=True, slots=True)
class Groups:
    """A TTL for each group, of all choices within the memory of one TTL the one with most hits.

    ``by``: what tells the groups apart; where that is reads, all figures are those of the second
    half of the time, since the first has told how often keys are read. ``table``: a row a group:
    group, keys, reads, ttl_s, hit_rate, memory, and hit_rate_one and memory_one under the one TTL.
    Memory is in bytes, or in entries where sizes are unknown (``unit``). ``hit_rate`` and
    ``memory`` are those of all keys under the groups' own TTLs; ``frugal_memory`` is what as many
    hits as under the one TTL take with a TTL per group.
    """

    by: By
    table: pd.DataFrame
    unit: Literal["bytes", "entries"]
    ttl_s: float
    hit_rate: float
    hit_rate_one: float
    memory: float
    memory_one: float
    frugal_memory: float

    @property
    def gain(self) -> float:
        """Hit rate gained over one TTL, in no more memory."""
        return self.hit_rate - self.hit_rate_one

    @property
    def saved_memory(self) -> float:
        """Share of the memory saved at no fewer hits."""
        return 1 - self.frugal_memory / self.memory_one if self.memory_one else 0.0

    @property
    def worth_it(self) -> bool:
        """Whether one TTL for all is a bad compromise: a point of hits, or a tenth of memory."""
        return bool(self.gain >= _WORTH_HIT_RATE or self.saved_memory >= _WORTH_MEMORY)


@dataclass(frozen=True, slots=True)
class Grouping:
    """What tells groups apart, their names, and the group of every operation."""

    by: By
    names: list[str]
    group: NDArray[np.int64]


def best_groups(
    trace: Trace, policy: Policy, limits: Limits, ttls: NDArray[np.float64], ttl_s: float
) -> Groups | None:
    """Return the division of the keys that gains most by a TTL per group; None without groups."""
    found = [
        own_ttls(trace, grouping, policy, limits=limits, ttls=ttls, ttl_s=ttl_s)
        for grouping in (by_prefix(trace), by_reads(trace))
        if grouping is not None
    ]
    return max(found, key=lambda groups: (groups.worth_it, groups.gain), default=None)


def by_prefix(trace: Trace) -> Grouping | None:
    """Divide the keys by their prefixes, up to the first of : / | . _ -, the rarest together.

    None where keys have no prefix, or fewer than two keys in common one.
    """
    if trace.keys is None:
        return None
    codes, place, reads = _keys(trace, np.ones(len(trace), bool))
    found = [_PREFIX.match(str(trace.keys[code])) for code in codes]
    names = np.array([one[1] if one else "" for one in found], dtype=object)
    prefixes = pd.Series(reads).groupby(names).sum().sort_values(ascending=False, kind="stable")
    if not 1 < len(prefixes) <= codes.size / 2 or "" in prefixes:
        return None
    kept = [str(one) for one in prefixes.index[:_MOST_GROUPS]]
    numbers = {name: number for number, name in enumerate(kept)}
    group = np.array([numbers.get(name, len(kept)) for name in names], dtype=np.int64)
    others = ["others"] if len(prefixes) > _MOST_GROUPS else []
    return Grouping("prefix", kept + others, group[place])


def by_reads(trace: Trace) -> Grouping | None:
    """Divide the keys by how often they are read, from the most read to the least.

    Classes have about as many reads each. How often is taken from the first half of the time, as
    one would know it in the second; keys that were not read there are a class of their own. None
    where there is one class.
    """
    codes, place, reads = _keys(trace, trace.time_s < _middle(trace))
    order = np.argsort(-reads, kind="stable")
    so_far = (np.cumsum(reads[order]) - reads[order]) / max(1, reads.sum())
    group = np.empty(codes.size, dtype=np.int64)
    group[order] = np.minimum((so_far * _CLASSES).astype(np.int64), _CLASSES - 1)
    group[reads == 0] = _CLASSES
    used, group = np.unique(group, return_inverse=True)
    if used.size < 2:
        return None
    return Grouping("reads", [_CLASS_NAMES[number] for number in used], group[place])


def _keys(
    trace: Trace, counted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the keys' codes, the place among them of every operation, and the reads counted."""
    codes, place = np.unique(trace.key, return_inverse=True)
    reads = np.bincount(place[counted & (trace.op == READ)], minlength=codes.size)
    return codes.astype(np.int64), place, reads


def _middle(trace: Trace) -> float:
    begin, end = span(trace)
    return begin + (end - begin) / 2


def own_ttls(
    trace: Trace,
    grouping: Grouping,
    policy: Policy,
    *,
    limits: Limits,
    ttls: NDArray[np.float64],
    ttl_s: float,
) -> Groups:
    """Find a TTL for each group.

    The TTLs are those of the grid, within the limit on seconds of staleness; what they give
    together keeps to all other limits that the one TTL keeps to.
    """
    names = grouping.names
    ttls = np.union1d(ttls, [ttl_s])
    parts = [of_operations(trace, grouping.group == number) for number in range(len(names))]
    tallies = [policy.tally(part, ttls, span(trace)) for part in parts]
    if grouping.by == "reads":
        early = span(trace)[0], _middle(trace)
        firsts = [policy.tally(before(part, early[1]), ttls, early) for part in parts]
        tallies = [after(one, first) for one, first in zip(tallies, firsts, strict=True)]
    curves = [policy.curve(one) for one in tallies]
    one = int(np.searchsorted(ttls, ttl_s))
    sized = all(curve["memory_bytes"].notna().all() for curve in curves)
    column = "memory_bytes" if sized else "mean_live_keys"
    hits = np.array([curve["hits"] for curve in curves], dtype=np.float64)
    taken = np.array([curve[column] for curve in curves], dtype=np.float64)
    allowed = ttls <= (np.inf if limits.max_stale_s is None else limits.max_stale_s)
    allowed |= ttls == ttl_s
    same = np.full(len(names), one)
    kept = _Kept(tallies, policy, limits, same)
    plans = [same, *(plan for plan in _plans(hits, taken, allowed) if kept.by(plan))]
    rows = np.arange(len(names))
    worth = [(hits[rows, plan].sum(), taken[rows, plan].sum(), plan) for plan in plans]
    hits_one, taken_one = hits[rows, same].sum(), taken[rows, same].sum()
    within = (found for found in worth if found[1] <= taken_one)
    plan = max(within, key=lambda found: found[0])[2]
    filled = _topped_up(plan, np.where(allowed, hits, -np.inf), taken, taken_one)
    plan = filled if kept.by(filled) else plan
    frugal = min(found[1] for found in worth if found[0] >= hits_one)
    reads = np.array([one.reads for one in tallies])
    nonzero = np.where(reads > 0, reads, np.nan)
    return Groups(
        by=grouping.by,
        table=pd.DataFrame(
            {
                "group": names,
                "keys": [np.unique(part.key).size for part in parts],
                "reads": reads,
                "ttl_s": ttls[plan],
                "hit_rate": hits[rows, plan] / nonzero,
                "hit_rate_one": hits[rows, same] / nonzero,
                "memory": taken[rows, plan],
                "memory_one": taken[rows, same],
            }
        ),
        unit="bytes" if sized else "entries",
        ttl_s=ttl_s,
        hit_rate=hits[rows, plan].sum() / reads.sum(),
        hit_rate_one=hits_one / reads.sum(),
        memory=taken[rows, plan].sum(),
        memory_one=taken_one,
        frugal_memory=frugal,
    )


def _plans(
    hits: NDArray[np.float64], taken: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> list[NDArray[np.intp]]:
    """Return places of TTLs, one a group: each plan is best for some price of memory in hits."""
    value, cost = np.where(allowed, hits, -np.inf), taken
    slopes = np.diff(hits, axis=1) / np.maximum(np.diff(taken, axis=1), 1e-12)
    prices = slopes[np.isfinite(slopes) & (slopes > 0)]
    if not prices.size:
        return []
    found = {
        tuple(np.argmax(value - price * cost, axis=1).tolist())
        for price in np.geomspace(prices.min() / 100, prices.max(), _PRICES)
    }
    return [np.array(plan) for plan in sorted(found)]


def _topped_up(
    plan: NDArray[np.intp], hits: NDArray[np.float64], taken: NDArray[np.float64], most: float
) -> NDArray[np.intp]:
    """Spend what a plan leaves of the memory, each time where it gains most."""
    plan, rows = plan.copy(), np.arange(plan.size)
    while True:
        more = hits - hits[rows, plan][:, None]
        cost = taken - taken[rows, plan][:, None]
        more[cost > most - taken[rows, plan].sum()] = 0.0
        group, place = np.unravel_index(np.argmax(more), more.shape)
        if not more[group, place] > 0:
            return plan
        plan[group] = place


class _Kept:
    """Whether a plan keeps to the limits to which one TTL keeps; seconds of staleness aside."""

    def __init__(
        self, tallies: list[Tally], policy: Policy, limits: Limits, same: NDArray[np.intp]
    ) -> None:
        self._tallies, self._policy = tallies, policy
        together = self._together(same)
        self._limits = [
            limit
            for limit in limits.given
            if limit.column != "stale_at_most_s" and limit.met(together)[0]
        ]

    def by(self, plan: NDArray[np.intp]) -> bool:
        if not self._limits:
            return True
        together = self._together(plan)
        return all(limit.met(together)[0] for limit in self._limits)

    def _together(self, plan: NDArray[np.intp]) -> pd.DataFrame:
        parts = [_at(one, place) for one, place in zip(self._tallies, plan.tolist(), strict=True)]
        return self._policy.curve(sum(parts[1:], parts[0]))


def _at(tally: Tally, place: int) -> Tally:
    """Return a tally's sums under one of its TTLs, which is forgotten so that they add up."""
    sums: dict[str, Any] = {
        name: value[[place]]
        for name in tally.__dataclass_fields__
        if name != "ttls" and isinstance(value := getattr(tally, name), np.ndarray)
    }
    return replace(tally, ttls=np.zeros(1), **sums)
