"""A server that fails in the middle of a measurement, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import redis

from statecache.errors import DatabaseError, first_line
from statecache.study.errors import ServersError, StudyError
from statecache.study.servers import Servers, open_database, open_redis

__all__ = ["cache_failure", "outages_named"]


@contextmanager
def outages_named(servers: Servers) -> Iterator[None]:
    """Say which server failed where a driver or a manager raises inside the block.

    Raises ``ServersError`` in its place: a server that does not answer now either is named.
    """
    try:
        yield
    except (psycopg.Error, redis.RedisError, DatabaseError) as error:
        named = ServersError(_sentence(servers, error))
        for note in getattr(error, "__notes__", ()):
            named.add_note(note)
        raise named from error


def cache_failure(count: int, reasons: Mapping[str, int]) -> StudyError:
    """Return what is raised where managers had so many errors from the cache, counted by reason."""
    advice = "the machine is too busy or Redis hangs, try again"
    if any("OutOfMemory" in reason for reason in reasons):
        advice = "Redis is full, raise its maxmemory"
    told = ", ".join(f"{reason} {times}" for reason, times in reasons.items() if times)
    return StudyError(f"the cache failed {count} times while it was measured ({told}): {advice}.")


def _sentence(servers: Servers, error: Exception) -> str:
    openers: tuple[Callable[[Servers], Any], ...] = (open_database, open_redis)
    for opened in openers:
        try:
            connection = opened(servers)
        except ServersError as silent:
            return f"{first_line(silent)}, in the middle of a measurement: start it."
        with suppress(psycopg.Error, redis.RedisError):
            connection.close()
    name = "Redis" if isinstance(error, redis.RedisError) else "PostgreSQL"
    return f"{name} failed in the middle of a measurement ({first_line(error)}): try again."
