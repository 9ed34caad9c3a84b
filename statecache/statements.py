"""The SQL of the table ``trigger_state``, for one schema."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

__all__ = ["DIRTY_TABLE", "TABLE", "Statements", "statements_for"]

TABLE = "trigger_state"

#: Where keys are noted whose cache entry may be older than the row, for anybody to repair.
DIRTY_TABLE = "trigger_state_dirty"


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements as bytes, ready for the driver; values are always bound, never pasted.

    ``ids`` is a JSON array of trigger ids and ``states`` a JSON object trigger id → state, as
    UTF-8 bytes: one parameter costs the driver much less than a list.
    Every statement that writes states returns (trigger_id, version, state as text).
    """

    #: trigger_id → (trigger_id, version, state as text, NULL where deleted)
    read: bytes
    #: ids → the same
    read_many: bytes
    #: ids → the same; a row that somebody is writing right now comes as (trigger_id, 0, NULL)
    read_settled: bytes
    #: trigger_id, state
    write: bytes
    #: states
    write_many: bytes
    #: trigger_id, state; no row where there is a state already
    create: bytes
    #: state, trigger_id, version; no row where the version is another
    replace: bytes
    #: ids
    delete: bytes
    #: after trigger_id, retention in seconds, limit → and the last trigger_id of the batch
    expire: bytes
    #: after trigger_id, age in seconds, limit → (the last trigger_id of the batch)
    purge: bytes
    #: → (number of live states)
    count: bytes
    #: limit → (trigger_id) of the live states that were updated last
    recent: bytes
    #: versions: a JSON object trigger id → version; every statement returns rows
    mark: bytes
    #: limit → (trigger_id, version), longest marked first
    marked: bytes
    #: versions; a key that was marked anew at a higher version stays
    unmark: bytes

    def marking(self, statement: bytes) -> bytes:
        """Return a statement that writes states and marks them dirty, at once."""
        head, tail = self.mark.split(_MARK_SOURCE)
        return (
            b"WITH statecache_done AS ("
            + statement
            + b"), statecache_marked AS ("
            + head
            + b"SELECT trigger_id, version FROM statecache_done"
            + tail
            + b") SELECT trigger_id, version, state_data FROM statecache_done"
        )


_MARK_SOURCE = (
    b"SELECT key, value::bigint FROM jsonb_each_text(convert_from(%b, 'UTF8')::jsonb) "
    b'ORDER BY key COLLATE "C"'
)


#: Names that mean something else in these statements, where a schema may be called so, too.
_TAKEN = frozenset(
    {
        "excluded",
        "statecache_asked",
        "statecache_done",
        "statecache_fenced",
        "statecache_free",
        "statecache_marked",
        "statecache_old",
    }
)


def statements_for(schema: str) -> Statements:
    """Return the statements for the table in ``schema``.

    The version is raised in ``DO UPDATE SET``, under the row lock: that is what makes "newer"
    mean "committed later". A delete is an update, so that it is ordered like one. Rows are locked
    in byte order of their ids, so that batches wait for each other and never in a circle.
    """
    table = sql.Identifier(schema, TABLE)
    name = sql.Identifier(f"{schema}_" if schema in _TAKEN else schema)
    dirty = sql.Identifier(schema, DIRTY_TABLE)

    def render(text: str) -> bytes:
        parts = {
            "ids": sql.SQL(
                "ARRAY(SELECT jsonb_array_elements_text(convert_from(%b, 'UTF8')::jsonb))"
            ),
            "upsert": sql.SQL(
                "ON CONFLICT (trigger_id) DO UPDATE SET state_data = excluded.state_data, "
                "version = {t}.version + 1, updated_at = now(), deleted_at = NULL, "
                "created_at = CASE WHEN {t}.deleted_at IS NULL THEN {t}.created_at ELSE now() END"
            ).format(t=name),
            "remove": sql.SQL(
                "UPDATE {table} AS {t} SET state_data = NULL, version = {t}.version + 1, "
                "updated_at = now(), deleted_at = now() FROM statecache_old "
                "WHERE {t}.trigger_id = statecache_old.trigger_id"
            ).format(table=table, t=name),
            "row": sql.SQL("{t}.trigger_id, {t}.version, {t}.state_data::text").format(t=name),
            "written": sql.SQL(
                "{t}.trigger_id, {t}.version, {t}.state_data::text AS state_data"
            ).format(t=name),
        }
        return sql.SQL(text).format(table=table, t=name, dirty=dirty, **parts).as_bytes(None)

    # The schema's name is also the table's alias: from PostgreSQL 18 on, pg_stat_statements tells
    # statements apart by the name a table goes by, no longer by the table.
    return Statements(
        read=render("SELECT {row} FROM {table} AS {t} WHERE trigger_id = %s"),
        read_many=render("SELECT {row} FROM {table} AS {t} WHERE trigger_id = ANY ({ids})"),
        # It waits for nobody: when its caller has given up, PostgreSQL would go on waiting.
        read_settled=render(
            "WITH statecache_asked AS (SELECT {ids} AS ids), statecache_free AS "
            "(SELECT {written} FROM {table} AS {t} "
            "WHERE trigger_id = ANY ((SELECT ids FROM statecache_asked)::text[]) "
            "FOR SHARE OF {t} SKIP LOCKED) "
            "SELECT trigger_id, version, state_data FROM statecache_free UNION ALL "
            "SELECT trigger_id, 0, NULL FROM {table} AS {t} "
            "WHERE trigger_id = ANY ((SELECT ids FROM statecache_asked)::text[]) "
            "AND trigger_id NOT IN (SELECT trigger_id FROM statecache_free)"
        ),
        write=render(
            "INSERT INTO {table} AS {t} (trigger_id, state_data) VALUES (%s, %s::jsonb) {upsert} "
            "RETURNING {written}"
        ),
        write_many=render(
            "INSERT INTO {table} AS {t} (trigger_id, state_data) SELECT key, value "
            "FROM jsonb_each(convert_from(%b, 'UTF8')::jsonb) ORDER BY key COLLATE \"C\" {upsert} "
            "RETURNING {written}"
        ),
        create=render(
            "INSERT INTO {table} AS {t} (trigger_id, state_data) VALUES (%s, %s::jsonb) {upsert} "
            "WHERE {t}.state_data IS NULL RETURNING {written}"
        ),
        replace=render(
            "UPDATE {table} AS {t} SET state_data = %s::jsonb, version = {t}.version + 1, "
            "updated_at = now() WHERE trigger_id = %s AND version = %s AND state_data IS NOT NULL "
            "RETURNING {written}"
        ),
        delete=render(
            "WITH statecache_old AS "
            "(SELECT trigger_id FROM {table} AS {t} WHERE trigger_id = ANY ({ids}) "
            'ORDER BY trigger_id COLLATE "C" FOR UPDATE) {remove} RETURNING {written}'
        ),
        expire=render(
            "WITH statecache_old AS (SELECT trigger_id FROM {table} AS {t} WHERE trigger_id > %s "
            "AND state_data IS NOT NULL AND updated_at < now() - make_interval(secs => %s) "
            "ORDER BY trigger_id LIMIT %s FOR UPDATE SKIP LOCKED) {remove} "
            # by the database's order, which need not be Python's
            "RETURNING {row}, (SELECT max(trigger_id) FROM statecache_old)"
        ),
        purge=render(
            "WITH statecache_old AS (SELECT trigger_id FROM {table} AS {t} WHERE trigger_id > %s "
            "AND state_data IS NULL AND deleted_at < now() - make_interval(secs => %s) "
            "ORDER BY trigger_id LIMIT %s FOR UPDATE SKIP LOCKED) "
            "DELETE FROM {table} AS {t} USING statecache_old "
            "WHERE {t}.trigger_id = statecache_old.trigger_id "
            "RETURNING (SELECT max(trigger_id) FROM statecache_old)"
        ),
        count=render("SELECT count(*) FROM {table} AS {t} WHERE state_data IS NOT NULL"),
        recent=render(
            "SELECT trigger_id FROM {table} AS {t} WHERE state_data IS NOT NULL "
            "ORDER BY updated_at DESC LIMIT %s"
        ),
        mark=render(
            "INSERT INTO {dirty} AS {t} (trigger_id, version) " + _MARK_SOURCE.decode() + " "
            "ON CONFLICT (trigger_id) DO UPDATE SET "
            "version = greatest({t}.version, excluded.version) RETURNING 1"
        ),
        marked=render("SELECT trigger_id, version FROM {dirty} AS {t} ORDER BY noted_at LIMIT %s"),
        unmark=render(
            "DELETE FROM {dirty} AS {t} USING "
            "jsonb_each_text(convert_from(%b, 'UTF8')::jsonb) AS statecache_fenced (id, upto) "
            "WHERE {t}.trigger_id = statecache_fenced.id "
            "AND {t}.version <= statecache_fenced.upto::bigint "
            "RETURNING 1"
        ),
    )
