"""The table ``trigger_state``: one statement a call, no transaction around it."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson
import psycopg
from psycopg import errors as pg
from psycopg.rows import tuple_row
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from statecache._acompat import AsyncConnectionPool, AsyncSlots, async_finishing, async_sleep
from statecache.config import CacheConfig
from statecache.errors import (
    ConfigError,
    DatabaseError,
    InvalidState,
    StateCacheError,
    first_line,
)
from statecache.forking import in_each_child, leave_to_parent
from statecache.lookup import Row
from statecache.statements import TABLE, statements_for
from statecache.stats import Tally
from statecache.watchdog import StatementLimit

__all__ = ["AsyncStateTable"]

BATCH = 1_000

#: Attempts at a statement that another transaction got in the way of.
ATTEMPTS = 4
#: Pause before the first repetition, in seconds, longer before each further one: whoever waited for
#: the rows takes them meanwhile. Who comes back at once takes them away, for the next deadlock.
PAUSE_S = 0.02


class AsyncStateTable:
    """Reads and writes states with their versions; every psycopg error is a ``DatabaseError``."""

    def __init__(self, pool: AsyncConnectionPool[Any], config: CacheConfig, tally: Tally) -> None:
        self._pool = pool
        self._tally = tally
        self._name = f"{config.schema}.{TABLE}"
        self._sql = statements_for(config.schema)
        self._timeout_s = config.db_timeout_ms / 1000
        self._reads = AsyncSlots(config.max_db_reads)
        self._make_pool: Callable[[], AsyncConnectionPool[Any]] | None = None

    def own(self, make_pool: Callable[[], AsyncConnectionPool[Any]]) -> None:
        """Open the pool at first use, close it with the table, and make another after a fork."""
        self._make_pool = make_pool
        in_each_child(self._leave_pool)

    async def read(self, trigger_ids: Sequence[str], *, settled: bool = False) -> dict[str, Row]:
        """Return the rows that there are, deleted ones included.

        With ``settled`` a row that somebody is writing right now comes without a state, at version
        0: nobody knows what it will be.
        """
        if not trigger_ids:
            return {}
        if len(trigger_ids) == 1 and not settled:
            statement, values = self._sql.read, (trigger_ids[0],)  # type: tuple[bytes, tuple[object]]
        else:
            statement = self._sql.read_settled if settled else self._sql.read_many
            values = (orjson.dumps(list(trigger_ids)),)
        if self._reads.limit and not await self._reads.take(self._timeout_s):
            raise DatabaseError(
                "too many reads of PostgreSQL at once (STATE_CACHE_MAX_DB_READS): none of them "
                f"ended within {self._timeout_s:g} s."
            )
        started = time.monotonic()
        try:
            return _rows(await self._run("read the state", statement, values, repeatable=True))
        finally:
            self._tally.reads.note(time.monotonic() - started)
            if self._reads.limit:
                self._reads.give_back()

    # What writes notes the keys as dirty in the same statement where it is told to ``mark`` them.

    async def write(self, states: Mapping[str, bytes], *, mark: bool = False) -> dict[str, Row]:
        """Store the states and return them as PostgreSQL holds them, with their versions."""
        if not states:
            return {}
        if len(states) == 1:
            ((trigger_id, encoded),) = states.items()
            return await self._write(self._sql.write, (trigger_id, encoded.decode()), mark)
        members = (b"%b:%b" % (orjson.dumps(key), state) for key, state in states.items())
        return await self._write(self._sql.write_many, (b"{%b}" % b",".join(members),), mark)

    async def replace(
        self, trigger_id: str, encoded: bytes, version: int, *, mark: bool = False
    ) -> Row | None:
        """Store the state if the row's version is this one; ``None`` where it is another.

        Version 0 is that of a state that does not exist.
        """
        state = encoded.decode()
        if version:
            rows = await self._write(self._sql.replace, (state, trigger_id, version), mark)
        else:
            rows = await self._write(self._sql.create, (trigger_id, state), mark)
        return rows.get(trigger_id)

    async def delete(self, trigger_ids: Sequence[str], *, mark: bool = False) -> dict[str, Row]:
        """Mark the rows deleted and return them; those that are not there are left out."""
        if not trigger_ids:
            return {}
        return await self._write(self._sql.delete, (orjson.dumps(list(trigger_ids)),), mark)

    async def expire(self, retention_s: float) -> AsyncIterator[dict[str, Row]]:
        """Mark states not updated for ``retention_s`` deleted, in batches."""
        after = ""
        while rows := await self._run("expire", self._sql.expire, (after, retention_s, BATCH)):
            yield _rows(rows)
            after = rows[0][3]

    async def purge(self, age_s: float) -> None:
        """Remove rows deleted more than ``age_s`` seconds ago."""
        after = ""
        while rows := await self._run("purge", self._sql.purge, (after, age_s, BATCH)):
            after = rows[0][0]

    async def count(self) -> int:
        """Return the number of live states."""
        rows = await self._run("count the states", self._sql.count, ())
        return int(rows[0][0])

    async def recent(self, limit: int) -> list[str]:
        """Return ids of the states that were updated last."""
        rows = await self._run("list states", self._sql.recent, (limit,))
        return [trigger_id for (trigger_id,) in rows]

    async def mark(self, versions: Mapping[str, int]) -> None:
        """Note keys whose cache entry may be older than these versions."""
        await self._run("note dirty keys", self._sql.mark, (orjson.dumps(dict(versions)),))

    async def marked(self) -> dict[str, int]:
        """Return noted keys, those first that have waited longest."""
        return dict(await self._run("read dirty keys", self._sql.marked, (BATCH,)))

    async def unmark(self, versions: Mapping[str, int]) -> None:
        """Forget noted keys, unless they were noted anew at a higher version."""
        if versions:
            await self._run("forget dirty keys", self._sql.unmark, (orjson.dumps(dict(versions)),))

    async def open(self) -> None:
        """Open the pool if it is our own; an asynchronous one needs the running event loop."""
        if self._make_pool is not None and self._pool.closed:
            try:
                await self._pool.open()
            except psycopg.Error as error:
                raise DatabaseError(
                    f"the manager was closed ({first_line(error)}): make another one."
                ) from error

    async def aclose(self) -> None:
        """Close the pool if it is our own."""
        if self._make_pool is not None:
            await self._pool.close()

    def _leave_pool(self) -> None:
        if self._make_pool is not None:
            leave_to_parent(self._pool)
            self._pool = self._make_pool()

    async def _write(
        self, statement: bytes, values: tuple[object, ...], mark: bool
    ) -> dict[str, Row]:
        if mark:
            statement = self._sql.marking(statement)
        started = time.monotonic()
        try:
            return _rows(await self._run("store the state", statement, values))
        finally:
            self._tally.writes.note(time.monotonic() - started)

    async def _run(
        self,
        purpose: str,
        statement: bytes,
        values: tuple[object, ...],
        *,
        repeatable: bool = False,
    ) -> list[tuple[Any, ...]]:
        """Run one statement; repeat it where that cannot do anything twice.

        That is the case after a deadlock, which undid it, and for a read over a connection that
        turned out to be lost: after a restart of the server all those in the pool are.
        """
        lost = 0
        for attempt in itertools.count(1):
            try:
                if self._make_pool is not None:
                    await self.open()
                put_back = async_finishing(self._pool.putconn)
                connection = await self._pool.getconn()
                try:
                    if connection.pgconn.parameter_status(b"client_encoding") != b"UTF8":
                        raise _other_encoding(connection)
                    # Where the pool's connections open transactions, BEGIN and COMMIT around one
                    # statement would cost two more round trips.
                    switched = not connection.autocommit
                    try:
                        if switched:
                            await connection.set_autocommit(True)
                        with StatementLimit(connection, self._timeout_s):
                            cursor = connection.cursor(row_factory=tuple_row)
                            await cursor.execute(statement, values)
                            rows: list[tuple[Any, ...]] = await cursor.fetchall()
                            return rows
                    finally:
                        if switched:
                            with contextlib.suppress(psycopg.Error):
                                await connection.set_autocommit(False)
                finally:
                    # A caller who is cancelled right here would take the connection along.
                    await put_back(connection)
            except psycopg.Error as error:
                undone = isinstance(error, pg.DeadlockDetected | pg.SerializationFailure)
                lost += _is_lost(error)
                if not (
                    (undone and attempt < ATTEMPTS)
                    or (repeatable and _is_lost(error) and lost <= self._pool.max_size)
                ):
                    raise self._explained(error, purpose) from error
                if undone:
                    await async_sleep(PAUSE_S * attempt)
        raise AssertionError("there is always another attempt")

    def _explained(self, error: psycopg.Error, purpose: str) -> StateCacheError:
        if isinstance(error, pg.UndefinedTable | pg.UndefinedColumn | pg.InvalidSchemaName):
            return DatabaseError(
                f"the table {self._name} is missing or of an older form: run "
                "`statecache init-db`, or call init_db(database_url)."
            )
        if isinstance(error, pg.DataError | pg.IntegrityError | pg.RaiseException):
            # Bad data, a constraint, or a trigger that refuses.
            return InvalidState(
                f"PostgreSQL cannot hold this state ({first_line(error)}): change the value."
            )
        if isinstance(error, PoolTimeout):
            return DatabaseError(
                f"no connection to PostgreSQL came free to {purpose} ({first_line(error)}): "
                "is the server up, is the pool large enough?"
            )
        return DatabaseError(
            f"PostgreSQL could not {purpose} ({type(error).__name__}: {first_line(error)})."
        )


def _other_encoding(connection: psycopg.AsyncConnection[Any]) -> ConfigError:
    """Say that not every trigger id and state can be sent over this connection."""
    encoding = connection.pgconn.parameter_status(b"client_encoding") or b"?"
    return ConfigError(
        f"the pool's connections have the client encoding {encoding.decode()}: make "
        'the pool with kwargs={"client_encoding": "utf8"}.'
    )


def _is_lost(error: psycopg.Error) -> bool:
    """Whether the connection was lost: shut down by the server, or without its word."""
    if isinstance(error, PoolClosed | PoolTimeout | TooManyRequests):
        return False
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate.startswith("57P0")
    )


def _rows(rows: list[tuple[Any, ...]]) -> dict[str, Row]:
    """Return trigger_id → row for tuples that begin with (trigger_id, version, text)."""
    return {row[0]: Row(None if row[2] is None else row[2].encode(), row[1]) for row in rows}
