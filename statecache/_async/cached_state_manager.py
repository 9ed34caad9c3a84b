"""The manager that keeps states in PostgreSQL and reads them through Redis."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from statecache._acompat import AsyncConnectionPool, AsyncRedis
from statecache._async.cache import AsyncStateCache, Lookup, Put
from statecache._async.single_flight import AsyncSingleFlight
from statecache._async.state_manager import AsyncStateManager, own_pool
from statecache.access import Observer
from statecache.codec import decode_state
from statecache.config import CacheConfig, url_from_env
from statecache.errors import ConfigError, InvalidState
from statecache.repair import Unrepaired
from statecache.stats import CacheStats

__all__ = ["AsyncCachedStateManager"]


class AsyncCachedStateManager(AsyncStateManager):
    """The same API through a cache: write-through, cache-aside reads, PostgreSQL as the truth.

    ``pool`` is an open psycopg connection pool and ``redis`` a client; both stay the caller's.
    From the client only address, credentials and TLS are taken: the manager makes connections of
    its own that give up after ``timeout_ms``. ``cache_ttl_secs`` overrides ``config.ttl_secs``.
    With ``enabled=False`` the client may be ``None`` and no connection to Redis is opened.

    No trouble with the cache fails a call; it is counted in ``get_cache_stats``.
    """

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
        self._cache = AsyncStateCache(redis, config, self._tally) if config.enabled else None
        fill_deadline_s = config.effective_fill_deadline_ms / 1000
        self._flights: AsyncSingleFlight[tuple[bytes | None, float | None]] = AsyncSingleFlight(
            fill_deadline_s
        )
        # An outdated entry can arrive until its deadline, and live for a TTL from then on.
        self._unrepaired = Unrepaired(config.ttl_secs + fill_deadline_s)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a manager from ``DATABASE_URL``, ``REDIS_URL`` and ``STATE_CACHE_*``.

        It owns its connections: close it. ``STATE_CACHE_ENABLED=false`` is the rollback, for which
        ``REDIS_URL`` need not be set. Raises ``ConfigError`` before anything connects.
        """
        config = CacheConfig.from_env(environ)
        client = _own_client(environ) if config.enabled else None
        manager = cls(own_pool(config, environ), client, config=config)
        manager._table.owns_pool = True
        return manager

    def get_cache_stats(self) -> CacheStats:
        """Return what this manager did so far; see ``CacheStats``."""
        return self._tally.snapshot(enabled=self._config.enabled, ttl_secs=self._config.ttl_secs)

    async def aclose(self) -> None:
        """Close the connections the manager made; pool and client that were passed in stay."""
        if self._cache is not None:
            await self._cache.aclose()
        await super().aclose()

    # Reads: cache-aside.

    async def _load(self, trigger_id: str) -> tuple[Any, str, float | None]:
        if self._cache is None:
            return await super()._load(trigger_id)
        lookup = await self._look_up(self._cache, trigger_id)
        if lookup.payload is not None:
            try:
                state = decode_state(lookup.payload)
            except ValueError:
                lookup = Lookup(reason="corrupt")
            else:
                self._tally.add("hit")
                return state, "hit", None
        self._tally.add(f"miss:{lookup.reason}")
        (payload, armed), shared = await self._flights.run(
            trigger_id,
            partial(self._read_and_fill, self._cache, trigger_id, lookup),
            fence=lookup.fence,
        )
        if shared:
            self._tally.add("coalesced")
        state = None if payload is None else decode_state(payload)
        return state, lookup.reason, None if shared else armed

    async def _look_up(self, cache: AsyncStateCache, trigger_id: str) -> Lookup:
        if trigger_id in self._unrepaired:
            return Lookup(reason="unrepaired")
        return await cache.get(trigger_id)

    async def _read_and_fill(
        self,
        cache: AsyncStateCache,
        trigger_id: str,
        lookup: Lookup,
        is_current: Callable[[], bool],
    ) -> tuple[bytes | None, float | None]:
        """Return the payload that PostgreSQL holds, and when it was sent to the cache."""
        read_at = time.monotonic()
        row = await self._table.read(trigger_id)
        if row is None or row.payload is None:
            return None, None
        # A cache that has just failed is not asked again.
        # Nor is it given what this manager itself has overwritten since.
        if lookup.reason in ("error", "bypassed") or not is_current():
            return row.payload, None
        sent = time.monotonic()
        outcome = await cache.fill(trigger_id, row.version, row.payload, read_at)
        if outcome.settled:
            self._unrepaired.repaired(trigger_id, row.version)
        return row.payload, sent if outcome is Put.STORED else None

    # Writes: PostgreSQL first, then the cache.

    async def _write(self, trigger_id: str, encoded: bytes) -> tuple[str, float | None]:
        if self._cache is None:
            return await super()._write(trigger_id, encoded)
        try:
            row = await self._table.write(trigger_id, encoded)
        except InvalidState:
            raise
        except BaseException:
            self._outcome_unknown(trigger_id)
            raise
        return await self._pass_on(self._cache, trigger_id, row.version, row.payload)

    async def _delete(self, trigger_id: str) -> tuple[str, float | None]:
        if self._cache is None:
            return await super()._delete(trigger_id)
        try:
            version = await self._table.delete(trigger_id)
        except BaseException:
            self._outcome_unknown(trigger_id)
            raise
        if version is None:  # there never was such a state: nothing to tell the cache
            return "committed", None
        return await self._pass_on(self._cache, trigger_id, version, None)

    async def _expired(self, versions: Mapping[str, int]) -> None:
        if self._cache is not None:
            for trigger_id, version in versions.items():
                await self._pass_on(self._cache, trigger_id, version, None)

    async def _pass_on(
        self, cache: AsyncStateCache, trigger_id: str, version: int, payload: bytes | None
    ) -> tuple[str, float | None]:
        """Tell the cache what was committed; until it has taken it, the key is unrepaired."""
        self._flights.forget(trigger_id)
        outcome, sent = Put.FAILED, time.monotonic()
        try:
            outcome = await cache.put(trigger_id, version, payload)
        finally:  # a cancelled caller's put may or may not have arrived
            if outcome.settled:
                self._unrepaired.repaired(trigger_id, version)
            else:
                self._unrepaired.add(trigger_id, version)
        armed = sent if outcome is Put.STORED else None
        return "committed" if outcome.settled else "unrepaired", armed

    def _outcome_unknown(self, trigger_id: str) -> None:
        """Cancelled, or the connection lost while committing: the write may stand."""
        self._flights.forget(trigger_id)
        self._unrepaired.add(trigger_id)


def _own_client(environ: Mapping[str, str] | None) -> AsyncRedis:
    url = url_from_env("REDIS_URL", environ)
    try:
        return AsyncRedis.from_url(url)
    except ValueError:
        raise ConfigError(
            "REDIS_URL is not an address of Redis: take the form redis://:password@host:port/0 "
            "(rediss:// for TLS, unix:// for a socket)."
        ) from None
