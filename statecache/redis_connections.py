"""How to make connections to Redis that fail fast, in twins.

They take address, credentials and TLS from a client. Its other settings stay behind: a client's
defaults may hold a call for a minute (10 retries of 5 s), decode bytes, or turn the 101st caller
away. ``tools/async_to_sync.py`` turns the names with ``Async`` or ``async_`` into their twins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.retry
import redis.backoff
import redis.connection
import redis.retry
from redis.maint_notifications import MaintNotificationsConfig

from statecache.errors import ConfigError

__all__ = [
    "AsyncRedis",
    "Redis",
    "async_connector",
    "connector",
]

AsyncRedis: TypeAlias = redis.asyncio.Redis
Redis: TypeAlias = redis.Redis

#: What is the client's; all else (its retries, decoding, health checks) is ours.
_TAKEN = frozenset(
    {
        "client_name",
        "credential_provider",
        "db",
        "host",
        "password",
        "path",
        "port",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_type",
        "username",
    }
)


def async_connector(client: AsyncRedis | None, _timeout_s: float) -> Callable[[], Any]:
    """Return what makes connections as the client's are made; see ``connector``."""
    # Each call has one time limit around it: two more inside it would only cost time.
    return _connector(client, AsyncRedis, redis.asyncio, None)


def connector(client: Redis | None, timeout_s: float) -> Callable[[], Any]:
    """Return what makes connections as the client's are made; they are not connected yet.

    Raises ``ConfigError`` where it is no client of this kind, or not of one server.
    """
    return _connector(client, Redis, redis, timeout_s)


def _connector(
    client: Any, wanted: Any, package: Any, timeout_s: float | None
) -> Callable[[], Any]:
    if not isinstance(client, wanted):
        raise ConfigError(
            f"the cache client is of type {type(client).__name__}: pass a "
            f"{package.__name__}.Redis, or set enabled=False."
        )
    pool, module = client.connection_pool, package.connection
    kind = pool.connection_class
    # Connections of others, such as Sentinel's, need more than an address.
    if kind not in (module.Connection, module.SSLConnection, module.UnixDomainSocketConnection):
        raise ConfigError(
            f"the cache client connects by {kind.__name__}, which is not supported yet: pass a "
            "client of one server."
        )
    taken = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if name in _TAKEN or name.startswith("ssl")
    }
    settings = taken | {
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": package.retry.Retry(redis.backoff.NoBackoff(), 0),
    }
    return lambda: kind(**settings)
