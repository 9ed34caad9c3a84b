"""One cell of a mix: a manager under load, counted by the servers and checked in the database."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from statecache import AsyncStateManager
from statecache.study.bench.audit import Audit
from statecache.study.bench.foreign import Foreign, writing_meanwhile
from statecache.study.bench.ledger import check_rows
from statecache.study.bench.load import Plan, run_mix

__all__ = ["Cell", "Subject", "measure_cell"]

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
    audit: Audit,
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
    before = audit.rows(subject.schema)
    counted = audit.counts(subject.schema)
    cpu = audit.backend_cpu_s()
    absorbed = subject.manager.get_cache_stats().writes_absorbed
    with writing_meanwhile(foreign, subject.variant) as foreign_writes:
        own_cpu = time.process_time()
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
        own_cpu = time.process_time() - own_cpu
    subject.offset += 31_337
    absorbed = subject.manager.get_cache_stats().writes_absorbed - absorbed
    cpu_later = audit.backend_cpu_s()
    statements = (audit.counts(subject.schema) - counted).statements
    writes = [write for run in runs for write in run.writes]
    check_rows(writes + foreign_writes, before, audit.rows(subject.schema), absorbed=absorbed)
    audit.tidy(subject.schema)
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
