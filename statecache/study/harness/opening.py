"""Pools, clients and managers of a measurement, closed together at its end."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
import redis.asyncio
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from statecache import (
    AsyncCachedStateManager,
    AsyncStateManager,
    CacheConfig,
    CachedStateManager,
    Observer,
    StateManager,
)
from statecache.study.harness.outages import cache_failure
from statecache.study.servers import Servers

__all__ = ["APPLICATION", "Opening", "PoolOptions"]

#: How PostgreSQL knows the connections whose CPU time is counted.
APPLICATION = "statecache bench"

#: How long a caller waits for a connection, in seconds: much longer than any queue of callers
#: takes, and no longer than one wants to wait for the news that the server is gone.
CONNECTION_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What all connections of a pool have in common."""

    synchronous_commit: bool = True

    def statement(self) -> str:
        """Return what sets a connection up: compiling a statement of microseconds only delays."""
        commit = "on" if self.synchronous_commit else "off"
        # One statement, of parameters that are our own words.
        settings = {"jit": "off", "synchronous_commit": commit}
        calls = (f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        return f"SELECT {', '.join(calls)}"


DEFAULT = PoolOptions()


class Opening(AsyncExitStack):
    """Opens what a measurement needs; at the end everything is closed.

    Pools are shared by those who ask for the same size and options. A measurement during which a
    cache failed is worth nothing: ``check`` refuses it.
    """

    def __init__(self, servers: Servers) -> None:
        super().__init__()
        self._servers = servers
        self._managers: list[StateManager | AsyncStateManager] = []
        self._pools: dict[tuple[int, PoolOptions], ConnectionPool[Any]] = {}
        self._async_pools: dict[tuple[int, PoolOptions], AsyncConnectionPool[Any]] = {}

    def pool(self, size: int, options: PoolOptions = DEFAULT) -> ConnectionPool[Any]:
        """Return a pool of ``size`` open connections in autocommit mode."""
        pool = self._pools.get((size, options))
        if pool is None:

            def configure(connection: psycopg.Connection[Any]) -> None:
                connection.execute(options.statement().encode())

            pool = self._pools[size, options] = ConnectionPool(
                self._servers.database_url, open=False, configure=configure, **_pool_options(size)
            )
            self.enter_context(pool).wait()
        return pool

    async def async_pool(
        self, size: int, options: PoolOptions = DEFAULT
    ) -> AsyncConnectionPool[Any]:
        """Return the same for coroutines."""
        pool = self._async_pools.get((size, options))
        if pool is None:

            async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
                await connection.execute(options.statement().encode())

            pool = self._async_pools[size, options] = AsyncConnectionPool(
                self._servers.database_url, open=False, configure=configure, **_pool_options(size)
            )
            await (await self.enter_async_context(pool)).wait()
        return pool

    def client(self) -> redis.Redis:
        """Return a client with redis-py's defaults."""
        client: redis.Redis = redis.Redis.from_url(self._servers.redis_url)
        self.callback(client.close)
        return client

    def async_client(self) -> redis.asyncio.Redis:
        """Return the same for coroutines."""
        client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(self._servers.redis_url)
        self.push_async_callback(client.aclose)
        return client

    def manager(self, pool: ConnectionPool[Any], config: CacheConfig) -> StateManager:
        """Return a manager on PostgreSQL alone."""
        manager = self.enter_context(StateManager(pool, config=config))
        self._managers.append(manager)
        return manager

    def cached(self, pool: ConnectionPool[Any], config: CacheConfig) -> CachedStateManager:
        """Return a manager with a cache."""
        manager = self.enter_context(CachedStateManager(pool, self.client(), config=config))
        self._managers.append(manager)
        return manager

    async def async_manager(
        self,
        pool: AsyncConnectionPool[Any],
        config: CacheConfig,
        observer: Observer | None = None,
    ) -> AsyncStateManager:
        """Return a manager on PostgreSQL alone, for coroutines."""
        manager = await self.enter_async_context(
            AsyncStateManager(pool, config=config, observer=observer)
        )
        self._managers.append(manager)
        return manager

    async def async_cached(
        self,
        pool: AsyncConnectionPool[Any],
        config: CacheConfig,
        observer: Observer | None = None,
    ) -> AsyncCachedStateManager:
        """Return a manager with a cache, for coroutines."""
        client = self.async_client()
        manager = await self.enter_async_context(
            AsyncCachedStateManager(pool, client, config=config, observer=observer)
        )
        self._managers.append(manager)
        return manager

    def check(self) -> None:
        """Raise ``StudyError`` where a cache failed under one of the managers."""
        for manager in self._managers:
            stats = manager.get_cache_stats()
            if stats.errors:
                raise cache_failure(stats.errors, stats.errors_by_reason)


def _pool_options(size: int) -> dict[str, Any]:
    return {
        "min_size": size,
        "max_size": size,
        "timeout": CONNECTION_LIMIT_S,
        "kwargs": {"autocommit": True, "application_name": APPLICATION},
    }
