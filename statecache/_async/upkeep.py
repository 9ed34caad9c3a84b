"""Comparing the cache with PostgreSQL, and filling it beforehand."""

from __future__ import annotations

from itertools import islice

from statecache._acompat import async_sleep
from statecache._async.cache import AsyncStateCache
from statecache._async.table import AsyncStateTable
from statecache.codec import compact
from statecache.lookup import NOTHING, TROUBLE, Lookup, Put, Row
from statecache.verification import Difference, Verification

__all__ = ["verify", "warm"]

BATCH = 256

#: A write that is under way may be committed and not yet put: what differs is looked at again.
SECOND_LOOK_S = 0.2


async def warm(
    table: AsyncStateTable, cache: AsyncStateCache, limit: int, ids: list[str] | None
) -> int:
    """Put states into the cache; return how many it took."""
    if ids is None:
        ids = await table.recent(limit)
    taken, left = 0, iter(ids)
    while batch := list(islice(left, BATCH)):
        moment = await cache.moment()
        if moment is None:
            break
        rows = await table.read(batch)
        live = {key: row for key, row in rows.items() if row.payload is not None}
        outcomes = await cache.fill(live, moment)
        taken += sum(outcome is Put.STORED for outcome in outcomes.values())
    return taken


async def verify(table: AsyncStateTable, cache: AsyncStateCache, sample: int) -> Verification:
    """Compare cached states with PostgreSQL."""
    checked, differences, complete = 0, [], True
    seen: set[str] = set()  # a scan from somewhere passes most names twice
    async for names in cache.scan(anywhere=True):
        if names is None:
            complete = False
            break
        fresh = iter([name for name in dict.fromkeys(names) if name not in seen])
        seen.update(names)
        # Of those that the scan found some are no states: tombstones, and what has expired since.
        while complete and (batch := list(islice(fresh, sample - checked))):
            count, suspects, complete = await _compare(table, cache, batch)
            checked += count
            if suspects and complete:
                await async_sleep(SECOND_LOOK_S)
                _count, again, complete = await _compare(table, cache, list(suspects))
                lasting = [again[name] for name in again if _lasts(suspects[name], again[name])]
                differences += lasting
        if checked >= sample or not complete:
            break
    return Verification(checked, differences, complete)


async def _compare(
    table: AsyncStateTable, cache: AsyncStateCache, names: list[str]
) -> tuple[int, dict[str, Difference], bool]:
    """Return how many are cached, which of them differ, and whether the cache answered for all."""
    if not names:
        return 0, {}, True
    # PostgreSQL first: what the cache says later may not be older.
    rows = await table.read(names)
    lookups = await cache.get_many(names)
    cached = {name: found for name, found in lookups.items() if found.payload is not None}
    differing = {
        name: Difference(name, found.version, rows[name].version if name in rows else 0)
        for name, found in cached.items()
        if not _agree(found, rows.get(name))
    }
    answered = all(found.reason not in TROUBLE for found in lookups.values())
    return len(cached), differing, answered


def _lasts(first: Difference, second: Difference) -> bool:
    """Return whether two looks saw one difference, and not two writes under way."""
    if second.kind == "stale":
        return second.cached_version < first.database_version
    return second.kind == "content" or second.cached_version == first.cached_version


def _agree(found: Lookup, row: Row | None) -> bool:
    payload = None if found.payload == NOTHING else found.payload
    if row is None:
        return payload is None
    held = None if row.payload is None else compact(row.payload)
    return found.version == row.version and payload == held
