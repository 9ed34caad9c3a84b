"""Tables with a state for every trigger, as after a year of service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from psycopg import sql

from statecache import init_db
from statecache.study.harness.documents import document
from statecache.study.servers import Servers, open_database

__all__ = ["load_table"]


def load_table(
    servers: Servers,
    schema: str,
    ids: Sequence[str],
    *,
    state: Mapping[str, Any] | None = None,
    size: int = 0,
    outside_writes: bool = False,
) -> None:
    """Make the table, and give every id this state: without one, a document of number 0.

    ``outside_writes`` adds the triggers that note writes made behind the managers' backs.
    Autovacuum is off: a vacuum in the middle of a measurement would be one variant's bad luck.
    """
    init_db(servers.database_url, schema=schema, outside_writes=outside_writes)
    table = sql.Identifier(schema, "trigger_state")
    fill = sql.SQL(
        "INSERT INTO {} (trigger_id, state_data) SELECT id, %s::jsonb FROM unnest(%s::text[]) id"
    )
    encoded = orjson.dumps(document(0, size) if state is None else state).decode()
    with open_database(servers) as connection:
        connection.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = false)").format(table))
        connection.execute(fill.format(table), [encoded, list(ids)])
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
