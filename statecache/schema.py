"""The table ``trigger_state`` and its versioned, idempotent migration."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from statecache.config import CacheConfig, check_database_url
from statecache.errors import ConfigError, DatabaseError, first_line
from statecache.outside_writes import watch_outside_writes
from statecache.statements import DIRTY_TABLE, TABLE

__all__ = ["SCHEMA_VERSION", "init_db"]

#: The newest version of the table that this library knows; ``init_db`` brings a database to it.
SCHEMA_VERSION = 2

#: Where the version of a schema's table is noted.
NOTE_TABLE = "trigger_state_schema"

#: Two processes that start together migrate one after the other ("statecac" in ASCII).
_LOCK = 0x7374617465636163

Connection = psycopg.Connection[tuple[object, ...]]


def init_db(
    database_url: str, *, schema: str = "public", outside_writes: bool | None = None
) -> int:
    """Create or bring up to date the table ``trigger_state`` in ``schema``.

    Safe to call again and from several processes at once; one transaction. A table of the
    documented form (``trigger_id``, ``state_data``, ``updated_at``) is taken over with every row.

    ``outside_writes=True`` adds triggers that also catch what is written behind the managers'
    backs (SQL by hand, another service): it gets a version, and managers with
    ``repair_poll_secs`` fence the cache's entry off. ``False`` removes them, ``None`` leaves them.

    Returns the table's version afterwards. Raises ``ConfigError`` where a table of that name is
    of another form or newer than this library, ``DatabaseError`` where PostgreSQL refuses.
    """
    schema = CacheConfig(schema=schema).schema
    check_database_url(database_url, "the database's address")
    try:
        with psycopg.connect(
            database_url, client_encoding="utf8", row_factory=tuple_row
        ) as connection:
            version = _migrate(connection, schema)
            if outside_writes is not None:
                watch_outside_writes(connection, schema, wanted=outside_writes)
            return version
    except psycopg.Error as error:
        raise DatabaseError(
            f"PostgreSQL refused to set up the table {schema}.{TABLE} "
            f"({type(error).__name__}: {first_line(error)})."
        ) from error


def _migrate(connection: Connection, schema: str) -> int:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    if not _exists(connection, "SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    held = _version(connection, schema)
    if held > SCHEMA_VERSION:
        raise ConfigError(
            f"the table {schema}.{TABLE} has version {held}, newer than the {SCHEMA_VERSION} "
            "that this statecache knows: update statecache."
        )
    for version in range(held + 1, SCHEMA_VERSION + 1):
        _STEPS[version](connection, schema)
        connection.execute(
            sql.SQL("INSERT INTO {} (version) VALUES (%s)").format(
                sql.Identifier(schema, NOTE_TABLE)
            ),
            [version],
        )
    return SCHEMA_VERSION


def _version(connection: Connection, schema: str) -> int:
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} "
            "(version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        ).format(sql.Identifier(schema, NOTE_TABLE))
    )
    row = connection.execute(
        sql.SQL("SELECT coalesce(max(version), 0)::int FROM {}").format(
            sql.Identifier(schema, NOTE_TABLE)
        )
    ).fetchone()
    return int(str(row[0])) if row else 0


def _create_or_take_over(connection: Connection, schema: str) -> None:
    """Version 1: the versioned table, made new or from one of the documented form."""
    table = sql.Identifier(schema, TABLE)
    columns = _columns(connection, schema)
    if not columns:
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} (trigger_id text PRIMARY KEY, state_data jsonb, "
                "version bigint NOT NULL DEFAULT 1 CHECK (version > 0), "
                "created_at timestamptz NOT NULL DEFAULT now(), "
                "updated_at timestamptz NOT NULL DEFAULT now(), "
                # fillfactor: room on the page for the next version of a row that changes often
                "deleted_at timestamptz) WITH (fillfactor = 70)"
            ).format(table)
        )
        return
    _refuse_unknown_form(columns, schema)
    for change in _changes(columns):
        connection.execute(sql.SQL("ALTER TABLE {} " + change).format(table))
    if not _exists(connection, _UNIQUE_ON_TRIGGER_ID, [schema, TABLE]):
        connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (trigger_id)").format(table))


def _refuse_unknown_form(columns: dict[str, str], schema: str) -> None:
    expected = {
        "trigger_id": ("text", "character varying"),
        "state_data": ("jsonb", "json"),
        "updated_at": ("timestamp with time zone", "timestamp without time zone"),
    }
    for name, kinds in expected.items():
        if columns.get(name) not in kinds:
            raise ConfigError(
                f"the table {schema}.{TABLE} is not of the documented form (its column {name} is "
                f"{columns.get(name, 'missing')}, not {kinds[0]}): rename it, or choose another "
                "schema with STATE_CACHE_SCHEMA."
            )


def _changes(columns: dict[str, str]) -> list[str]:
    """Return what turns a table of the documented form into ours, as ALTER TABLE actions."""
    changes = ["ALTER state_data DROP NOT NULL"]
    if columns["trigger_id"] != "text":
        changes.append("ALTER trigger_id TYPE text")
    if columns["state_data"] != "jsonb":
        changes.append("ALTER state_data TYPE jsonb USING state_data::jsonb")
    changes += [
        f"ALTER {name} TYPE timestamptz USING {name} AT TIME ZONE 'UTC'"
        for name in ("updated_at", "created_at")
        if columns.get(name) == "timestamp without time zone"
    ]
    if "version" not in columns:
        changes.append("ADD version bigint NOT NULL DEFAULT 1 CHECK (version > 0)")
    if "created_at" not in columns:
        changes.append("ADD created_at timestamptz NOT NULL DEFAULT now()")
    if "deleted_at" not in columns:
        changes.append("ADD deleted_at timestamptz")
    changes.append("ALTER updated_at SET DEFAULT now()")
    return changes


_UNIQUE_ON_TRIGGER_ID = """
    SELECT 1 FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
    WHERE n.nspname = %s AND c.relname = %s AND i.indisunique AND i.indnkeyatts = 1
      AND i.indpred IS NULL AND a.attname = 'trigger_id'
"""


def _never_restart_low(connection: Connection, schema: str) -> None:
    """Version 2: first versions by the clock, and the table of dirty keys.

    A row that comes back after it was purged, truncated or deleted by hand is newer than whatever
    a cache may still hold: no row is written more often than once a microsecond.
    """
    connection.execute(
        sql.SQL(
            "ALTER TABLE {} ALTER version "
            "SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        ).format(sql.Identifier(schema, TABLE))
    )
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} (trigger_id text PRIMARY KEY, version bigint NOT NULL, "
            "noted_at timestamptz NOT NULL DEFAULT now())"
        ).format(sql.Identifier(schema, DIRTY_TABLE))
    )


_STEPS: dict[int, Callable[[Connection, str], None]] = {
    1: _create_or_take_over,
    2: _never_restart_low,
}


def _columns(connection: Connection, schema: str) -> dict[str, str]:
    rows = connection.execute(
        "SELECT column_name::text, data_type::text FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name = %s",
        [schema, TABLE],
    ).fetchall()
    return {str(name): str(kind) for name, kind in rows}


def _exists(connection: Connection, query: str, values: list[str]) -> bool:
    return connection.execute(query.encode(), values).fetchone() is not None
