"""The manager that keeps states in PostgreSQL alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from statecache._acompat import AsyncConnectionPool
from statecache._async.table import AsyncStateTable
from statecache.access import Access, Observer, wanted_by
from statecache.codec import (
    check_trigger_id,
    check_trigger_ids,
    check_version,
    decode_state,
    encode_state,
)
from statecache.config import CacheConfig, check_database_url, check_number, url_from_env
from statecache.errors import DatabaseError, InvalidState, VersionConflict
from statecache.gathering import async_gathered_reads, async_gathered_writes
from statecache.lookup import Found, Moment, Row, Written
from statecache.stats import CacheStats, Tally
from statecache.verification import Verification

__all__ = ["AsyncStateManager", "decoded", "pool_maker"]

#: Deleted rows keep their version at least this long, so that re-creation is ordered behind them.
PURGE_AFTER_S = 86_400.0

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

    _tells_a_cache = False

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
        self._reads, self._writes = None, None
        if self._config.gather:
            self._reads = async_gathered_reads(self._find_many)
            self._writes = async_gathered_writes(
                self._commit, self._pass_on, self._tally, halves=self._tells_a_cache
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a manager from ``DATABASE_URL`` and ``STATE_CACHE_*`` that owns its connections.

        Raises ``ConfigError`` before anything connects.
        """
        config = CacheConfig.from_env(environ)
        make_pool = pool_maker(config, environ)
        manager = cls(make_pool(), config=config)
        manager._table.own(make_pool)
        return manager

    # Every call raises DatabaseError where PostgreSQL does not answer, and InvalidTriggerId.

    async def load_state(self, trigger_id: str) -> Any:
        """Return the state as a fresh JSON value, or ``None`` where there is none."""
        check_trigger_id(trigger_id)
        started = time.monotonic() if self._wants(trigger_id) else None
        state, found = await self._load(trigger_id)
        if started is not None:
            self._tell("load", trigger_id, started, found)
        return state

    async def load_states(self, trigger_ids: Iterable[str]) -> dict[str, Any]:
        """Return trigger_id → state, ``None`` where there is none, in one round trip."""
        ids = check_trigger_ids(trigger_ids)
        started = time.monotonic()
        found = await self._find_many(ids) if ids else {}
        states = {}
        for trigger_id in ids:
            states[trigger_id], known = await self._decode(trigger_id, found[trigger_id])
            if self._wants(trigger_id):
                self._tell("load", trigger_id, started, known)
        return states

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
            found = await self._replace(trigger_id, encoded, check_version(expected_version))
        else:
            found = await self._write(trigger_id, encoded)
        if started is not None:
            self._tell("update", trigger_id, started, found)

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
        found = await self._write(trigger_id, None)
        if started is not None:
            self._tell("delete", trigger_id, started, found)

    async def delete_states(self, trigger_ids: Iterable[str]) -> None:
        """Remove all these states, in one statement."""
        await self._write_all("delete", dict.fromkeys(check_trigger_ids(trigger_ids)))

    async def cleanup_expired(self, retention_days: float) -> int:
        """Delete states not updated for ``retention_days`` days, in batches.

        Safe while writers run: a row that is being written is left alone. Returns the number of
        states deleted. Raises ``ConfigError`` where ``retention_days`` is not 0 to 36,500.
        """
        check_number("retention_days", retention_days, 0, MAX_RETENTION_DAYS)
        deleted, moment = 0, await self._begin()
        async for rows in self._table.expire(retention_days * 86_400):
            deleted += len(rows)
            await self._pass_on(Written(rows, moment, marked=False))
            moment = await self._begin()
        await self._table.purge(max(PURGE_AFTER_S, 2 * self._config.longest_ttl_secs))
        return deleted

    async def get_state_count(self) -> int:
        """Return the number of states."""
        return await self._table.count()

    def get_cache_stats(self) -> CacheStats:
        """Return what this manager did so far; see ``CacheStats``."""
        return self._tally.snapshot(enabled=False, ttl_secs=0.0)

    # What concerns the cache does nothing here, so that managers can be swapped.

    async def invalidate(self, trigger_ids: Iterable[str]) -> None:
        """Make every manager read these states from PostgreSQL next time."""
        check_trigger_ids(trigger_ids)

    async def invalidate_all(self) -> None:
        """Make every manager read all states from PostgreSQL next time."""

    async def warm(self, *, limit: int = 1_000, ids: Iterable[str] | None = None) -> int:
        """Put states into the cache: these, or those updated last. Returns how many it took.

        Raises ``ConfigError`` where ``limit`` is no number of states.
        """
        check_number("limit", limit, 0, MAX_STATES, whole=True)
        return await self._warm(limit, None if ids is None else check_trigger_ids(ids))

    async def verify(self, sample: int = 1_000) -> Verification:
        """Compare ``sample`` cached states with PostgreSQL.

        What differs is looked at twice, so that a write under way is not reported. Raises
        ``ConfigError`` where ``sample`` is no number of states.
        """
        check_number("sample", sample, 0, MAX_STATES, whole=True)
        return await self._verify(sample)

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

    async def _load(self, trigger_id: str) -> tuple[Any, Found]:
        if self._reads is not None:
            found = await self._reads.call(trigger_id)
        else:
            found = (await self._find_many([trigger_id]))[trigger_id]
        return await self._decode(trigger_id, found)

    async def _write(self, trigger_id: str, encoded: bytes | None) -> Found:
        if self._writes is not None:
            found: Found = await self._writes.call(trigger_id, encoded)
            return found
        return (await self._pass_on(await self._commit({trigger_id: encoded})))[trigger_id]

    async def _write_all(self, operation: str, states: dict[str, bytes | None]) -> None:
        started = time.monotonic()
        outcomes = await self._pass_on(await self._commit(states))
        for trigger_id, found in outcomes.items():
            if self._wants(trigger_id):
                self._tell(operation, trigger_id, started, found)

    async def _replace(self, trigger_id: str, encoded: bytes, version: int) -> Found:
        mark, moment = self._marks(), await self._begin()
        try:
            row = await self._table.replace(trigger_id, encoded, version, mark=mark)
        except InvalidState:
            raise
        except BaseException as error:
            self._in_doubt([trigger_id], error)
            raise
        if row is None:
            raise VersionConflict(
                f"the state of {trigger_id!r} is no longer at version {version}: load_versioned "
                "it again, apply the change to what it is now, and retry."
            )
        return (await self._pass_on(Written({trigger_id: row}, moment, mark)))[trigger_id]

    def _tell(self, operation: str, trigger_id: str, started: float, found: Found) -> None:
        if self._observer is not None:
            outcome, armed, size = found.outcome, found.armed, len(found.payload or b"")
            ended = time.monotonic()
            self._observer(Access(operation, trigger_id, outcome, started, ended, armed, size))

    # What a manager with a cache does in its own way.

    async def _warm(self, limit: int, trigger_ids: list[str] | None) -> int:  # noqa: ARG002
        return 0

    async def _verify(self, sample: int) -> Verification:  # noqa: ARG002
        return Verification()

    async def _find_many(self, trigger_ids: list[str]) -> dict[str, Found]:
        rows = await self._table.read(trigger_ids)
        return {
            trigger_id: Found(rows[trigger_id].payload if trigger_id in rows else None, "database")
            for trigger_id in trigger_ids
        }

    async def _decode(self, trigger_id: str, found: Found) -> tuple[Any, Found]:
        return decoded(trigger_id, found.payload), found

    async def _commit(self, states: Mapping[str, bytes | None]) -> Written:
        """Store the states, delete those that are ``None``."""
        updates = {key: encoded for key, encoded in states.items() if encoded is not None}
        deletes = [key for key in states if key not in updates]
        mark, moment = self._marks(), await self._begin()
        try:
            rows = await self._table.write(updates, mark=mark)
            rows |= await self._table.delete(deletes, mark=mark)
        except InvalidState:  # nothing was written: updates come first, and stand or fall together
            raise
        except BaseException as error:
            self._in_doubt(states, error)
            raise
        if any(key not in rows for key in updates):
            self._in_doubt(states, None)
            raise DatabaseError(
                "PostgreSQL did not store the state: a trigger on the table keeps it from doing so."
            )
        rows |= {key: Row(None, 0) for key in deletes if key not in rows}
        return Written(rows, moment, mark)

    async def _begin(self) -> Moment | None:
        """Return what is to be known of the instant before PostgreSQL is told."""
        return None

    async def _pass_on(self, written: Written) -> dict[str, Found]:
        """Tell whoever has to know of it, and return the outcomes."""
        if not written.marked:
            await self._mark({key: row.version for key, row in written.rows.items()})
        return {key: Found(row.payload, "committed") for key, row in written.rows.items()}

    def _in_doubt(self, trigger_ids: Iterable[str], error: BaseException | None) -> None:
        """Hear of writes that were cancelled, or cut off while committing: they may stand."""

    async def _mark(self, versions: Mapping[str, int]) -> None:
        """Let others repair what this process may not live to."""
        if self._config.repair_poll_secs and versions:
            try:
                await self._table.mark(versions)
            except DatabaseError:  # the write itself stands
                self._tally.add("error:mark:DatabaseError")

    def _marks(self) -> bool:
        """Return whether written keys are to be noted as dirty: no cache is told of them."""
        return self._config.repair_poll_secs > 0


def decoded(trigger_id: str, payload: bytes | None) -> Any:
    """Return a state that PostgreSQL holds; SQL by hand can store what no manager would."""
    try:
        return None if payload is None else decode_state(payload)
    except ValueError as error:
        raise DatabaseError(
            f"the state of {trigger_id!r} in PostgreSQL is beyond what can be read ({error}): "
            "write it anew."
        ) from None


def pool_maker(
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
