"""Twin primitives: what differs between the asynchronous managers and the generated ones.

Names with ``Async`` stand for coroutines; ``tools/async_to_sync.py`` strips the prefix, which
leads to the twin below.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.retry
import redis.backoff
import redis.connection
import redis.retry
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from redis.maint_notifications import MaintNotificationsConfig

from statecache.errors import ConfigError

__all__ = [
    "AsyncCall",
    "AsyncConnectionPool",
    "AsyncEvent",
    "AsyncRedis",
    "Call",
    "ConnectionPool",
    "Event",
    "Redis",
    "async_client_pool",
    "async_time_limit",
    "client_pool",
    "time_limit",
]

AsyncRedis: TypeAlias = redis.asyncio.Redis
Redis: TypeAlias = redis.Redis

AsyncEvent = asyncio.Event
Event = threading.Event

T = TypeVar("T")

#: A call that several callers may share; it is passed what tells whether it is still current.
AsyncCall: TypeAlias = Callable[[Callable[[], bool]], Awaitable[T]]
Call: TypeAlias = Callable[[Callable[[], bool]], T]


def async_time_limit(seconds: float) -> asyncio.Timeout:
    """Limit what is awaited inside, connecting and waiting for a connection included."""
    return asyncio.timeout(seconds)


def time_limit(_seconds: float) -> AbstractContextManager[None]:
    """Limit nothing: in threads the socket's time-outs do."""
    return nullcontext()


def async_client_pool(client: AsyncRedis | None, _timeout_s: float) -> Any:
    """Return a pool that connects as the client does, but fails fast; see ``client_pool``."""
    if not isinstance(client, AsyncRedis):
        raise _wrong_client(client, "redis.asyncio.Redis")
    _check_connection(client, redis.asyncio.connection)
    return redis.asyncio.ConnectionPool(
        connection_class=client.connection_pool.connection_class,
        **_fail_fast(client)
        # async_time_limit covers all of a call; limits inside it would only cost time.
        | {"socket_timeout": None, "socket_connect_timeout": None}
        | {"retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)},
    )


def client_pool(client: Redis | None, timeout_s: float) -> Any:
    """Return a pool that connects as the client does, but fails fast.

    A client's defaults may hold a call for a minute (10 retries of 5 s), and may decode bytes.
    Raises ``ConfigError`` where it is no client of this kind.
    """
    if not isinstance(client, Redis):
        raise _wrong_client(client, "redis.Redis")
    _check_connection(client, redis.connection)
    return redis.ConnectionPool(
        connection_class=client.connection_pool.connection_class,
        **_fail_fast(client)
        | {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        | {"retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0)},
    )


def _wrong_client(client: object, wanted: str) -> ConfigError:
    return ConfigError(
        f"the cache client is of type {type(client).__name__}: pass a {wanted}, "
        "or set enabled=False."
    )


def _check_connection(client: AsyncRedis | Redis, module: Any) -> None:
    """Refuse a client whose connections need more than an address, such as Sentinel's."""
    plain = (module.Connection, module.SSLConnection, module.UnixDomainSocketConnection)
    found = client.connection_pool.connection_class
    if found not in plain:
        raise ConfigError(
            f"the cache client connects by {found.__name__}, which is not supported yet: pass a "
            "client of one server."
        )


def _fail_fast(client: AsyncRedis | Redis) -> dict[str, Any]:
    taken = {
        name: value
        for name, value in client.connection_pool.connection_kwargs.items()
        if name in _TAKEN or name.startswith("ssl")
    }
    return taken | {
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        # As many as there are callers at once: the default turns the 101st away.
        "max_connections": 1 << 16,
    }


#: Address and credentials, which are the client's; all else (its retries, decoding, health
#: checks) is ours.
_TAKEN = frozenset(
    {
        "client_name",
        "credential_provider",
        "db",
        "host",
        "password",
        "path",
        "port",
        "protocol",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_type",
        "username",
    }
)
