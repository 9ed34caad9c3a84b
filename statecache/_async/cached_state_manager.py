"""The manager that keeps states in PostgreSQL and reads them through Redis."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from statecache._acompat import AsyncConnectionPool
from statecache._async.cached_store import AsyncCachedStore
from statecache._async.environment import client_from_env, pool_maker_from_env
from statecache._async.state_manager import AsyncStateManager
from statecache.access import Observer
from statecache.config import CacheConfig
from statecache.redis_connections import AsyncRedis
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
        if config.enabled:
            self._store = AsyncCachedStore(self._table, redis, config, self._tally, self._wants)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a manager from ``DATABASE_URL``, ``REDIS_URL`` and ``STATE_CACHE_*``.

        It owns its connections: close it. ``STATE_CACHE_ENABLED=false`` is the rollback, for which
        ``REDIS_URL`` need not be set. Raises ``ConfigError`` before anything connects.
        """
        config = CacheConfig.from_env(environ)
        client = client_from_env(environ) if config.enabled else None
        make_pool = pool_maker_from_env(config, environ)
        manager = cls(make_pool(), client, config=config)
        manager._table.own(make_pool)
        return manager

    def get_cache_stats(self) -> CacheStats:
        """Return what this manager did so far; see ``CacheStats``."""
        return self._store.stats(self._config.ttl_secs)
