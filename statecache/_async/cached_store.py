"""What a manager does with states through the cache: looking up, passing on, what is unrepaired."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from psycopg_pool import PoolTimeout

from statecache._async.cache import AsyncStateCache
from statecache._async.fetcher import AsyncFetcher
from statecache._async.listener import AsyncListener
from statecache._async.repairer import AsyncRepairer
from statecache._async.store import AsyncStore, decoded
from statecache._async.table import AsyncStateTable
from statecache._async.upkeep import verify, warm
from statecache.codec import decode_state
from statecache.config import CacheConfig
from statecache.errors import ConfigError
from statecache.gathering import AsyncGatheredReads
from statecache.lifetimes import Lifetimes
from statecache.lookup import NOTHING, Found, Lookup, Moment, Put, Row, Written
from statecache.memory import MemoryTier
from statecache.redis_connections import AsyncRedis
from statecache.repair import ANY_VERSION, Unrepaired
from statecache.stats import CacheStats, Tally
from statecache.verification import Verification

__all__ = ["AsyncCachedStore"]


class AsyncCachedStore(AsyncStore):
    """Loads from the in-process tier, the cache and PostgreSQL, in this order; writes through.

    ``wants`` says of which keys somebody has to hear whenever they are loaded.
    """

    _tells_a_cache = True

    def __init__(
        self,
        table: AsyncStateTable,
        redis: AsyncRedis | None,
        config: CacheConfig,
        tally: Tally,
        wants: Callable[[str], bool],
    ) -> None:
        super().__init__(table, config, tally)
        self._lifetimes = Lifetimes(
            config.ttl_ms,
            jitter=config.ttl_jitter,
            early_refresh=config.early_refresh,
            target_hit_rate=config.target_hit_rate,
            ttl_min_ms=config.ttl_min_secs * 1000,
            ttl_max_ms=config.ttl_max_secs * 1000,
        )
        self._cache = cache = AsyncStateCache(redis, config, tally, self._lifetimes)
        self._unrepaired = Unrepaired()
        self._repairer = AsyncRepairer(table, cache, self._unrepaired, config.repair_poll_secs)
        ttl_s = min(config.memory_ttl_secs, config.ttl_secs)
        self._memory = MemoryTier(config.memory_items, ttl_s, watched=wants)
        self._listener = AsyncListener(cache.link, cache.channel, self._memory, cache.is_own)
        self._fetcher = AsyncFetcher(
            table,
            cache,
            config,
            tally,
            memory=self._memory,
            listener=self._listener,
            unrepaired=self._unrepaired,
            lifetimes=self._lifetimes,
        )
        self._lookups: AsyncGatheredReads[Found | Lookup] | None = None
        if config.gather:
            self._lookups = AsyncGatheredReads(self._look_up_many)
        # Nobody closes a manager that is simply forgotten.
        for end in (self._listener.stop, self._repairer.stop, cache.link.forget):
            weakref.finalize(self, end)

    def stats(self, ttl_secs: float) -> CacheStats:
        """Return the counters, and how the cache is."""
        return self._tally.snapshot(
            enabled=True,
            ttl_secs=ttl_secs,
            unrepaired=len(self._unrepaired),
            breaker_open=self._cache.is_left_alone,
        )

    async def warm(self, limit: int, trigger_ids: list[str] | None) -> int:
        """Put states into the cache, these or those updated last; return how many it took."""
        return await warm(self._table, self._cache, limit, trigger_ids)

    async def verify(self, sample: int) -> Verification:
        """Compare cached states with PostgreSQL."""
        return await verify(self._table, self._cache, sample)

    async def aclose(self) -> None:
        """Close every connection that is our own, and end what runs in the background."""
        await self.settle()
        await self._repairer.aclose()
        await self._listener.aclose()
        await self._cache.aclose()
        await super().aclose()

    # Reads: cache-aside.

    async def load(self, trigger_id: str) -> tuple[Any, Found]:
        """Return the decoded state, and what was found."""
        self._lifetimes.note_read(trigger_id)
        if self._config.repair_poll_secs:
            self._repairer.start()
        memory = self._memory
        if memory.limit:
            # From now on there is a shorter way, where lifetimes do not depend on every load.
            self.short_way = None if self._config.target_hit_rate else memory
            payload = memory.get(trigger_id)
            if payload is not None:
                return await self._decode(trigger_id, Found(payload, "memory"))
        if self._lookups is None:
            found = await self._look_up(trigger_id)
        else:
            found = await self._lookups.call(trigger_id)
        if isinstance(found, Lookup):
            found = await self._fetcher.fetch_one(trigger_id, found)
        return await self._decode(trigger_id, found)

    async def _find_many(self, trigger_ids: list[str]) -> dict[str, Found]:
        self._lifetimes.note_read(*trigger_ids)
        found: dict[str, Found] = {}
        misses: dict[str, Lookup] = {}
        for trigger_id, answer in (await self._look_up_many(trigger_ids)).items():
            if isinstance(answer, Lookup):
                misses[trigger_id] = answer
            else:
                found[trigger_id] = answer
        return found | await self._fetcher.fetch(misses) if misses else found

    async def _decode(self, trigger_id: str, found: Found) -> tuple[Any, Found]:
        """Return the state; what proves unreadable is read from PostgreSQL."""
        try:
            state = None if found.payload is None else decode_state(found.payload)
        except ValueError:  # an entry whose header was right
            await self.invalidate([trigger_id])
            found = (await self._fetcher.fetch({trigger_id: Lookup(reason="corrupt")}))[trigger_id]
            state = decoded(trigger_id, found.payload)
        if found.outcome == "memory":
            self._tally.memory_hits.add()
        else:
            self._tally.add("hit" if found.outcome == "hit" else f"miss:{found.outcome}")
        return state, found

    async def _look_up(self, trigger_id: str) -> Found | Lookup:
        """Ask the cache; what it cannot answer comes back as it said so."""
        started, since = time.monotonic(), self._memory.changes
        if trigger_id in self._unrepaired:
            self._repairer.start()
            return Lookup(reason="unrepaired")
        return self._hit(trigger_id, await self._cache.get(trigger_id), since, started)

    async def _look_up_many(self, trigger_ids: list[str]) -> dict[str, Found | Lookup]:
        """Ask the in-process tier and the cache for many."""
        memory, unrepaired, writes = self._memory, self._unrepaired, self._writes
        started, since = time.monotonic(), memory.changes
        answers: dict[str, Found | Lookup] = {}
        asked = []
        for trigger_id in trigger_ids:
            payload = memory.get(trigger_id)
            if payload is not None:
                answers[trigger_id] = Found(payload, "memory")
            elif trigger_id in unrepaired:
                self._repairer.start()
                answers[trigger_id] = Lookup(reason="unrepaired")
            elif writes is not None and writes.is_passed_on(trigger_id):
                answers[trigger_id] = Lookup(reason="unrepaired")
            else:
                asked.append(trigger_id)
        for trigger_id, lookup in (await self._cache.get_many(asked)).items():
            answers[trigger_id] = self._hit(trigger_id, lookup, since, started)
        return answers

    def _hit(self, trigger_id: str, lookup: Lookup, since: int, started: float) -> Found | Lookup:
        payload, reason, version, _spent_s = lookup
        if payload is None or reason:
            return Lookup(payload, reason, version, time.monotonic() - started)
        if payload is NOTHING:
            return Found(None, "hit")
        if self._memory.limit:
            self._listener.start()
            self._memory.store({trigger_id: Row(payload, version)}, since)
        return Found(payload, "hit")

    # Writes: PostgreSQL first, then the cache.

    def _marks(self) -> bool:
        return super()._marks() and self._cache.is_left_alone

    async def _begin(self) -> Moment | None:
        return await self._cache.moment()

    def _changes(self) -> int:
        return self._memory.changes

    def _early(self, written: Written) -> tuple[Written, dict[str, Found]]:
        """With a tier that hears of writes by messages nobody waits for what is on its way."""
        rows = written.rows
        told = self._memory.limit and written.moment and all(r.version for r in rows.values())
        if not told:
            return written, {}
        self._memory.store(rows, written.changes)
        sent = Found(None, "sent", time.monotonic())
        return written._replace(kept=True), dict.fromkeys(rows, sent)

    async def _pass_on(self, written: Written) -> dict[str, Found]:
        """Tell the cache; until it has taken a key's version, the key is unrepaired."""
        rows, moment, marked, _changes, kept = written
        since = None if kept else self._memory.changes
        self._fetcher.forget(rows)
        self._lifetimes.note_write(*rows)
        outcomes: dict[str, Put] = {}
        sent = time.monotonic()
        missing = [key for key, row in rows.items() if not row.version]
        there = {key: row for key, row in rows.items() if row.version} if missing else rows
        try:
            if there and moment is not None:
                outcomes = await self._cache.put(there, moment)
            # There was nothing to delete: whatever the cache holds is wrong.
            await self.invalidate(missing)
        finally:  # a cancelled caller's put may or may not have arrived
            failed = self._settle(there, outcomes, since)
        if failed and not marked:
            await self._mark(failed)
        found = dict.fromkeys(rows, Found(None, "committed"))
        armed = Found(None, "committed", sent)
        found |= {key: armed for key, outcome in outcomes.items() if outcome is Put.STORED}
        found |= dict.fromkeys(failed, Found(None, "unrepaired"))
        return found

    def _settle(
        self, written: Mapping[str, Row], outcomes: Mapping[str, Put], since: int | None
    ) -> dict[str, int]:
        """Remember what the cache took; return key → version of what it did not."""
        stored = {key: row for key, row in written.items() if outcomes.get(key) is Put.STORED}
        if since is not None:  # else the in-process tier has them already
            self._memory.store(stored, since)
        failed = {}
        if len(stored) < len(written) or self._unrepaired:
            outdone = {key: row.version + 1 for key, row in written.items() if key not in stored}
            for key, row in written.items():
                if outcomes.get(key, Put.FAILED).settled:
                    self._unrepaired.repaired(key, row.version)
                else:
                    failed[key] = row.version
                    self._unrepaired.add(key, row.version)
            # Nobody publishes what the cache did not take, nor perhaps what outdoes it. After that:
            # a load that began before keeps nothing, and one that begins now finds it unrepaired.
            self._memory.changed(outdone)
        if failed or self._config.repair_poll_secs:
            self._repairer.start()
        return failed

    async def invalidate(self, trigger_ids: list[str]) -> None:
        """Fence these states off, for everybody; what the cache does not take is unrepaired."""
        if not trigger_ids:
            return
        self._outdated(trigger_ids)
        if not await self._cache.invalidate(trigger_ids):
            for trigger_id in trigger_ids:
                self._unrepaired.add(trigger_id, ANY_VERSION)
            self._repairer.start()
        self._outdated(trigger_ids)  # what was loaded before the fence was set

    async def invalidate_all(self) -> None:
        """Fence off whatever begins with the prefix."""
        self._memory.clear()
        if not await self._cache.invalidate_all():
            self._unrepaired.add_all()
            self._repairer.start()
        self._memory.clear()  # what was loaded before the fences were set

    def _in_doubt(
        self, trigger_ids: Iterable[str] | None, error: BaseException | None = None
    ) -> None:
        if isinstance(error, ConfigError) or isinstance(error and error.__cause__, PoolTimeout):
            return  # it was never sent
        if trigger_ids is None:
            self._unrepaired.add_all()
            self._memory.clear()
        for trigger_id in (ids := list(trigger_ids or ())):
            self._unrepaired.add(trigger_id)
        self._outdated(ids)
        self._repairer.start()

    def _outdated(self, trigger_ids: list[str]) -> None:
        """Let nobody share a read of these states, nor find them in the in-process tier."""
        self._fetcher.forget(trigger_ids)
        self._memory.changed(dict.fromkeys(trigger_ids, ANY_VERSION))
