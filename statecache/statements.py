"""The SQL of the table ``trigger_state``, for one schema."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

__all__ = ["TABLE", "Statements", "statements_for"]

TABLE = "trigger_state"


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements as bytes, ready for the driver; values are always bound, never pasted."""

    #: trigger_id → (state as text, or NULL where deleted; version)
    read: bytes
    #: trigger_id, state → (version, state as text)
    write: bytes
    #: trigger_id → (version), no row where there never was one
    delete: bytes
    #: after trigger_id, retention in seconds, limit → (trigger_id, version), in any order
    expire: bytes
    #: after trigger_id, age in seconds, limit → (trigger_id), in any order
    purge: bytes
    #: → (number of live states)
    count: bytes


def statements_for(schema: str) -> Statements:
    """Return the statements for the table in ``schema``.

    The version is raised in ``DO UPDATE SET``, under the row lock: that is what makes "newer"
    mean "committed later". A delete is an update, so that it is ordered like one.
    """
    table, name = sql.Identifier(schema, TABLE), sql.Identifier(schema)

    def render(text: str) -> bytes:
        return sql.SQL(text).format(table=table, t=name).as_bytes(None)

    # The schema's name is also the table's alias: from PostgreSQL 18 on, pg_stat_statements tells
    # statements apart by the name a table goes by, no longer by the table.
    return Statements(
        read=render("SELECT state_data::text, version FROM {table} AS {t} WHERE trigger_id = %s"),
        write=render(
            "INSERT INTO {table} AS {t} (trigger_id, state_data) VALUES (%s, %s::jsonb) "
            "ON CONFLICT (trigger_id) DO UPDATE SET state_data = excluded.state_data, "
            "version = {t}.version + 1, updated_at = now(), deleted_at = NULL, "
            "created_at = CASE WHEN {t}.deleted_at IS NULL THEN {t}.created_at ELSE now() END "
            "RETURNING version, state_data::text"
        ),
        delete=render(
            "UPDATE {table} AS {t} SET state_data = NULL, version = version + 1, "
            "updated_at = now(), deleted_at = now() WHERE trigger_id = %s RETURNING version"
        ),
        expire=render(
            "WITH old AS (SELECT trigger_id FROM {table} AS {t} WHERE trigger_id > %s "
            "AND deleted_at IS NULL AND updated_at < now() - make_interval(secs => %s) "
            "ORDER BY trigger_id LIMIT %s FOR UPDATE SKIP LOCKED) "
            "UPDATE {table} AS {t} SET state_data = NULL, version = version + 1, "
            "updated_at = now(), deleted_at = now() FROM old "
            "WHERE {t}.trigger_id = old.trigger_id RETURNING {t}.trigger_id, {t}.version"
        ),
        purge=render(
            "WITH old AS (SELECT trigger_id FROM {table} AS {t} WHERE trigger_id > %s "
            "AND deleted_at < now() - make_interval(secs => %s) "
            "ORDER BY trigger_id LIMIT %s FOR UPDATE SKIP LOCKED) "
            "DELETE FROM {table} AS {t} USING old "
            "WHERE {t}.trigger_id = old.trigger_id RETURNING {t}.trigger_id"
        ),
        count=render("SELECT count(*) FROM {table} AS {t} WHERE deleted_at IS NULL"),
    )
