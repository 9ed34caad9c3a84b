"""Connections that a manager makes itself, to the addresses in the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from statecache._acompat import AsyncConnectionPool
from statecache.config import CacheConfig, check_database_url, url_from_env
from statecache.errors import ConfigError
from statecache.redis_connections import AsyncRedis

__all__ = ["client_from_env", "pool_maker_from_env"]


def pool_maker_from_env(
    config: CacheConfig, environ: Mapping[str, str] | None
) -> Callable[[], AsyncConnectionPool[Any]]:
    """Return what makes unopened pools for ``DATABASE_URL``; errors keep the address secret."""
    url = check_database_url(url_from_env("DATABASE_URL", environ), "DATABASE_URL")
    return partial(
        AsyncConnectionPool,
        url,
        kwargs={"autocommit": True, "connect_timeout": 5, "client_encoding": "utf8"},
        min_size=1,
        max_size=config.pool_size,
        timeout=config.db_timeout_ms / 1000,
        open=False,
        name="statecache",
    )


def client_from_env(environ: Mapping[str, str] | None) -> AsyncRedis:
    """Return a client for ``REDIS_URL``, which gives the address and never connects itself."""
    url = url_from_env("REDIS_URL", environ)
    try:
        return AsyncRedis.from_url(url)
    except ValueError:
        raise ConfigError(
            "REDIS_URL is not an address of Redis: take the form redis://:password@host:port/0 "
            "(rediss:// for TLS, unix:// for a socket)."
        ) from None
