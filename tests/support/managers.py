"""Every kind of manager behind one synchronous face, for the conformance suite."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
import redis.asyncio
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from statecache import (
    AsyncCachedStateManager,
    AsyncStateManager,
    CacheConfig,
    CachedStateManager,
    StateManager,
)

KINDS = ("StateManager", "CachedStateManager", "AsyncStateManager", "AsyncCachedStateManager")
CACHED = tuple(kind for kind in KINDS if "Cached" in kind)
#: Every kind as it is by default, and with the tiers that can be added: name → (kind, settings).
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in KINDS},
    "CachedStateManager, memory": ("CachedStateManager", {"memory_items": 1_000}),
    "AsyncStateManager, gather": ("AsyncStateManager", {"gather": True}),
    "AsyncCachedStateManager, all": (
        "AsyncCachedStateManager",
        {"gather": True, "memory_items": 1_000, "compress_min_bytes": 200, "negative_ttl_secs": 5},
    ),
}

#: Pools are given this long to connect before they are used, in seconds: one that connects draws
#: lots, in a thread of its own, and hypothesis does not like that while it draws.
CONNECTED_S = 2.0


class LoopThread:
    """An event loop in a thread, so that asynchronous managers can be called from tests."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Synchronous:
    """An asynchronous manager whose coroutines are run to their end."""

    def __init__(self, manager: Any, thread: LoopThread) -> None:
        self.manager = manager
        self._thread = thread

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine in the manager's loop, to its end."""
        return self._thread.call(coroutine)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.manager, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *args, **kwargs: self._thread.call(found(*args, **kwargs))


@contextmanager
def open_manager(
    kind: str,
    database_url: str,
    redis_url: str,
    config: CacheConfig,
    *,
    autocommit: bool = True,
    pool_timeout: float = 10.0,
    observer: Callable[[Any], None] | None = None,
) -> Iterator[Any]:
    """Yield a manager of the kind, with a pool and a client of its own."""
    options: dict[str, Any] = {"config": config, "observer": observer}
    pool_options: dict[str, Any] = {
        "min_size": 1,
        "max_size": 8,
        "kwargs": {"autocommit": autocommit},
        "timeout": pool_timeout,
    }
    if kind in ("StateManager", "CachedStateManager"):
        with ConnectionPool(database_url, **pool_options) as pool:
            with suppress(PoolTimeout):
                pool.wait(CONNECTED_S)
            if kind == "StateManager":
                yield StateManager(pool, **options)
                return
            client = redis.Redis.from_url(redis_url)
            try:
                with CachedStateManager(pool, client, **options) as manager:
                    yield manager
            finally:
                client.close()
        return
    thread = LoopThread()
    try:
        yield from _open_async(kind, database_url, redis_url, options, pool_options, thread)
    finally:
        thread.close()


def _open_async(
    kind: str,
    database_url: str,
    redis_url: str,
    options: dict[str, Any],
    pool_options: dict[str, Any],
    thread: LoopThread,
) -> Iterator[Any]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(database_url, open=False, **pool_options)
    thread.call(pool.open())
    with suppress(PoolTimeout):
        thread.call(pool.wait(CONNECTED_S))
    try:
        if kind == "AsyncStateManager":
            yield Synchronous(AsyncStateManager(pool, **options), thread)
            return
        client = redis.asyncio.Redis.from_url(redis_url)
        manager = AsyncCachedStateManager(pool, client, **options)
        try:
            yield Synchronous(manager, thread)
        finally:
            thread.call(manager.aclose())
            thread.call(client.aclose())
    finally:
        thread.call(pool.close())
