"""The manager that keeps states in PostgreSQL alone."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from statecache._acompat import AsyncConnectionPool
from statecache._async.table import AsyncStateTable
from statecache.access import Access, Observer
from statecache.codec import check_trigger_id, decode_state, encode_state
from statecache.config import CacheConfig, check_database_url, url_from_env
from statecache.errors import ConfigError
from statecache.stats import CacheStats, Tally

__all__ = ["AsyncStateManager", "own_pool"]

#: Deleted rows keep their version at least this long, so that re-creation is ordered behind them.
PURGE_AFTER_S = 86_400.0

MAX_RETENTION_DAYS = 36_500


class AsyncStateManager:
    """Keeps one JSON state a trigger in PostgreSQL.

    ``pool`` is an open psycopg connection pool, in autocommit mode or not; it stays the caller's.
    ``config`` gives the schema and the size limit; of what it says about the cache only the TTL
    counts here, for ``cleanup_expired``: give it the longest one that caching managers use.
    ``observer`` is told of every load, update and delete that did not fail.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        *,
        config: CacheConfig | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer
        self._config = config or CacheConfig()
        self._tally = Tally()
        self._table = AsyncStateTable(pool, self._config, self._tally)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a manager from ``DATABASE_URL`` and ``STATE_CACHE_*`` that owns its connections.

        Raises ``ConfigError`` before anything connects.
        """
        config = CacheConfig.from_env(environ)
        manager = cls(own_pool(config, environ), config=config)
        manager._table.owns_pool = True
        return manager

    async def load_state(self, trigger_id: str) -> Any:
        """Return the state as a fresh JSON value, or ``None`` where there is none.

        Raises ``InvalidTriggerId`` or ``DatabaseError``.
        """
        check_trigger_id(trigger_id)
        started = time.monotonic()
        state, outcome, armed = await self._load(trigger_id)
        self._tell("load", trigger_id, outcome, started, armed)
        return state

    async def update_state(self, trigger_id: str, state_data: Any) -> None:
        """Store the state; once this returns, it is committed.

        Raises ``InvalidTriggerId``, ``InvalidState`` (nothing is written then) or
        ``DatabaseError``.
        """
        check_trigger_id(trigger_id)
        encoded = encode_state(state_data, self._config.max_state_bytes)
        started = time.monotonic()
        outcome, armed = await self._write(trigger_id, encoded)
        self._tell("update", trigger_id, outcome, started, armed)

    async def delete_state(self, trigger_id: str) -> None:
        """Remove the state; once this returns, that is committed. No state is no error.

        Raises ``InvalidTriggerId`` or ``DatabaseError``.
        """
        check_trigger_id(trigger_id)
        started = time.monotonic()
        outcome, armed = await self._delete(trigger_id)
        self._tell("delete", trigger_id, outcome, started, armed)

    async def cleanup_expired(self, retention_days: float) -> int:
        """Delete states not updated for ``retention_days`` days, in batches.

        Safe while writers run: a row that is being written is left alone. Returns the number of
        states deleted. Raises ``ConfigError`` for a negative retention, or ``DatabaseError``.
        """
        if not (math.isfinite(retention_days) and 0 <= retention_days <= MAX_RETENTION_DAYS):
            raise ConfigError(
                f"retention_days is {retention_days!r}: take 0 to {MAX_RETENTION_DAYS} days."
            )
        deleted = 0
        async for batch in self._table.expire(retention_days * 86_400):
            deleted += len(batch)
            await self._expired(batch)
        await self._table.purge(max(PURGE_AFTER_S, 2 * self._config.ttl_secs))
        return deleted

    async def get_state_count(self) -> int:
        """Return the number of states."""
        return await self._table.count()

    def get_cache_stats(self) -> CacheStats:
        """Return what this manager did so far; see ``CacheStats``."""
        return self._tally.snapshot(enabled=False, ttl_secs=0.0)

    async def aclose(self) -> None:
        """Close what the manager made itself; a pool that was passed in stays open."""
        await self._table.aclose()

    async def __aenter__(self) -> Self:
        await self._table.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _tell(
        self, operation: str, trigger_id: str, outcome: str, started: float, armed: float | None
    ) -> None:
        if self._observer is not None:
            self._observer(Access(operation, trigger_id, outcome, started, time.monotonic(), armed))

    # What a manager with a cache does in its own way. The last two of what each returns are for
    # the observer: the outcome, and when an entry was sent to the cache, if one was.

    async def _load(self, trigger_id: str) -> tuple[Any, str, float | None]:
        row = await self._table.read(trigger_id)
        state = None if row is None or row.payload is None else decode_state(row.payload)
        return state, "database", None

    async def _write(self, trigger_id: str, encoded: bytes) -> tuple[str, float | None]:
        await self._table.write(trigger_id, encoded)
        return "committed", None

    async def _delete(self, trigger_id: str) -> tuple[str, float | None]:
        await self._table.delete(trigger_id)
        return "committed", None

    async def _expired(self, versions: Mapping[str, int]) -> None:
        """Hear that these states were deleted by ``cleanup_expired``."""


def own_pool(config: CacheConfig, environ: Mapping[str, str] | None) -> AsyncConnectionPool[Any]:
    """Return an unopened pool for ``DATABASE_URL``; the message of an error keeps it secret."""
    url = check_database_url(url_from_env("DATABASE_URL", environ), "DATABASE_URL")
    return AsyncConnectionPool(
        url,
        kwargs={"autocommit": True, "connect_timeout": 5},
        min_size=1,
        max_size=config.pool_size,
        timeout=5.0,
        open=False,
        name="statecache",
    )
