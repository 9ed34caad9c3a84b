"""The small protocol, step by step: writers, a deleter, a slow reader, and a cache that loses all.

An order of the steps is a lane with a key of its own, so that many lanes go in lockstep: the first
step of each, then the second of each, and so on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from psycopg_pool import ConnectionPool

from statecache import CacheConfig
from statecache._sync.cache import Put, StateCache
from statecache._sync.table import Row, StateTable
from statecache.entry import parse_entry
from statecache.stats import Tally

#: Steps by actor; those of one come in this order.
STEPS = {
    "writer": ("commit", "put"),
    "other writer": ("commit", "put"),
    "deleter": ("commit", "put"),
    "reader": ("get", "read", "fill"),
    "loss": ("empty",),
}

#: What is there before the first step: no row, a state that is not cached, or a deleted one.
BEGINNINGS = ("absent", "present", "deleted")


def orders(actors: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every order of the actors' steps, as who is next."""
    found: list[tuple[str, ...]] = []

    def extend(order: tuple[str, ...], left: dict[str, int]) -> None:
        if not any(left.values()):
            found.append(order)
        for actor, steps in left.items():
            if steps:
                extend((*order, actor), {**left, actor: steps - 1})

    extend((), {actor: len(STEPS[actor]) for actor in actors})
    return found


@dataclass
class Lane:
    """One order of the steps, with a key of its own, and what has become of it so far."""

    key: str
    order: tuple[str, ...]
    done: list[str] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)
    missed: bool = False
    read_at: float = 0.0
    #: The newest version that the cache has acknowledged.
    acknowledged: int = 0
    #: What of it the reader must see: that of when it began.
    due: int = 0
    wrong: list[str] = field(default_factory=list)

    def version_of(self, payload: bytes) -> int:
        return max(row.version for row in self.rows.values() if row.payload == payload)

    def complain(self, what: str) -> None:
        self.wrong.append(f"{what} after {' – '.join(self.done)}")


@contextmanager
def open_protocol(database_url: str, redis_url: str, config: CacheConfig) -> Iterator[Protocol]:
    """Yield the actors on these servers."""
    # The orders are about what is committed when, not about what survives a crash.
    options = {"autocommit": True, "options": "-c synchronous_commit=off"}
    with ConnectionPool(database_url, min_size=1, kwargs=options) as pool:
        protocol = Protocol(pool, redis_url, config)
        try:
            yield protocol
        finally:
            protocol.close()


class Protocol:
    """Does the steps, each actor through a cache object of its own."""

    def __init__(self, pool: ConnectionPool[Any], redis_url: str, config: CacheConfig) -> None:
        self._raw = redis.Redis.from_url(redis_url)
        self._prefix = config.key_prefix
        self._table = StateTable(pool, config, Tally())
        self._caches = {actor: StateCache(self._raw, config, Tally()) for actor in (*STEPS, "last")}

    def close(self) -> None:
        for cache in self._caches.values():
            cache.close()
        self._raw.close()

    def run(self, lanes: list[Lane], begin: str) -> int:
        """Run the lanes in lockstep; return how many last reads were hits."""
        self._prepare(lanes, begin)
        for place in range(len(lanes[0].order)):
            going: dict[tuple[str, str], list[Lane]] = defaultdict(list)
            for lane in lanes:
                actor = lane.order[place]
                going[actor, STEPS[actor][lane.order[:place].count(actor)]].append(lane)
            for (actor, step), those in going.items():
                for lane in those:
                    lane.done.append(f"{actor}: {step}")
                    getattr(self, f"_{step}")(actor, lane)
            self._check(lanes)
        return self._finish(lanes)

    def _prepare(self, lanes: list[Lane], begin: str) -> None:
        """Bring about what is there before: no state, a state, or one that was deleted."""
        for lane in lanes if begin != "absent" else ():
            lane.rows["before"] = self._table.write(lane.key, b'"before"')
            if begin == "deleted":
                lane.rows["before"] = Row(None, self._table.delete(lane.key) or 0)

    def _finish(self, lanes: list[Lane]) -> int:
        """Check what a last reader gets."""
        hits = 0
        for lane in lanes:
            row = self._table.read(lane.key)
            lookup = self._caches["last"].get(lane.key)
            if lookup.payload is not None:
                hits += 1
                if row is None or lookup.payload != row.payload:
                    lane.complain(f"the cache answers {lookup.payload!r}, PostgreSQL {row}")
        return hits

    def _check(self, lanes: list[Lane]) -> None:
        for lane, raw in zip(
            lanes, self._raw.mget([self._prefix + lane.key for lane in lanes]), strict=True
        ):
            entry = parse_entry(raw) if raw is not None else None
            if entry is not None and entry.version < lane.acknowledged:
                lane.complain(
                    f"the cache holds {entry.version}, had acknowledged {lane.acknowledged}"
                )

    def _commit(self, actor: str, lane: Lane) -> None:
        if actor != "deleter":
            lane.rows[actor] = self._table.write(lane.key, f'"{actor}"'.encode())
            return
        version = self._table.delete(lane.key)
        if version is not None:
            lane.rows[actor] = Row(None, version)

    def _put(self, actor: str, lane: Lane) -> None:
        row = lane.rows.get(actor)
        if row is None:  # there was nothing to delete
            return
        put = self._caches[actor].put(lane.key, row.version, row.payload)
        assert put.settled, "the cache is well"
        lane.acknowledged = max(lane.acknowledged, row.version)

    def _get(self, actor: str, lane: Lane) -> None:
        lookup = self._caches[actor].get(lane.key)
        lane.due, lane.missed = lane.acknowledged, lookup.payload is None
        if lookup.payload is not None and lane.version_of(lookup.payload) < lane.due:
            lane.complain(f"the reader got {lookup.payload!r}")

    def _read(self, actor: str, lane: Lane) -> None:
        if lane.missed:
            lane.read_at = time.monotonic()
            row = self._table.read(lane.key)
            if row is not None and row.payload is not None:
                lane.rows[actor] = row
            if (row.version if row else 0) < lane.due:
                lane.complain(f"the reader read {row}")

    def _fill(self, actor: str, lane: Lane) -> None:
        row = lane.rows.get(actor)
        if row is not None and row.payload is not None:
            cache = self._caches[actor]
            put = cache.fill(lane.key, row.version, row.payload, lane.read_at)
            assert put is not Put.FAILED, "the cache is well"

    def _empty(self, actor: str, lane: Lane) -> None:
        self._raw.flushall()
