"""Triggers that catch writes made behind the managers' backs.

Managers raise a row's version themselves. What leaves the version as it is was somebody else: SQL
by hand, or another service. Its row gets a version here, and its key is noted as dirty in the same
transaction, so that it is neither lost nor seen too early; managers fence the cache's entry off.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from statecache.statements import DIRTY_TABLE, TABLE

__all__ = ["EVERY_KEY", "watch_outside_writes"]

#: Noted instead of a trigger id, which is never empty, where the table was truncated.
EVERY_KEY = ""

_FUNCTION = """
    CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        changed text[] := ARRAY[''];
        at bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            changed := ARRAY[NEW.trigger_id];
            IF NEW.trigger_id = OLD.trigger_id THEN
                at := OLD.version + 1;
            ELSE
                -- Under its old id the state is gone; under the new one there may have been
                -- another, at any version so far.
                changed := changed || OLD.trigger_id;
                at := greatest(at, OLD.version + 1, NEW.version);
            END IF;
            NEW.version := at;
            IF NEW.state_data IS NOT NULL THEN
                NEW.deleted_at := NULL;
            END IF;
        ELSIF TG_OP = 'DELETE' THEN
            changed := ARRAY[OLD.trigger_id];
            at := greatest(at, OLD.version + 1);
        END IF;
        INSERT INTO {dirty} AS d (trigger_id, version)
        SELECT id, at FROM unnest(changed) AS id ORDER BY id COLLATE "C"
        ON CONFLICT (trigger_id) DO UPDATE SET version = greatest(d.version, excluded.version);
        RETURN NEW;
    END $$
"""

_TRIGGERS = {
    "outside_update": "BEFORE UPDATE ON {table} FOR EACH ROW "
    "WHEN (NEW.version = OLD.version OR NEW.trigger_id <> OLD.trigger_id)",
    # A purge removes rows that are deleted already, which no cache holds any more.
    "outside_delete": "AFTER DELETE ON {table} FOR EACH ROW WHEN (OLD.state_data IS NOT NULL)",
    "outside_truncate": "AFTER TRUNCATE ON {table} FOR EACH STATEMENT",
}


def watch_outside_writes(
    connection: psycopg.Connection[tuple[object, ...]], schema: str, *, wanted: bool
) -> None:
    """Create the triggers in ``schema``, or remove them."""
    names = {
        "table": sql.Identifier(schema, TABLE),
        "dirty": sql.Identifier(schema, DIRTY_TABLE),
        "function": sql.Identifier(schema, "trigger_state_outside_write"),
    }
    for name, when in _TRIGGERS.items():
        trigger = sql.Identifier(f"trigger_state_{name}")
        connection.execute(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(trigger, names["table"])
        )
        if wanted:
            connection.execute(sql.SQL(_FUNCTION).format(**names))
            connection.execute(
                sql.SQL("CREATE TRIGGER {} ").format(trigger)
                + sql.SQL(when).format(**names)
                + sql.SQL(" EXECUTE FUNCTION {}()").format(names["function"])
            )
    if not wanted:
        connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(names["function"]))
