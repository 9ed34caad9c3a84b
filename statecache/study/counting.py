"""What the servers themselves counted: PostgreSQL's statements and Redis's commands.

Others may be reading the same counters, so they are never reset: a figure is always the
difference of two snapshots, and a difference that cannot be told honestly is an error.

PostgreSQL 18 files a statement under the *name* its table goes by, not under the table: of
``SELECT … FROM a.trigger_state`` and ``SELECT … FROM b.trigger_state`` it keeps one entry with
one of the two texts and both numbers of calls. Statements that give the table an alias with the
schema's name in it, ``FROM a.trigger_state AS a``, are told apart; others make ``-`` raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
import redis
from psycopg import sql

from statecache.study.errors import CountingError
from statecache.study.servers import Database, Servers, open_database, open_redis

__all__ = ["CountingError", "ServerCounts", "count", "count_over"]

#: What a client sends to set a connection up, and the snapshot's own INFO: not the study's work.
_CONNECTION_COMMANDS = re.compile(r"(?:info|hello|auth|select|ping|quit|client\|.*)\Z")

#: The first version that files statements under names.
_FILES_BY_NAME = 180000

_UNAVAILABLE = (
    psycopg.errors.ObjectNotInPrerequisiteState,  # installed but not preloaded
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,  # older than PostgreSQL 14
    psycopg.errors.UndefinedColumn,
)


@dataclass(frozen=True, slots=True)
class _Epoch:
    """What must not change between two snapshots, and what must not grow."""

    statements_reset: str
    redis_run: str
    evictions: int
    #: Calls of statements on a ``trigger_state`` that PostgreSQL does not file by schema.
    ambiguous: int


@dataclass(frozen=True, slots=True)
class ServerCounts:
    """Counters at one time, or, as the difference of two, what happened in between."""

    #: Schema → calls of statements that name its table ``trigger_state``; ``None`` where the
    #: server does not keep count (no ``pg_stat_statements``). BEGIN and COMMIT name no table.
    statements: dict[str, int] | None
    #: Command → calls, without what sets a connection up (AUTH, SELECT, PING, CLIENT …) and INFO.
    redis_commands: dict[str, int]
    _epoch: _Epoch | None = None

    def __sub__(self, earlier: ServerCounts) -> ServerCounts:
        """Return what happened since ``earlier``; a command that was not called is left out.

        Raises ``CountingError`` where the counters do not tell.
        """
        if self._epoch is None or earlier._epoch is None:
            raise CountingError("A difference has no time: subtract two snapshots of count().")
        _check_epochs(self._epoch, earlier._epoch)
        statements = None
        if self.statements is not None and earlier.statements is not None:
            if self.statements.keys() != earlier.statements.keys():
                raise CountingError(
                    f"The snapshots are of the schemas {', '.join(earlier.statements)} and "
                    f"{', '.join(self.statements)}: count the same ones."
                )
            statements = _difference(self.statements, earlier.statements)
        commands = _difference(self.redis_commands, earlier.redis_commands)
        return ServerCounts(statements, {name: calls for name, calls in commands.items() if calls})


def count(servers: Servers, schemas: Sequence[str]) -> ServerCounts:
    """Take a snapshot of the servers' counters, in which it does not appear itself.

    Raises ``ServersError`` where a server does not answer.
    """
    with open_database(servers) as database, open_redis(servers) as client:
        return count_over(database, client, schemas)


def count_over(database: Database, client: redis.Redis, schemas: Sequence[str]) -> ServerCounts:
    """Do the same over connections that are open already."""
    found = _statements(database, schemas)
    redis_run = client.info("server")["run_id"]
    stats = client.info("commandstats")
    commands = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
    statements, reset, evictions, ambiguous = found or (None, "", 0, 0)
    return ServerCounts(
        statements,
        {name: n for name, n in commands.items() if not _CONNECTION_COMMANDS.match(name)},
        _Epoch(reset, redis_run, evictions, ambiguous),
    )


def _statements(
    database: Database, schemas: Sequence[str]
) -> tuple[dict[str, int], str, int, int] | None:
    """Return calls by schema, time of reset, evictions and ambiguous calls, or ``None``."""
    where = database.execute(
        "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
        "WHERE extname = 'pg_stat_statements'"
    ).fetchone()
    if where is None:
        return None
    # The name looked for is a parameter, so that this statement's own text does not hold it.
    entries = sql.SQL(
        "SELECT query, calls FROM {} WHERE toplevel AND position(%s IN query) > 0 "
        "AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).format(sql.Identifier(where[0], "pg_stat_statements"))
    info = sql.SQL("SELECT stats_reset::text, dealloc FROM {}").format(
        sql.Identifier(where[0], "pg_stat_statements_info")
    )
    try:
        # In this order an eviction during the snapshot shows up in a later one, never in none.
        reset, evictions = database.execute(info).fetchall()[0]
        rows = database.execute(entries, ["trigger_state"]).fetchall()
    except _UNAVAILABLE:
        return None
    calls, ambiguous = tally(rows, schemas, by_name=database.info.server_version >= _FILES_BY_NAME)
    return calls, reset, evictions, ambiguous


def tally(
    entries: Iterable[tuple[str, int]], schemas: Sequence[str], *, by_name: bool
) -> tuple[dict[str, int], int]:
    """Return the calls by schema and the calls that may belong to any schema.

    ``by_name`` says that the server files statements under names, aliases included.
    """
    calls = dict.fromkeys(schemas, 0)
    ambiguous = 0
    for text, number in entries:
        named = _named_schemas(text)
        if by_name and not _is_filed_by_schema(text, named):
            ambiguous += number
            continue
        for schema in named.keys() & calls.keys():
            calls[schema] += number
    return calls, ambiguous


_NAME = r'(?:"((?:[^"]|"")+)"|([^\W\d][\w$]*))'
_TABLE = re.compile(
    rf'(?<![\w$"]){_NAME}\s*\.\s*(?:"trigger_state"|trigger_state)(?![\w$"])(?:\s+AS\s+{_NAME})?',
    re.IGNORECASE,
)


def _named_schemas(text: str) -> dict[str, set[str]]:
    """Return the schemas whose ``trigger_state`` a statement names, with its aliases."""
    named: dict[str, set[str]] = {}
    for quoted, plain, quoted_alias, plain_alias in _TABLE.findall(text):
        aliases = named.setdefault(quoted or plain.lower(), set())
        aliases.add(quoted_alias or plain_alias.lower())
    return named


def _is_filed_by_schema(text: str, named: Mapping[str, set[str]]) -> bool:
    if not named:
        # Without a schema it may have been the first of statements that name one.
        return not re.search(r"(?<![\w$])trigger_state(?![\w$])", text, re.IGNORECASE)
    return all(any(s in alias for alias in aliases) for s, aliases in named.items())


def _check_epochs(later: _Epoch, earlier: _Epoch) -> None:
    if later.statements_reset != earlier.statements_reset or later.redis_run != earlier.redis_run:
        raise CountingError(
            "A server was restarted or its counters were reset between the snapshots: measure "
            "again while nobody does that."
        )
    if evicted := later.evictions - earlier.evictions:
        raise CountingError(
            f"PostgreSQL dropped entries of pg_stat_statements {evicted} times between the "
            "snapshots: raise pg_stat_statements.max and measure again."
        )
    if calls := later.ambiguous - earlier.ambiguous:
        raise CountingError(
            f"{calls} statements named a trigger_state without an alias that holds its schema's "
            "name, and PostgreSQL 18 counts those of all schemas as one: add the alias."
        )


def _difference(later: Mapping[str, int], earlier: Mapping[str, int]) -> dict[str, int]:
    names = later.keys() | earlier.keys()
    result = {name: later.get(name, 0) - earlier.get(name, 0) for name in sorted(names)}
    for name, calls in result.items():
        if calls < 0:
            raise CountingError(
                f"The count of {name} fell by {-calls} between the snapshots: measure again "
                "while nobody resets the servers' counters."
            )
    return result
