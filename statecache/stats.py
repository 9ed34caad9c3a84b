"""Counters of a manager, and the picture of them that callers get."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from statecache.durations import Durations, Spread
from statecache.forking import new_lock

__all__ = ["CacheStats", "Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a manager did since it was made; a picture that does not change afterwards.

    With a cache, ``hits + misses`` is the number of loads; without one both stay 0. A load that
    the cache could not answer because of trouble is a miss, too, with its own reason.
    """

    enabled: bool
    ttl_secs: float
    hits: int = 0
    #: Those of the hits that the process answered itself (in-process tier).
    memory_hits: int = 0
    misses: int = 0
    #: Failed calls of the cache, by whatever operation and reason.
    errors: int = 0
    #: Reason → misses: absent, tombstone (deleted), fenced (invalidated or repaired), corrupt,
    #: error, bypassed (breaker open), unrepaired, early (refreshed before it expired).
    misses_by_reason: dict[str, int] = field(default_factory=dict)
    #: "operation:reason" → failed calls of the cache.
    errors_by_reason: dict[str, int] = field(default_factory=dict)
    #: Entries put after a miss, and fills that came too late or found something newer.
    fills: int = 0
    fills_dropped: int = 0
    #: Entries put after a committed write or delete, those that found something newer, and those
    #: that came too late.
    puts: int = 0
    puts_superseded: int = 0
    puts_late: int = 0
    #: Command → calls of the cache: GET, MGET, EVALSHA (puts, fills, fences), EVAL, SCAN.
    cache_commands: dict[str, int] = field(default_factory=dict)
    #: Statements sent to PostgreSQL that read or wrote states.
    db_reads: int = 0
    db_writes: int = 0
    #: Loads that shared another caller's database read (single flight).
    coalesced: int = 0
    #: Updates and deletes that another one of the same key in the same batch outdid (gathering).
    writes_absorbed: int = 0
    #: Keys that the cache failed to take and that are not repaired yet.
    unrepaired: int = 0
    #: Whether the breaker keeps callers away from the cache.
    breaker_open: bool = False
    #: How long statements took that read and that wrote states.
    db_read_seconds: Spread = field(default_factory=Spread)
    db_write_seconds: Spread = field(default_factory=Spread)

    @property
    def hit_rate(self) -> float:
        """Share of loads answered by the cache, 0 to 1; 0 before the first load."""
        loads = self.hits + self.misses
        return self.hits / loads if loads else 0.0


class Ticks:
    """Counts from any thread without a lock, for what happens more often than anything else."""

    __slots__ = ("_lock", "_looks", "add")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._looks = 0
        #: Count one more: a step of ``itertools.count`` cannot be interrupted.
        self.add: Callable[[], int] = itertools.count().__next__

    def value(self) -> int:
        """Return how many were counted; looking takes a step, too."""
        with self._lock:
            value = self.add() - self._looks
            self._looks += 1
            return value


class Tally:
    """Counts by name, from any thread, without losing one."""

    __slots__ = ("_counts", "_lock", "memory_hits", "reads", "writes")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = new_lock()
        self.memory_hits = Ticks()
        #: Durations of statements that read and that wrote states.
        self.reads = Durations()
        self.writes = Durations()

    def add(self, name: str, count: int = 1) -> None:
        """Add ``count`` to the counter ``name``; names with a colon group: ``miss:absent``."""
        with self._lock:
            self._counts[name] += count

    def snapshot(
        self, *, enabled: bool, ttl_secs: float, unrepaired: int = 0, breaker_open: bool = False
    ) -> CacheStats:
        """Return the counters as ``CacheStats``."""
        with self._lock:
            counts = self._counts.copy()
        reads, writes = self.reads.snapshot(), self.writes.snapshot()
        memory_hits = self.memory_hits.value()
        misses = _group(counts, "miss:")
        errors = _group(counts, "error:")
        return CacheStats(
            enabled=enabled,
            ttl_secs=ttl_secs,
            hits=counts["hit"] + memory_hits,
            memory_hits=memory_hits,
            misses=sum(misses.values()),
            errors=sum(errors.values()),
            misses_by_reason=misses,
            errors_by_reason=errors,
            fills=counts["fill:STORED"],
            fills_dropped=counts["fill:SUPERSEDED"] + counts["fill:LATE"],
            puts=counts["put:STORED"],
            puts_superseded=counts["put:SUPERSEDED"],
            puts_late=counts["put:LATE"],
            cache_commands=_group(counts, "command:"),
            db_reads=reads.count,
            db_writes=writes.count,
            coalesced=counts["coalesced"],
            writes_absorbed=counts["write_absorbed"],
            unrepaired=unrepaired,
            breaker_open=breaker_open,
            db_read_seconds=reads,
            db_write_seconds=writes,
        )


def _group(counts: Counter[str], prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): count
        for name, count in sorted(counts.items())
        if name.startswith(prefix)
    }
