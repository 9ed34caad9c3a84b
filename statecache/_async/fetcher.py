"""What the cache does not know: PostgreSQL is asked, and the cache filled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from statecache._async.cache import AsyncStateCache
from statecache._async.listener import AsyncListener
from statecache._async.single_flight import AsyncSingleFlight
from statecache._async.table import AsyncStateTable
from statecache.config import CacheConfig
from statecache.errors import DatabaseError
from statecache.gathering import AsyncGatheredReads
from statecache.lifetimes import Lifetimes
from statecache.lookup import TROUBLE, Fetched, Found, Lookup, Put, Row
from statecache.memory import MemoryTier
from statecache.repair import Unrepaired
from statecache.stats import Tally

__all__ = ["AsyncFetcher"]

#: Reasons of a miss after which the database is to be asked anew: the cache did not say that
#: nothing was put since a read that is under way began.
_ANEW = TROUBLE | {"unrepaired", "fenced"}


def _strictness(lookup: Lookup) -> tuple[bool, int]:
    return lookup.reason in _ANEW, lookup.version


def _still_valid(misses: Mapping[str, Lookup]) -> dict[str, Found]:
    """Return what was only to be refreshed."""
    return {
        key: Found(lookup.payload, "hit")
        for key, lookup in misses.items()
        if lookup.payload is not None
    }


class AsyncFetcher:
    """Reads from the table, once for all who ask at a time, and hands on what it read.

    To the cache, and from there to the in-process tier.
    """

    def __init__(
        self,
        table: AsyncStateTable,
        cache: AsyncStateCache,
        config: CacheConfig,
        tally: Tally,
        *,
        memory: MemoryTier,
        listener: AsyncListener,
        unrepaired: Unrepaired,
        lifetimes: Lifetimes,
    ) -> None:
        self._table = table
        self._cache = cache
        self._memory = memory
        self._listener = listener
        self._unrepaired = unrepaired
        self._lifetimes = lifetimes
        self._tally = tally
        self._flights: AsyncSingleFlight[Fetched] = AsyncSingleFlight(
            config.effective_fill_deadline_ms / 1000
        )
        #: What the cache said to gathered loads that wait for PostgreSQL now.
        self._missed: dict[str, Lookup] = {}
        self._gathered = AsyncGatheredReads(self._fetch_gathered) if config.gather else None

    def forget(self, trigger_ids: Iterable[str]) -> None:
        """Let nobody join the reads that are under way: what they bring may be outdated."""
        self._flights.forget(trigger_ids)

    async def fetch_one(self, trigger_id: str, lookup: Lookup) -> Found:
        """Return what PostgreSQL holds, gathered where that is wanted."""
        if self._gathered is None:
            return (await self.fetch({trigger_id: lookup}))[trigger_id]
        known = self._missed.get(trigger_id, lookup)
        # What may answer without PostgreSQL is what the cache said last.
        strictest = max(known, lookup, key=_strictness)
        self._missed[trigger_id] = strictest._replace(payload=lookup.payload)
        found: Found = await self._gathered.call(trigger_id)
        return found

    async def fetch(self, misses: Mapping[str, Lookup]) -> dict[str, Found]:
        """Return what PostgreSQL holds of the states that the cache did not know."""
        fences: dict[str, int] = {}
        anew = False
        for trigger_id, lookup in misses.items():
            fences[trigger_id] = lookup.version if lookup.reason == "tombstone" else 0
            anew = anew or lookup.reason in _ANEW
        call = partial(self._read_and_fill, misses)
        try:
            outcomes = await self._flights.run(fences, call, anew=anew)
        except DatabaseError:
            valid = _still_valid(misses)
            if len(valid) < len(misses):
                raise
            return valid
        if not anew:
            # A read that is shared began before this call: a cache that lost its contents in
            # between would not know of what was written meanwhile.
            doubtful = {
                trigger_id: fences[trigger_id]
                for trigger_id, (fetched, shared) in outcomes.items()
                if shared and not fetched.vouched
            }
            if doubtful:
                outcomes |= await self._flights.run(doubtful, call, anew=True)
        found = {}
        for trigger_id, (fetched, shared) in outcomes.items():
            armed = None if shared else fetched.armed
            found[trigger_id] = Found(fetched.payload, misses[trigger_id].reason, armed)
            if shared:
                self._tally.add("coalesced")
        return found

    async def _fetch_gathered(self, trigger_ids: list[str]) -> Mapping[str, Found | DatabaseError]:
        # What an earlier batch has taken along is asked for anew.
        anew = Lookup(reason="unrepaired")
        misses = {key: self._missed.pop(key, anew) for key in trigger_ids}
        try:
            return await self.fetch(misses)
        except DatabaseError as error:
            return dict.fromkeys(trigger_ids, error) | _still_valid(misses)

    async def _read_and_fill(
        self,
        misses: Mapping[str, Lookup],
        trigger_ids: list[str],
        is_current: Callable[[str], bool],
    ) -> dict[str, Fetched]:
        """Return what PostgreSQL holds, and what the cache made of it."""
        since = self._memory.changes
        # A cache that has just failed is not asked again.
        sound = [key for key in trigger_ids if misses[key].reason not in TROUBLE]
        spent_s = max(misses[key].spent_s for key in trigger_ids)
        moment = await self._cache.moment(spent_s) if sound else None
        began = time.monotonic()
        rows = await self._table.read(trigger_ids)
        fetched = {key: Fetched(rows[key].payload if key in rows else None) for key in trigger_ids}
        # Nor is it given what this manager itself has overwritten since.
        fills = {key: rows.get(key, Row(None, 0)) for key in sound if is_current(key)}
        if moment is None or not fills:
            return fetched
        sent = time.monotonic()
        outcomes = await self._cache.fill(fills, moment)
        self._lifetimes.note_fetch((time.monotonic() - began) * 1000)
        for key, outcome in outcomes.items():
            row, stored = fills[key], outcome is Put.STORED
            fetched[key] = Fetched(row.payload, sent if stored else None, outcome.settled)
            if outcome.settled:
                self._unrepaired.repaired(key, row.version)
            if stored and row.payload is not None and self._memory.limit:
                self._listener.start()
                self._memory.store({key: row}, since)
        return fetched
