"""The manager that keeps states in PostgreSQL and reads them through Redis."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

from psycopg_pool import PoolTimeout

from statecache._acompat import AsyncConnectionPool
from statecache._async.cache import AsyncStateCache
from statecache._async.listener import AsyncListener
from statecache._async.repairer import AsyncRepairer
from statecache._async.single_flight import AsyncSingleFlight
from statecache._async.state_manager import AsyncStateManager, decoded, pool_maker
from statecache._async.upkeep import verify, warm
from statecache.access import Observer
from statecache.codec import check_trigger_ids, decode_state
from statecache.config import CacheConfig, url_from_env
from statecache.errors import ConfigError, DatabaseError
from statecache.gathering import async_gathered_reads
from statecache.lifetimes import Lifetimes
from statecache.lookup import NOTHING, TROUBLE, Fetched, Found, Lookup, Moment, Put, Row, Written
from statecache.memory import MemoryTier
from statecache.redis_connections import AsyncRedis
from statecache.repair import ANY_VERSION, Unrepaired
from statecache.stats import CacheStats
from statecache.verification import Verification

__all__ = ["AsyncCachedStateManager"]

#: Reasons of a miss after which the database is to be asked anew: the cache did not say that
#: nothing was put since a read that is under way began.
_ANEW = TROUBLE | {"unrepaired", "fenced"}


def _strictness(lookup: Lookup) -> tuple[bool, int]:
    return lookup.reason in _ANEW, lookup.version


class AsyncCachedStateManager(AsyncStateManager):
    """The same API through a cache: write-through, cache-aside reads, PostgreSQL as the truth.

    ``pool`` is an open psycopg connection pool and ``redis`` a client; both stay the caller's.
    From the client only address, credentials and TLS are taken: the manager makes connections of
    its own that give up after ``timeout_ms``. ``cache_ttl_secs`` overrides ``config.ttl_secs``.
    With ``enabled=False`` the client may be ``None`` and no connection to Redis is opened.

    No trouble with the cache fails a call; it is counted in ``get_cache_stats``.
    """

    _tells_a_cache = True

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        redis: AsyncRedis | None,
        cache_ttl_secs: float | None = None,
        *,
        config: CacheConfig | None = None,
        observer: Observer | None = None,
    ) -> None:
        config = config or CacheConfig()
        if cache_ttl_secs is not None:
            config = dataclasses.replace(config, ttl_secs=cache_ttl_secs)
        super().__init__(pool, config=config, observer=observer)
        self._lifetimes = Lifetimes(
            config.ttl_ms,
            jitter=config.ttl_jitter,
            early_refresh=config.early_refresh,
            target_hit_rate=config.target_hit_rate,
            ttl_min_ms=config.ttl_min_secs * 1000,
            ttl_max_ms=config.ttl_max_secs * 1000,
        )
        fill_deadline_s = config.effective_fill_deadline_ms / 1000
        self._flights: AsyncSingleFlight[Fetched] = AsyncSingleFlight(fill_deadline_s)
        self._unrepaired = Unrepaired()
        self._memory: MemoryTier | None = None
        self._goes_short = False
        #: What the cache said to gathered loads that wait for PostgreSQL now.
        self._missed: dict[str, Lookup] = {}
        self._lookups, self._reads = None, None
        if config.gather:
            self._lookups = async_gathered_reads(self._look_up_many)
            self._reads = async_gathered_reads(self._fetch_gathered)
        self._cache: AsyncStateCache | None = None
        if config.enabled:
            self._cache = AsyncStateCache(redis, config, self._tally, self._lifetimes)
            self._repairer = AsyncRepairer(
                self._table, self._cache, self._unrepaired, config.repair_poll_secs
            )
            if config.memory_items:
                ttl_s = min(config.memory_ttl_secs, config.ttl_secs)
                self._memory = MemoryTier(config.memory_items, ttl_s, watched=self._wants)
                self._listener = AsyncListener(self._cache.link, self._cache.channel, self._memory)
                weakref.finalize(self, self._listener.stop)
            # Nobody closes a manager that is simply forgotten.
            weakref.finalize(self, self._repairer.stop)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a manager from ``DATABASE_URL``, ``REDIS_URL`` and ``STATE_CACHE_*``.

        It owns its connections: close it. ``STATE_CACHE_ENABLED=false`` is the rollback, for which
        ``REDIS_URL`` need not be set. Raises ``ConfigError`` before anything connects.
        """
        config = CacheConfig.from_env(environ)
        client = _own_client(environ) if config.enabled else None
        make_pool = pool_maker(config, environ)
        manager = cls(make_pool(), client, config=config)
        manager._table.own(make_pool)
        return manager

    def get_cache_stats(self) -> CacheStats:
        """Return what this manager did so far; see ``CacheStats``."""
        return self._tally.snapshot(
            enabled=self._config.enabled,
            ttl_secs=self._config.ttl_secs,
            unrepaired=len(self._unrepaired),
            breaker_open=self._cache is not None and self._cache.is_left_alone,
        )

    async def invalidate(self, trigger_ids: Iterable[str]) -> None:
        """Make every manager read these states from PostgreSQL next time."""
        ids = check_trigger_ids(trigger_ids)
        if self._cache is not None and ids:
            await self._invalidate(self._cache, ids)

    async def invalidate_all(self) -> None:
        """Make every manager read all states from PostgreSQL next time.

        The keys that begin with the prefix are fenced off, in batches.
        """
        if self._cache is not None:
            if self._memory is not None:
                self._memory.clear()
            if not await self._cache.invalidate_all():
                self._unrepaired.add_all()
                self._repairer.start()

    async def _warm(self, limit: int, trigger_ids: list[str] | None) -> int:
        if self._cache is None:
            return 0
        return await warm(self._table, self._cache, limit, trigger_ids)

    async def _verify(self, sample: int) -> Verification:
        if self._cache is None:
            return Verification()
        return await verify(self._table, self._cache, sample)

    async def aclose(self) -> None:
        """Close the connections the manager made; pool and client that were passed in stay."""
        if self._cache is not None:
            await self._repairer.aclose()
            if self._memory is not None:
                await self._listener.aclose()
            await self._cache.aclose()
        await super().aclose()

    # Reads: cache-aside.

    async def load_state(self, trigger_id: str) -> Any:
        """Return the state as a fresh JSON value, or ``None`` where there is none."""
        if self._goes_short and type(trigger_id) is str:  # what is not in there is checked later
            payload = self._memory.get(trigger_id, unwatched=True)  # type: ignore[union-attr]
            if payload is not None:
                try:
                    state = decode_state(payload)
                except ValueError:  # the longer way takes care of it
                    return await super().load_state(trigger_id)
                self._tally.memory_hits.add()
                return state
        return await super().load_state(trigger_id)

    async def _load(self, trigger_id: str) -> tuple[Any, Found]:
        cache, memory = self._cache, self._memory
        if cache is None:
            return await super()._load(trigger_id)
        self._lifetimes.note_read(trigger_id)
        if self._config.repair_poll_secs:
            self._repairer.start()
        if memory is not None:
            # From now on: where nobody has to hear of every load there is a shorter way.
            self._goes_short = not self._config.target_hit_rate
            payload = memory.get(trigger_id)
            if payload is not None:
                return await self._decode(trigger_id, Found(payload, "memory"))
        if self._lookups is not None and self._reads is not None:
            found = await self._lookups.call(trigger_id)
            if isinstance(found, Lookup):  # in a batch of its own: PostgreSQL may take its time
                known = self._missed.get(trigger_id, found)
                self._missed[trigger_id] = max(known, found, key=_strictness)
                found = await self._reads.call(trigger_id)
        else:
            found = await self._look_up(cache, trigger_id)
            if isinstance(found, Lookup):
                found = (await self._fetch(cache, {trigger_id: found}))[trigger_id]
        return await self._decode(trigger_id, found)

    async def _find_many(self, trigger_ids: list[str]) -> dict[str, Found]:
        cache = self._cache
        if cache is None:
            return await super()._find_many(trigger_ids)
        self._lifetimes.note_read(*trigger_ids)
        found: dict[str, Found] = {}
        misses: dict[str, Lookup] = {}
        for trigger_id, answer in (await self._look_up_many(trigger_ids)).items():
            if isinstance(answer, Lookup):
                misses[trigger_id] = answer
            else:
                found[trigger_id] = answer
        return found | await self._fetch(cache, misses) if misses else found

    async def _fetch_gathered(self, trigger_ids: list[str]) -> dict[str, Found]:
        cache = self._cache
        if cache is None:
            return await self._find_many(trigger_ids)
        # What an earlier batch has taken along is asked for anew.
        anew = Lookup(reason="unrepaired")
        return await self._fetch(cache, {key: self._missed.pop(key, anew) for key in trigger_ids})

    async def _decode(self, trigger_id: str, found: Found) -> tuple[Any, Found]:
        """Return the state; what proves unreadable is read from PostgreSQL."""
        if self._cache is None:
            return await super()._decode(trigger_id, found)
        try:
            state = None if found.payload is None else decode_state(found.payload)
        except ValueError:  # an entry whose header was right
            await self._invalidate(self._cache, [trigger_id])
            misses = {trigger_id: Lookup(reason="corrupt")}
            found = (await self._fetch(self._cache, misses))[trigger_id]
            state = decoded(trigger_id, found.payload)
        if found.outcome == "memory":
            self._tally.memory_hits.add()
        else:
            self._tally.add("hit" if found.outcome == "hit" else f"miss:{found.outcome}")
        return state, found

    async def _look_up(self, cache: AsyncStateCache, trigger_id: str) -> Found | Lookup:
        """Ask the cache; what it cannot answer comes back as it said so."""
        if trigger_id in self._unrepaired:
            return Lookup(reason="unrepaired")
        started = time.monotonic()
        since = 0 if self._memory is None else self._memory.changes
        return self._hit(trigger_id, await cache.get(trigger_id), since, started)

    async def _look_up_many(self, trigger_ids: list[str]) -> dict[str, Found | Lookup]:
        """Ask the in-process tier and the cache for many."""
        memory, started = self._memory, time.monotonic()
        since = 0 if memory is None else memory.changes
        answers: dict[str, Found | Lookup] = {}
        asked = []
        for trigger_id in trigger_ids:
            payload = None if memory is None else memory.get(trigger_id)
            if payload is not None:
                answers[trigger_id] = Found(payload, "memory")
            elif trigger_id in self._unrepaired:
                answers[trigger_id] = Lookup(reason="unrepaired")
            else:
                asked.append(trigger_id)
        lookups = {} if self._cache is None else await self._cache.get_many(asked)
        for trigger_id, lookup in lookups.items():
            answers[trigger_id] = self._hit(trigger_id, lookup, since, started)
        return answers

    def _hit(self, trigger_id: str, lookup: Lookup, since: int, started: float) -> Found | Lookup:
        payload = lookup.payload
        if payload is None or lookup.reason:
            return lookup._replace(spent_s=time.monotonic() - started)
        if payload is NOTHING:
            return Found(None, "hit")
        if self._memory is not None:
            self._listener.start()
            self._memory.store({trigger_id: Row(payload, lookup.version)}, since)
        return Found(payload, "hit")

    async def _fetch(
        self, cache: AsyncStateCache, misses: Mapping[str, Lookup]
    ) -> dict[str, Found]:
        """Ask PostgreSQL for what the cache did not know, once for all who ask at a time."""
        fences = {
            trigger_id: lookup.version if lookup.reason == "tombstone" else 0
            for trigger_id, lookup in misses.items()
        }
        call = partial(self._read_and_fill, cache, misses)
        anew = any(lookup.reason in _ANEW for lookup in misses.values())
        try:
            outcomes = await self._flights.run(fences, call, anew=anew)
        except DatabaseError:
            # What was only to be refreshed is still valid.
            if any(lookup.payload is None for lookup in misses.values()):
                raise
            return {key: Found(lookup.payload, "hit") for key, lookup in misses.items()}
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

    async def _read_and_fill(
        self,
        cache: AsyncStateCache,
        misses: Mapping[str, Lookup],
        trigger_ids: list[str],
        is_current: Callable[[str], bool],
    ) -> dict[str, Fetched]:
        """Return what PostgreSQL holds, and what the cache made of it."""
        since = 0 if self._memory is None else self._memory.changes
        # A cache that has just failed is not asked again.
        sound = [key for key in trigger_ids if misses[key].reason not in TROUBLE]
        spent_s = max(misses[key].spent_s for key in trigger_ids)
        moment = await cache.moment(spent_s) if sound else None
        began = time.monotonic()
        rows = await self._table.read(trigger_ids)
        fetched = {key: Fetched(rows[key].payload if key in rows else None) for key in trigger_ids}
        # Nor is it given what this manager itself has overwritten since.
        fills = {key: rows.get(key, Row(None, 0)) for key in sound if is_current(key)}
        if moment is None or not fills:
            return fetched
        sent = time.monotonic()
        outcomes = await cache.fill(fills, moment)
        self._lifetimes.note_fetch((time.monotonic() - began) * 1000)
        for key, outcome in outcomes.items():
            row, stored = fills[key], outcome is Put.STORED
            fetched[key] = Fetched(row.payload, sent if stored else None, outcome.settled)
            if outcome.settled:
                self._unrepaired.repaired(key, row.version)
            if stored and self._memory is not None and row.payload is not None:
                self._listener.start()
                self._memory.store({key: row}, since)
        return fetched

    # Writes: PostgreSQL first, then the cache.

    async def _begin(self) -> Moment | None:
        return None if self._cache is None else await self._cache.moment()

    async def _pass_on(self, written: Written) -> dict[str, Found]:
        """Tell the cache; until it has taken a key's version, the key is unrepaired."""
        cache = self._cache
        if cache is None:
            return await super()._pass_on(written)
        rows, moment, marked = written
        since = 0 if self._memory is None else self._memory.changes
        self._flights.forget(rows)
        self._lifetimes.note_write(*rows)
        outcomes: dict[str, Put] = {}
        sent = time.monotonic()
        missing = [key for key, row in rows.items() if not row.version]
        there = {key: row for key, row in rows.items() if row.version} if missing else rows
        try:
            if there and moment is not None:
                outcomes = await cache.put(there, moment)
            if missing:  # there was nothing to delete; whatever the cache holds is wrong
                await self._invalidate(cache, missing)
        finally:  # a cancelled caller's put may or may not have arrived
            failed = self._settle(there, outcomes, since)
        if failed and not marked:
            await self._mark(failed)
        return {
            key: Found(
                row.payload,
                "unrepaired" if key in failed else "committed",
                sent if outcomes.get(key) is Put.STORED else None,
            )
            for key, row in rows.items()
        }

    def _settle(
        self, written: Mapping[str, Row], outcomes: Mapping[str, Put], since: int
    ) -> dict[str, int]:
        """Remember what the cache took; return key → version of what it did not."""
        failed = {}
        stored, outdone, any_marked = {}, {}, bool(self._unrepaired)
        for key, row in written.items():
            outcome = outcomes.get(key, Put.FAILED)
            if outcome is Put.STORED and row.payload is not None:
                stored[key] = row
            else:  # nobody publishes what the cache did not take
                outdone[key] = row.version
            if not outcome.settled:
                failed[key] = row.version
                self._unrepaired.add(key, row.version)
            elif any_marked:
                self._unrepaired.repaired(key, row.version)
        if self._memory is not None:
            self._memory.store(stored, since)
            if outdone:
                self._memory.changed(outdone)
        if failed or self._config.repair_poll_secs:
            self._repairer.start()
        return failed

    async def _invalidate(self, cache: AsyncStateCache, trigger_ids: list[str]) -> None:
        self._flights.forget(trigger_ids)
        if self._memory is not None:
            self._memory.changed(dict.fromkeys(trigger_ids, ANY_VERSION))
        if not await cache.invalidate(trigger_ids):
            for trigger_id in trigger_ids:
                self._unrepaired.add(trigger_id, ANY_VERSION)
            self._repairer.start()

    def _in_doubt(self, trigger_ids: Iterable[str], error: BaseException | None) -> None:
        cause = None if error is None else error.__cause__
        never_sent = isinstance(error, ConfigError) or isinstance(cause, PoolTimeout)
        if self._cache is None or never_sent:
            return
        ids = list(trigger_ids)
        self._flights.forget(ids)
        for trigger_id in ids:
            self._unrepaired.add(trigger_id)
        if self._memory is not None:
            self._memory.changed(dict.fromkeys(ids, ANY_VERSION))
        self._repairer.start()

    def _marks(self) -> bool:
        """Return whether written keys are to be noted as dirty in the same statement."""
        return self._config.repair_poll_secs > 0 and (
            self._cache is None or self._cache.is_left_alone
        )


def _own_client(environ: Mapping[str, str] | None) -> AsyncRedis:
    url = url_from_env("REDIS_URL", environ)
    try:
        return AsyncRedis.from_url(url)
    except ValueError:
        raise ConfigError(
            "REDIS_URL is not an address of Redis: take the form redis://:password@host:port/0 "
            "(rediss:// for TLS, unix:// for a socket)."
        ) from None
