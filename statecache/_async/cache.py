"""The entries in Redis: no trouble with them ever reaches the caller."""

from __future__ import annotations

import enum
import hashlib
import logging
import time
from importlib import resources
from typing import Any, NamedTuple

import redis.exceptions

from statecache._acompat import AsyncRedis, async_client_pool, async_time_limit
from statecache.breaker import Breaker
from statecache.clock import ServerClock
from statecache.config import CacheConfig
from statecache.entry import STATE, TOMBSTONE, format_entry, parse_entry
from statecache.stats import Tally

__all__ = ["AsyncStateCache", "Lookup", "Put"]

log = logging.getLogger("statecache")

_PUT = resources.files("statecache").joinpath("lua/put.lua").read_bytes()
_PUT_SHA = hashlib.sha1(_PUT, usedforsecurity=False).hexdigest()

#: What says that the server is in trouble, as opposed to one key or one command.
_UNWELL = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.AuthenticationError,
    redis.exceptions.NoPermissionError,
    OSError,
    TimeoutError,
)


class Lookup(NamedTuple):
    """What the cache said: the payload of a hit, or else the reason of a miss."""

    payload: bytes | None = None
    reason: str = ""
    #: Version of the tombstone that was met, 0 for none.
    fence: int = 0


class Put(enum.Enum):
    """What became of an entry that was to be put."""

    STORED = 1
    #: The cache holds something newer, or a tombstone that this entry may not pass.
    SUPERSEDED = 0
    #: The fill came after its deadline.
    LATE = -1
    #: The cache did not take it, or nobody knows.
    FAILED = -2

    @property
    def settled(self) -> bool:
        """Whether the cache certainly holds this version or a newer one."""
        return self is Put.STORED or self is Put.SUPERSEDED


class AsyncStateCache:
    """Gets and puts versioned entries over connections of its own that fail fast."""

    def __init__(self, client: AsyncRedis | None, config: CacheConfig, tally: Tally) -> None:
        self._timeout_s = config.timeout_ms / 1000
        self._pool = async_client_pool(client, self._timeout_s)
        self._redis: Any = AsyncRedis(connection_pool=self._pool)
        self._prefix = config.key_prefix
        self._ttl_ms = config.ttl_ms
        self._tombstone_ms = config.tombstone_ms
        self._fill_deadline_ms = config.effective_fill_deadline_ms
        self._tally = tally
        self._clock = ServerClock()
        #: Operations that the server refuses, and whose refusal has been logged.
        self._refused: set[str] = set()
        self._breaker = Breaker(config.breaker_threshold, config.breaker_max_wait_ms)

    async def get(self, trigger_id: str) -> Lookup:
        """Look the state up; the caller counts the hit once the payload has proved readable."""
        if not self._breaker.allows():
            return Lookup(reason="bypassed")
        raw = await self._call("get", "GET", self._prefix + trigger_id)
        if raw is None or raw is _FAILED:
            return Lookup(reason="absent" if raw is None else "error")
        entry = None if raw is _OTHER_TYPE else parse_entry(raw)
        if entry is None:
            return Lookup(reason="corrupt")
        if entry.kind == TOMBSTONE:
            return Lookup(reason="tombstone", fence=entry.version)
        return Lookup(payload=entry.payload)

    async def put(self, trigger_id: str, version: int, payload: bytes | None) -> Put:
        """Put what a write committed, a tombstone for ``None``."""
        if payload is None:
            entry, ttl_ms = format_entry(version, TOMBSTONE), self._tombstone_ms
        else:
            entry, ttl_ms = format_entry(version, STATE, payload), self._ttl_ms
        # Else a put that waits in a stopped server's socket would arrive when it is long outdated.
        deadline_ms = await self._deadline(time.monotonic())
        if deadline_ms is None:
            return Put.FAILED
        outcome = await self._put("put", trigger_id, entry, ttl_ms, deadline_ms)
        if outcome is not Put.FAILED:
            self._tally.add(f"put_{outcome.name.lower()}")
        return outcome

    async def fill(self, trigger_id: str, version: int, payload: bytes, read_at: float) -> Put:
        """Put what PostgreSQL was asked for at ``read_at``, monotonic seconds, unless too late."""
        deadline_ms = await self._deadline(read_at)
        if deadline_ms is None:
            return Put.FAILED
        entry = format_entry(version, STATE, payload)
        outcome = await self._put("fill", trigger_id, entry, self._ttl_ms, deadline_ms)
        if outcome is not Put.FAILED:
            self._tally.add("fill" if outcome is Put.STORED else "fill_dropped")
        return outcome

    async def aclose(self) -> None:
        """Close the connections that this cache made; the client it was given stays open."""
        await self._redis.aclose()
        await self._pool.disconnect()

    async def _put(
        self, operation: str, trigger_id: str, entry: bytes, ttl_ms: int, deadline_ms: int
    ) -> Put:
        values = (1, self._prefix + trigger_id, entry, ttl_ms, deadline_ms)
        reply = await self._call(operation, "EVALSHA", _PUT_SHA, *values)
        if reply is _UNKNOWN_SCRIPT:
            reply = await self._call(operation, "EVAL", _PUT, *values)
        if reply in (_FAILED, _UNKNOWN_SCRIPT, _OTHER_TYPE):
            return Put.FAILED
        outcome, server_ms = reply
        self._clock.observe(server_ms)
        return Put(outcome)

    async def _deadline(self, since: float) -> int | None:
        """Return until when an entry as of ``since`` may arrive, by the server's clock in ms.

        ``None`` where the cache is to be left alone, or does not tell its time.
        """
        if not self._breaker.allows():
            return None
        if not self._clock.is_known and not await self._ask_time():
            return None
        return self._clock.at(since) + self._fill_deadline_ms

    async def _ask_time(self) -> bool:
        reply = await self._call("time", "TIME")
        if reply is _FAILED:
            return False
        seconds, microseconds = reply
        self._clock.observe(int(seconds) * 1000 + int(microseconds) / 1000)
        return True

    async def _call(self, operation: str, *command: Any) -> Any:
        """Send a command; return its reply, or ``_FAILED`` after noting the trouble."""
        try:
            async with async_time_limit(self._timeout_s):
                reply = await self._redis.execute_command(*command)
        except redis.exceptions.NoScriptError:
            return _UNKNOWN_SCRIPT
        except redis.exceptions.ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                return _OTHER_TYPE
            self._note_trouble(operation, error)
            return _FAILED
        except Exception as error:  # whatever ails the cache, the caller is not to feel it
            self._note_trouble(operation, error)
            return _FAILED
        if self._breaker.succeeded() or operation in self._refused:
            self._refused.discard(operation)
            log.warning("the cache answers again")
        return reply

    def _note_trouble(self, operation: str, error: Exception) -> None:
        self._tally.add(f"error:{operation}:{type(error).__name__}")
        if isinstance(error, _UNWELL):
            begins = self._breaker.failed()
        else:  # full or read-only, say: a server that answers, but refuses
            begins = operation not in self._refused
            self._refused.add(operation)
        if begins:
            log.warning(
                "the cache cannot %s (%s: %s): PostgreSQL answers until it is back",
                operation,
                type(error).__name__,
                error,
            )


#: Replies that no server sends.
_FAILED: Any = object()
_OTHER_TYPE: Any = object()
_UNKNOWN_SCRIPT: Any = object()
