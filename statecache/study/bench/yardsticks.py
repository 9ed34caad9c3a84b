"""Other cache libraries, set up the way that is fastest for them.

They hold the same documents on the same server. Where a library lets its user choose how values
are encoded, it gets bytes and orjson, as ours has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import redis
from aiocache.backends.redis import RedisCache
from aiocache.serializers import BaseSerializer
from cashews import Cache
from dogpile.cache import make_region

__all__ = [
    "AsyncLoader",
    "Loader",
    "Yardstick",
    "aiocache_through",
    "cashews_client_side",
    "cashews_through",
    "dogpile_through",
]

TTL_S = 3_600

#: Reads a state from PostgreSQL by hand: trigger id → JSON text.
Loader: TypeAlias = Callable[[str], str]
AsyncLoader: TypeAlias = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Reads through a cache: ``load`` returns the state, synchronously or as a coroutine."""

    load: Callable[[str], Any]
    #: The key that an entry stands under in Redis.
    key: Callable[[str], str]


def dogpile_through(url: str, prefix: str, read: Loader) -> Yardstick:
    """Set dogpile.cache up, synchronous: ``get_or_create``, which is what it is for."""
    region = make_region(serializer=orjson.dumps, deserializer=orjson.loads).configure(
        "dogpile.cache.redis",
        expiration_time=TTL_S,
        arguments={"url": url, "redis_expiration_time": 2 * TTL_S},
    )

    def load(trigger_id: str) -> Any:
        return region.get_or_create(prefix + trigger_id, lambda: orjson.loads(read(trigger_id)))

    return Yardstick(load, lambda trigger_id: prefix + trigger_id)


@asynccontextmanager
async def cashews_through(url: str, prefix: str, read: AsyncLoader) -> AsyncIterator[Yardstick]:
    """Open cashews: get, and set after a miss; values are the bytes that orjson decodes."""
    cache = Cache()
    cache.setup(url, pickle_type="null", check_repr=False)

    async def load(trigger_id: str) -> Any:
        key = prefix + trigger_id
        found: bytes | None = await cache.get(key)
        if found is None:
            found = (await read(trigger_id)).encode()
            await cache.set(key, found, expire=TTL_S)
        return orjson.loads(found)

    try:
        yield Yardstick(load, lambda trigger_id: prefix + trigger_id)
    finally:
        await cache.close()


@asynccontextmanager
async def cashews_client_side(url: str, prefix: str) -> AsyncIterator[Cache]:
    """Open cashews with its client-side tier.

    A hit returns the very object that is held, which callers must not change: nothing is decoded.
    """
    cache = Cache()
    cache.setup(url, client_side=True, client_side_prefix=prefix, check_repr=False)
    await cache.init()
    try:
        yield cache
    finally:
        await cache.close()


@asynccontextmanager
async def aiocache_through(url: str, prefix: str, read: AsyncLoader) -> AsyncIterator[Yardstick]:
    """Open aiocache: get, and set after a miss; orjson encodes and decodes."""
    where: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    cache = RedisCache(
        serializer=_Orjson(),
        endpoint=where["host"],
        port=where.get("port", 6379),
        db=where.get("db", 0),
        password=where.get("password"),
        connection_pool_kwargs={"username": where.get("username")},
    )

    async def load(trigger_id: str) -> Any:
        key = prefix + trigger_id
        state = await cache.get(key)
        if state is None:
            state = orjson.loads(await read(trigger_id))
            await cache.set(key, state, ttl=TTL_S)
        return state

    try:
        yield Yardstick(load, lambda trigger_id: prefix + trigger_id)
    finally:
        await cache.close()


class _Orjson(BaseSerializer):  # type: ignore[misc] # aiocache is not typed
    """What aiocache takes as an encoding; ``None`` is a value that is not there."""

    DEFAULT_ENCODING = None

    def dumps(self, value: Any) -> bytes:
        """Return the value as JSON."""
        return orjson.dumps(value)

    def loads(self, value: bytes | None) -> Any:
        """Return what was encoded."""
        return None if value is None else orjson.loads(value)
