"""Commands to the cache's server, behind a breaker: trouble is counted and logged, never raised."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple

import redis.exceptions

from statecache._async.link import AsyncLink
from statecache.breaker import Breaker
from statecache.config import CacheConfig
from statecache.redis_connections import AsyncRedis
from statecache.stats import Tally

__all__ = ["FAILED", "FENCE_SCRIPT", "PUT_SCRIPT", "AsyncCommands", "Script"]

log = logging.getLogger("statecache")

#: Replies that no server sends.
FAILED: Any = object()
_UNKNOWN_SCRIPT: Any = object()

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


class Script(NamedTuple):
    """A Lua script, and the digest by which a server knows it."""

    source: bytes
    digest: str

    @classmethod
    def read(cls, name: str) -> Script:
        """Read a script of this package."""
        source = resources.files("statecache").joinpath(f"lua/{name}.lua").read_bytes()
        return cls(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


PUT_SCRIPT, FENCE_SCRIPT = Script.read("put"), Script.read("fence")


class AsyncCommands:
    """Sends commands while the breaker lets callers through; who sends asks ``breaker`` first."""

    def __init__(self, client: AsyncRedis | None, config: CacheConfig, tally: Tally) -> None:
        self.link = AsyncLink(client, config.timeout_ms / 1000)
        self.breaker = Breaker(config.breaker_threshold, config.breaker_max_wait_ms)
        self._tally = tally
        #: Operations that the server refuses, and whose refusal has been logged.
        self._refused: set[str] = set()

    async def call(self, operation: str, seconds: float, *command: Any) -> Any:
        """Send a command; return its reply, or ``FAILED`` after noting the trouble."""
        self._tally.add(f"command:{command[0]}")
        try:
            reply = await self.link.call(seconds, *command)
        except redis.exceptions.NoScriptError:
            return _UNKNOWN_SCRIPT
        except Exception as error:  # whatever ails the cache, the caller is not to feel it
            if str(error).startswith("WRONGTYPE"):  # what the key holds is no entry of ours
                return b""
            self._note_trouble(operation, error)
            return FAILED
        if self.breaker.succeeded() or operation in self._refused:
            self._refused.discard(operation)
            log.warning("the cache answers again")
        return reply

    async def run(
        self, script: Script, operation: str, seconds: float, keys: Sequence[str], *values: Any
    ) -> Any:
        """Run a script, which the server is sent where it does not know it, as ``call`` does."""
        given = (len(keys), *keys, *values)
        reply = await self.call(operation, seconds, "EVALSHA", script.digest, *given)
        if reply is _UNKNOWN_SCRIPT:
            reply = await self.call(operation, seconds, "EVAL", script.source, *given)
        return reply

    def _note_trouble(self, operation: str, error: Exception) -> None:
        name = type(error).__name__
        self._tally.add(f"error:{operation}:{name}")
        if isinstance(error, _UNWELL):
            begins = self.breaker.failed()
        else:  # full or read-only, say: a server that answers, but refuses
            begins = operation not in self._refused
            self._refused.add(operation)
        if begins:
            text = "the cache cannot %s (%s: %s): PostgreSQL answers until it is back"
            log.warning(text, operation, name, error)
