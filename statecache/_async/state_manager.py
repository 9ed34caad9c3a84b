"""The managers' API, on PostgreSQL alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from statecache._acompat import AsyncConnectionPool
from statecache._async.environment import pool_maker_from_env
from statecache._async.store import AsyncStore, decoded
from statecache._async.table import AsyncStateTable
from statecache.access import Access, Observer, wanted_by
from statecache.codec import (
    check_trigger_id,
    check_trigger_ids,
    check_version,
    decode_state,
    encode_state,
)
from statecache.config import CacheConfig, check_number
from statecache.lookup import Found
from statecache.stats import CacheStats, Tally
from statecache.verification import Verification

__all__ = ["AsyncStateManager"]

MAX_RETENTION_DAYS = 36_500

#: More than anybody keeps: the largest number of states that can be asked for.
MAX_STATES = 1_000_000_000


class AsyncStateManager:
    """Keeps one JSON state a trigger in PostgreSQL.

    ``pool`` is an open psycopg connection pool, in autocommit mode or not; it stays the caller's.
    ``config`` gives the schema and the limits; of what it says about the cache only the TTL
    counts here, for ``cleanup_expired``: give it the longest one that caching managers use.
    ``observer`` is told of every load, update and delete that did not fail, of the keys it wants.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        *,
        config: CacheConfig | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer
        self._wants = wanted_by(observer)
        self._config = config or CacheConfig()
        self._tally = Tally()
        self._table = AsyncStateTable(pool, self._config, self._tally)
        self._store = AsyncStore(self._table, self._config, self._tally)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a manager from ``DATABASE_URL`` and ``STATE_CACHE_*`` that owns its connections.

        Raises ``ConfigError`` before anything connects.
        """
        config = CacheConfig.from_env(environ)
        make_pool = pool_maker_from_env(config, environ)
        manager = cls(make_pool(), config=config)
        manager._table.own(make_pool)
        return manager

    # Every call raises DatabaseError where PostgreSQL does not answer, and InvalidTriggerId.

    async def load_state(self, trigger_id: str) -> Any:
        """Return the state as a fresh JSON value, or ``None`` where there is none."""
        memory = self._store.short_way
        if memory is not None and type(trigger_id) is str:  # what is not in there is checked later
            held = memory.find(trigger_id)
            if held is not None:
                payload, _version, _until, watched = held
                try:
                    state = decode_state(payload)
                except ValueError:  # the longer way takes care of it
                    pass
                else:
                    self._tally.memory_hits.add()
                    if watched:
                        found = Found(payload, "memory")
                        self._tell("load", trigger_id, time.monotonic(), found, payload)
                    return state
        check_trigger_id(trigger_id)
        started = time.monotonic() if self._wants(trigger_id) else None
        state, found = await self._store.load(trigger_id)
        if started is not None:
            self._tell("load", trigger_id, started, found, found.payload)
        return state

    async def load_states(self, trigger_ids: Iterable[str]) -> dict[str, Any]:
        """Return trigger_id → state, ``None`` where there is none, in one round trip."""
        ids = check_trigger_ids(trigger_ids)
        started = time.monotonic()
        loaded = await self._store.load_many(ids)
        for trigger_id, (_state, found) in loaded.items():
            if self._wants(trigger_id):
                self._tell("load", trigger_id, started, found, found.payload)
        return {trigger_id: state for trigger_id, (state, _found) in loaded.items()}

    async def load_versioned(self, trigger_id: str) -> tuple[Any, int]:
        """Return (state, version) from PostgreSQL, (``None``, 0) where there is none.

        For read-modify-write without lost updates: hand the version to ``update_state``.
        """
        row = (await self._table.read([check_trigger_id(trigger_id)])).get(trigger_id)
        if row is None or row.payload is None:
            return None, 0
        return decoded(trigger_id, row.payload), row.version

    async def update_state(
        self, trigger_id: str, state_data: Any, *, expected_version: int | None = None
    ) -> None:
        """Store the state; once this returns, it is committed.

        With ``expected_version``, as returned by ``load_versioned``, it is stored only if nobody
        has written in between. Raises ``VersionConflict`` otherwise, and ``InvalidState`` for what
        is no state; nothing is written then.
        """
        check_trigger_id(trigger_id)
        encoded = encode_state(state_data, self._config.max_state_bytes)
        started = time.monotonic() if self._wants(trigger_id) else None
        if expected_version is not None:
            version = check_version(expected_version)
            found = await self._store.replace(trigger_id, encoded, version)
        else:
            found = await self._store.write(trigger_id, encoded)
        if started is not None:
            self._tell("update", trigger_id, started, found, encoded)

    async def update_states(self, states: Mapping[str, Any]) -> None:
        """Store all the states, or none of them where one is refused; one statement."""
        limit = self._config.max_state_bytes
        encoded: dict[str, bytes | None] = {
            check_trigger_id(trigger_id): encode_state(state, limit)
            for trigger_id, state in states.items()
        }
        await self._write_all("update", encoded)

    async def delete_state(self, trigger_id: str) -> None:
        """Remove the state; once this returns, that is committed. No state is no error."""
        check_trigger_id(trigger_id)
        started = time.monotonic() if self._wants(trigger_id) else None
        found = await self._store.write(trigger_id, None)
        if started is not None:
            self._tell("delete", trigger_id, started, found, None)

    async def delete_states(self, trigger_ids: Iterable[str]) -> None:
        """Remove all these states, in one statement."""
        await self._write_all("delete", dict.fromkeys(check_trigger_ids(trigger_ids)))

    async def cleanup_expired(self, retention_days: float) -> int:
        """Delete states not updated for ``retention_days`` days, in batches.

        Safe while writers run: a row that is being written is left alone. Returns the number of
        states deleted. Raises ``ConfigError`` where ``retention_days`` is not 0 to 36,500.
        """
        check_number("retention_days", retention_days, 0, MAX_RETENTION_DAYS)
        return await self._store.clean_up(retention_days * 86_400)

    async def get_state_count(self) -> int:
        """Return the number of states."""
        return await self._table.count()

    def get_cache_stats(self) -> CacheStats:
        """Return what this manager did so far; see ``CacheStats``."""
        return self._store.stats(ttl_secs=0.0)

    # What concerns the cache does nothing where there is none, so that managers can be swapped.

    async def invalidate(self, trigger_ids: Iterable[str]) -> None:
        """Make every manager read these states from PostgreSQL next time."""
        await self._store.invalidate(check_trigger_ids(trigger_ids))

    async def invalidate_all(self) -> None:
        """Make every manager read all states from PostgreSQL next time.

        The keys that begin with the prefix are fenced off, in batches.
        """
        await self._store.invalidate_all()

    async def warm(self, *, limit: int = 1_000, ids: Iterable[str] | None = None) -> int:
        """Put states into the cache: these, or those updated last. Returns how many it took.

        Raises ``ConfigError`` where ``limit`` is no number of states.
        """
        check_number("limit", limit, 0, MAX_STATES, whole=True)
        return await self._store.warm(limit, None if ids is None else check_trigger_ids(ids))

    async def verify(self, sample: int = 1_000) -> Verification:
        """Compare ``sample`` cached states with PostgreSQL.

        What differs is looked at twice, so that a write under way is not reported. Raises
        ``ConfigError`` where ``sample`` is no number of states.
        """
        check_number("sample", sample, 0, MAX_STATES, whole=True)
        return await self._store.verify(sample)

    async def settle(self) -> None:
        """Wait until the cache has every write that returned, or is known not to have it.

        Only where writes are gathered and states kept in process do they return before.
        """
        await self._store.settle()

    async def aclose(self) -> None:
        """Close what the manager made itself; pool and client that were passed in stay open."""
        await self._store.aclose()

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

    async def _write_all(self, operation: str, states: dict[str, bytes | None]) -> None:
        started = time.monotonic()
        outcomes = await self._store.write_many(states)
        for trigger_id, found in outcomes.items():
            if self._wants(trigger_id):
                self._tell(operation, trigger_id, started, found, states[trigger_id])

    def _tell(
        self, operation: str, trigger_id: str, started: float, found: Found, state: bytes | None
    ) -> None:
        if self._observer is not None:
            outcome, armed, size = found.outcome, found.armed, len(state or b"")
            ended = time.monotonic()
            self._observer(Access(operation, trigger_id, outcome, started, ended, armed, size))
