"""One cell of a mix: a manager under load, counted by the servers and checked in the database."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import psycopg
from psycopg import sql

from statecache import AsyncStateManager
from statecache.study.bench.backends import backend_cpu_s
from statecache.study.bench.foreign import Foreign, writing_meanwhile
from statecache.study.bench.ledger import Held, check_rows
from statecache.study.bench.load import Plan, run_mix
from statecache.study.counting import count
from statecache.study.servers import Servers

__all__ = ["Cell", "Subject", "measure_cell", "read_rows", "tidy"]

#: Share of a run, before what is measured, that warms up.
WARM_UP = 0.2

NAN = float("nan")


class Cell(NamedTuple):
    """What was measured; per operation where a name says so, NaN where nobody counted."""

    throughput: float
    p50_s: float
    p99_s: float
    statements_per_op: float
    backend_s_per_op: float
    client_s_per_op: float
    #: Share of the acknowledged writes that shared a row's statement with a later one.
    absorbed_share: float


@dataclass(slots=True)
class Subject:
    """A manager under test, and where it keeps its states."""

    manager: AsyncStateManager
    schema: str
    variant: str
    #: Numbers of its writes, and where in the plan its next run begins.
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    offset: int = 0


async def measure_cell(
    servers: Servers,
    subject: Subject,
    plan: Plan,
    *,
    callers: int,
    seconds: float,
    foreign: Foreign | None = None,
) -> Cell:
    """Run the mix, a second process writing meanwhile if there is one, and check the rows then.

    Raises ``StudyError`` where the database does not bear the acknowledged writes out.
    """
    before = read_rows(servers, subject.schema)
    counted = count(servers, [subject.schema])
    cpu, own_cpu = backend_cpu_s(servers), time.process_time()
    absorbed = subject.manager.get_cache_stats().writes_absorbed
    with writing_meanwhile(foreign, subject.variant) as foreign_writes:
        runs = [
            await run_mix(
                subject.manager,
                plan,
                callers=callers,
                seconds=length,
                numbers=subject.numbers,
                offset=subject.offset + start,
            )
            for start, length in ((0, WARM_UP * seconds), (len(plan.ids) // 7, seconds))
        ]
    subject.offset += 31_337
    absorbed = subject.manager.get_cache_stats().writes_absorbed - absorbed
    own_cpu = time.process_time() - own_cpu
    cpu_later = backend_cpu_s(servers)
    statements = (count(servers, [subject.schema]) - counted).statements
    writes = [write for run in runs for write in run.writes]
    check_rows(
        writes + foreign_writes, before, read_rows(servers, subject.schema), absorbed=absorbed
    )
    tidy(servers, subject.schema)
    operations = sum(len(run.latencies) for run in runs)
    measured = runs[-1]
    return Cell(
        throughput=measured.throughput,
        p50_s=measured.percentile(0.5),
        p99_s=measured.percentile(0.99),
        statements_per_op=(
            NAN
            if statements is None
            else (statements[subject.schema] - len(foreign_writes)) / operations
        ),
        backend_s_per_op=(
            NAN if cpu is None or cpu_later is None else (cpu_later - cpu) / operations
        ),
        client_s_per_op=own_cpu / operations,
        absorbed_share=absorbed / len(writes) if writes else 0.0,
    )


def read_rows(servers: Servers, schema: str) -> dict[str, Held]:
    """Return what every row holds."""
    # With an alias, so that the servers' counters know whose statement this is.
    query = sql.SQL(
        "SELECT trigger_id, (state_data->>'count')::bigint, version FROM {}.trigger_state AS {}"
    ).format(sql.Identifier(schema), sql.Identifier(schema))
    with psycopg.connect(servers.database_url) as connection:
        rows = connection.execute(query).fetchall()
    return {trigger_id: Held(number, version) for trigger_id, number, version in rows}


def tidy(servers: Servers, schema: str) -> None:
    """Remove dead rows, so that no run pays for the one before it."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = %s", [schema]
        ).fetchall()
        for (table,) in tables:
            connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(schema, table)))
