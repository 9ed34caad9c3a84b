"""The table ``trigger_state``: one statement a call, no transaction around it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import psycopg
from psycopg import errors as pg
from psycopg.rows import tuple_row
from psycopg_pool import PoolTimeout

from statecache._acompat import AsyncConnectionPool
from statecache.config import CacheConfig
from statecache.errors import DatabaseError, InvalidState, first_line
from statecache.statements import TABLE, statements_for
from statecache.stats import Tally

__all__ = ["AsyncStateTable", "Row"]

BATCH = 1_000


class Row(NamedTuple):
    """A row as PostgreSQL returns it; ``payload`` is JSON text, ``None`` where it is deleted."""

    payload: bytes | None
    version: int


class AsyncStateTable:
    """Reads and writes states with their versions; every psycopg error is a ``DatabaseError``."""

    def __init__(self, pool: AsyncConnectionPool[Any], config: CacheConfig, tally: Tally) -> None:
        self._pool = pool
        self._tally = tally
        self._name = f"{config.schema}.{TABLE}"
        self._sql = statements_for(config.schema)
        #: Whether the pool is the manager's own: opened at first use and closed with it.
        self.owns_pool = False

    async def read(self, trigger_id: str) -> Row | None:
        """Return the row, a deleted one included, or ``None`` where there never was one."""
        self._tally.add("db_read")
        rows = await self._run("read the state", self._sql.read, (trigger_id,))
        if not rows:
            return None
        text, version = rows[0]
        return Row(None if text is None else text.encode(), version)

    async def write(self, trigger_id: str, encoded: bytes) -> Row:
        """Store the state and return it as PostgreSQL holds it, with the version it got."""
        self._tally.add("db_write")
        rows = await self._run("store the state", self._sql.write, (trigger_id, encoded.decode()))
        version, text = rows[0]
        return Row(text.encode(), version)

    async def delete(self, trigger_id: str) -> int | None:
        """Mark the row deleted and return the version that did, ``None`` where there is no row."""
        self._tally.add("db_write")
        rows = await self._run("delete the state", self._sql.delete, (trigger_id,))
        return rows[0][0] if rows else None

    async def expire(self, retention_s: float) -> AsyncIterator[dict[str, int]]:
        """Mark states not updated for ``retention_s`` deleted; yield trigger_id → version."""
        after = ""
        while True:
            rows = await self._run("expire states", self._sql.expire, (after, retention_s, BATCH))
            if not rows:
                return
            yield dict(rows)
            after = max(trigger_id for trigger_id, _version in rows)

    async def purge(self, age_s: float) -> None:
        """Remove rows deleted more than ``age_s`` seconds ago."""
        after = ""
        while rows := await self._run("purge states", self._sql.purge, (after, age_s, BATCH)):
            after = max(trigger_id for (trigger_id,) in rows)

    async def count(self) -> int:
        """Return the number of live states."""
        rows = await self._run("count the states", self._sql.count, ())
        return int(rows[0][0])

    async def open(self) -> None:
        """Open the pool if it is our own; an asynchronous one needs the running event loop."""
        if self.owns_pool and self._pool.closed:
            await self._pool.open()

    async def aclose(self) -> None:
        """Close the pool if it is our own."""
        if self.owns_pool:
            await self._pool.close()

    async def _run(
        self, purpose: str, statement: bytes, values: tuple[object, ...]
    ) -> list[tuple[Any, ...]]:
        try:
            await self.open()
            async with self._pool.connection() as connection:
                if connection.autocommit:
                    return await self._fetch(connection, statement, values)
                # The pool's connections open transactions: BEGIN and COMMIT around one statement
                # would cost two more round trips.
                await connection.set_autocommit(True)
                try:
                    return await self._fetch(connection, statement, values)
                finally:
                    with contextlib.suppress(psycopg.Error):
                        await connection.set_autocommit(False)
        except (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidSchemaName) as error:
            raise DatabaseError(
                f"the table {self._name} is missing or of an older form: run "
                "`statecache init-db`, or call init_db(database_url)."
            ) from error
        except pg.DataError as error:
            raise InvalidState(
                f"PostgreSQL cannot hold this state ({first_line(error)}): change the value."
            ) from error
        except PoolTimeout as error:
            raise DatabaseError(
                f"no connection to PostgreSQL came free to {purpose} ({first_line(error)}): "
                "is the server up, is the pool large enough?"
            ) from error
        except psycopg.Error as error:
            raise DatabaseError(
                f"PostgreSQL could not {purpose} ({type(error).__name__}: {first_line(error)})."
            ) from error

    @staticmethod
    async def _fetch(
        connection: psycopg.AsyncConnection[Any], statement: bytes, values: tuple[object, ...]
    ) -> list[tuple[Any, ...]]:
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()
