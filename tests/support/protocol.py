"""The small protocol, step by step: writers, a deleter, a slow reader, and a cache that loses all.

An order of the steps is a lane with a key of its own, so that many lanes go in lockstep: the first
step of each, then the second of each, and so on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import redis
from psycopg_pool import ConnectionPool

from statecache import CacheConfig
from statecache._sync.cache import StateCache
from statecache._sync.table import StateTable
from statecache.entry import FENCE, parse_entry
from statecache.lifetimes import Lifetimes
from statecache.lookup import Moment, Put, Row
from statecache.stats import Tally

#: Steps by actor; those of one come in this order.
STEPS = {
    "writer": ("commit", "put"),
    "other writer": ("commit", "put"),
    #: One whose statement takes its time: what it knows of the cache is older than its commit.
    "slow writer": ("begin", "commit", "put"),
    "deleter": ("commit", "put"),
    #: A writer whose put failed: its repairer sends readers to the database.
    "unlucky writer": ("commit", "fence"),
    "reader": ("get", "read", "fill"),
    "loss": ("empty",),
}

#: What is there before the first step: no row, a state that is not cached, or a deleted one.
BEGINNINGS = ("absent", "present", "deleted")

#: Lanes in one batch of a step.
BATCH = 250


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
    #: What each actor committed or read.
    rows: dict[str, Row] = field(default_factory=dict)
    #: When each writer told PostgreSQL.
    began: dict[str, Moment] = field(default_factory=dict)
    missed: bool = False
    moment: Moment | None = None
    #: The newest version that the cache has acknowledged.
    acknowledged: int = 0
    #: What of it the reader must see: that of when it began.
    due: int = 0
    wrong: list[str] = field(default_factory=list)

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
        lifetimes = Lifetimes(config.ttl_ms)
        self._caches = {
            actor: StateCache(self._raw, config, Tally(), lifetimes) for actor in (*STEPS, "last")
        }
        #: Whether the cache keeps what it has taken.
        self._is_well = True

    def close(self) -> None:
        for cache in self._caches.values():
            cache.close()
        self._raw.close()

    def run(self, lanes: list[Lane], begin: str) -> int:
        """Run the lanes in lockstep; return how many last reads were hits."""
        for batch in _batches(lanes):
            self._prepare(batch, begin)
        for place in range(len(lanes[0].order)):
            going: dict[tuple[str, str], list[Lane]] = defaultdict(list)
            for lane in lanes:
                actor = lane.order[place]
                step = STEPS[actor][lane.order[:place].count(actor)]
                lane.done.append(f"{actor}: {step}")
                going[actor, step].append(lane)
            for (actor, step), those in going.items():
                for batch in _batches(those):
                    getattr(self, f"_{step}")(actor, batch)
            for batch in _batches(lanes):
                self._check(batch)
        return sum(self._finish(batch) for batch in _batches(lanes))

    def _prepare(self, lanes: list[Lane], begin: str) -> None:
        """Bring about what is there before: no state, a state, or one that was deleted."""
        if begin == "absent":
            return
        keys = [lane.key for lane in lanes]
        self._note("before", lanes, self._table.write(dict.fromkeys(keys, b'"before"')))
        if begin == "deleted":
            self._note("before", lanes, self._table.delete(keys))

    def _finish(self, lanes: list[Lane]) -> int:
        """Check what a last reader gets; return how many were hits."""
        keys = [lane.key for lane in lanes]
        rows, lookups = self._table.read(keys), self._caches["last"].get_many(keys)
        hits = [lane for lane in lanes if lookups[lane.key].payload is not None]
        for lane in hits:
            found, row = lookups[lane.key].payload, rows.get(lane.key)
            if row is None or found != row.payload:
                lane.complain(f"the cache answers {found!r}, PostgreSQL {row}")
        return len(hits)

    def _check(self, lanes: list[Lane]) -> None:
        held = self._raw.mget([self._prefix + lane.key for lane in lanes])
        for lane, raw in zip(lanes, held, strict=True):
            entry = parse_entry(raw) if raw is not None else None
            if entry is None or entry.kind == FENCE:  # which says nothing but "ask PostgreSQL"
                continue
            if entry.version < lane.acknowledged:
                lane.complain(
                    f"the cache holds {entry.version}, had acknowledged {lane.acknowledged}"
                )

    def _note(self, actor: str, lanes: list[Lane], rows: dict[str, Row]) -> None:
        for lane in lanes:
            if lane.key in rows:
                lane.rows[actor] = rows[lane.key]

    # The steps.

    def _begin(self, actor: str, lanes: list[Lane]) -> None:
        moment = self._caches[actor].moment()
        assert moment is not None
        for lane in lanes:
            lane.began[actor] = moment

    def _commit(self, actor: str, lanes: list[Lane]) -> None:
        keys = [lane.key for lane in lanes]
        self._begin(actor, [lane for lane in lanes if actor not in lane.began])
        if actor == "deleter":
            rows = self._table.delete(keys)
        else:
            rows = self._table.write(dict.fromkeys(keys, f'"{actor}"'.encode()))
        self._note(actor, lanes, rows)

    def _put(self, actor: str, lanes: list[Lane]) -> None:
        # A deleter may have found nothing.
        by_began: dict[Moment, dict[str, Row]] = defaultdict(dict)
        for lane in lanes:
            if actor in lane.rows:
                by_began[lane.began[actor]][lane.key] = lane.rows[actor]
        outcomes: dict[str, Put] = {}
        for began, rows in by_began.items():
            outcomes |= self._caches[actor].put(rows, began)
        self._acknowledge(actor, lanes, outcomes)

    def _fence(self, actor: str, lanes: list[Lane]) -> None:
        versions = {lane.key: lane.rows[actor].version for lane in lanes}
        self._acknowledge(actor, lanes, self._caches[actor].fence(versions))

    def _acknowledge(self, actor: str, lanes: list[Lane], outcomes: dict[str, Put]) -> None:
        for lane in lanes:
            outcome = outcomes.get(lane.key)
            if outcome is not None and outcome.settled:
                lane.acknowledged = max(lane.acknowledged, lane.rows[actor].version)
            else:
                assert outcome is None or not self._is_well, f"{outcome}, though all is well"

    def _get(self, actor: str, lanes: list[Lane]) -> None:
        lookups = self._caches[actor].get_many([lane.key for lane in lanes])
        for lane in lanes:
            lookup = lookups[lane.key]
            lane.due, lane.missed = lane.acknowledged, lookup.payload is None
            if not lane.missed and lookup.version < lane.due:
                lane.complain(f"the reader got {lookup}, {lane.due} was due")

    def _read(self, actor: str, lanes: list[Lane]) -> None:
        asking = [lane for lane in lanes if lane.missed]
        moment = self._caches[actor].moment()
        rows = self._table.read([lane.key for lane in asking])
        self._note(actor, asking, rows)
        for lane in asking:
            lane.moment = moment
            if lane.key in rows and rows[lane.key].version < lane.due:
                lane.complain(f"the reader read {rows[lane.key]}, {lane.due} was due")

    def _fill(self, actor: str, lanes: list[Lane]) -> None:
        by_moment: dict[Moment, dict[str, Row]] = defaultdict(dict)
        for lane in lanes:
            if lane.moment is not None and actor in lane.rows:
                by_moment[lane.moment][lane.key] = lane.rows[actor]
        for moment, rows in by_moment.items():
            outcomes = self._caches[actor].fill(rows, moment, 10.0)
            assert Put.FAILED not in outcomes.values()

    def _empty(self, _actor: str, _lanes: list[Lane]) -> None:
        self._is_well = False
        self._raw.flushall()


def by_loss(lanes: list[Lane]) -> Iterator[list[Lane]]:
    """Yield the lanes that lose what the cache holds at the same step: they go in lockstep."""
    groups: dict[int, list[Lane]] = defaultdict(list)
    for lane in lanes:
        groups[lane.order.index("loss")].append(lane)
    yield from groups.values()


def _batches(lanes: list[Lane]) -> Iterator[list[Lane]]:
    left = iter(lanes)
    while batch := list(islice(left, BATCH)):
        yield batch
