"""One cell: a manager under load, counted by the servers and checked in the database."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache import AsyncStateManager, CacheStats, StateManager
from statecache.study.counting import ServerCounts
from statecache.study.errors import StudyError
from statecache.study.harness.audit import Audit
from statecache.study.harness.drives import Closed, Drive, Open
from statecache.study.harness.events import EventPlan, closed_events, open_events
from statecache.study.harness.ledger import Write, check_events, check_rows
from statecache.study.harness.loops import Recording, closed_loop, open_loop
from statecache.study.harness.outages import cache_failure
from statecache.study.harness.readings import NAN, OPERATIONS, Snapshot, row_of
from statecache.study.harness.threads import Threads
from statecache.study.harness.workloads import Plan, arrivals, recorded_arrivals
from statecache.study.histograms import histogram

__all__ = ["Cell", "Foreign", "Subject", "measure_cell"]

#: Share of a run, before what is measured, that warms up.
WARM_UP: Final = 0.2

#: How long a manager may take to repair what the cache did not take in time, in seconds.
SETTLE_S: Final = 2.0

#: Writes somewhere else while it is entered; yields the writes once they are acknowledged.
Foreign: TypeAlias = "AbstractContextManager[list[Write]]"


@dataclass(slots=True)
class Subject:
    """A manager under test, and where it keeps its states."""

    manager: AsyncStateManager | StateManager
    schema: str
    variant: str
    #: Whether states come and go: then a load may find none.
    may_be_absent: bool = False
    #: Numbers of its writes, and where in the plan its next run begins.
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    offset: int = 0
    #: Runs so far, which is the seed of the next one's arrivals.
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured; NaN where nobody counted.

    ``row``: throughput_ops_s, requests, offered, seconds; <operation>_<p50, p90, p99, p999, max,
    mean>_us and <operation>_count for load, update, delete, event and request (all of them; counted
    from when a request was due); late_p50_us, late_p99_us, p50_void, p99_void, completed_share,
    unfinished_half, unfinished_end (open loop); hits, memory_hits, misses, hit_rate,
    misses_<reason>, coalesced, puts_late; statements_per_op, backend_us_per_op,
    redis_commands_per_op, redis_us_per_op, client_us_per_op, client_share (of a core),
    absorbed_share (of the writes), is_cold (whether PostgreSQL's buffers could be emptied);
    machine_busy, steal_share, pressure_share, foreign_share.

    ``latencies``: operation → seconds.
    """

    row: dict[str, Any]
    latencies: dict[str, NDArray[np.float64]]

    def __getattr__(self, name: str) -> float:
        try:
            return float(self.row[name])
        except KeyError:
            raise AttributeError(name) from None

    def histograms(self) -> pd.DataFrame:
        """Return operation, low_us, high_us and count of all that happened."""
        frames = []
        for operation, seconds in self.latencies.items():
            if operation != "request" and len(seconds):
                frame = histogram(seconds)
                frame.insert(0, "operation", operation)
                frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


async def measure_cell(
    audit: Audit,
    subject: Subject,
    plan: Plan | EventPlan,
    drive: Drive,
    *,
    foreign: Foreign | None = None,
    cold: bool = False,
) -> Cell:
    """Warm the subject up, run the load, and check rows and counters then.

    ``foreign`` is what somebody else writes to the same states meanwhile. ``cold`` empties
    PostgreSQL's buffers of the table once connections and statements are warm. Raises
    ``StudyError`` where the database does not bear the acknowledged writes out, where the cache
    failed, or where manager and servers count differently (not checked beside somebody else's
    writes).
    """
    before = audit.rows(subject.schema)
    first = subject.manager.get_cache_stats()
    warmed = await _run(subject, plan, Closed(drive.callers, WARM_UP * drive.seconds))
    is_cold = cold and audit.evict(subject.schema)
    started = Snapshot.take(audit, subject.manager.get_cache_stats(), subject.schema)
    # All of it between the snapshots: of a write at its edge nobody could say who counted it.
    with foreign or nullcontext([]) as foreign_writes:
        recording = await _run(subject, plan, drive)
    ended = Snapshot.take(audit, subject.manager.get_cache_stats(), subject.schema)
    last = subject.manager.get_cache_stats()
    writes = [*warmed.writes, *recording.writes, *foreign_writes]
    after = audit.rows(subject.schema)
    if isinstance(plan, EventPlan):
        check_events(Counter(write.trigger_id for write in writes), before, after)
    else:
        absorbed = last.writes_absorbed - first.writes_absorbed
        check_rows(writes, before, after, absorbed=absorbed)
    audit.tidy(subject.schema)
    counted = ended.counts - started.counts
    if foreign is None:
        _check_counters(started.stats, ended.stats, counted, subject.schema)
    row = row_of(recording, drive, started, ended)
    statements = None if counted.statements is None else counted.statements[subject.schema]
    operations = max(1, len(recording.requests))
    # Somebody else's writes are one statement each, and not this manager's.
    row["statements_per_op"] = (
        NAN if statements is None else (statements - len(foreign_writes)) / operations
    )
    row["is_cold"] = is_cold
    row["redis_commands_per_op"] = sum(counted.redis_commands.values()) / operations
    return Cell(row, {name: recording.latencies(code) for name, code in OPERATIONS.items()})


async def _run(subject: Subject, plan: Plan | EventPlan, drive: Drive) -> Recording:
    recording = await _drive(subject, plan, drive)
    # What is still on its way to the cache, or is repaired in the background, would be counted in
    # the next cell.
    if not isinstance(subject.manager, StateManager):
        await subject.manager.settle()
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until and subject.manager.get_cache_stats().unrepaired:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    return recording


async def _drive(subject: Subject, plan: Plan | EventPlan, drive: Drive) -> Recording:
    options: dict[str, Any] = {
        "callers": drive.callers,
        "numbers": subject.numbers,
        "offset": subject.offset,
        "may_be_absent": subject.may_be_absent,
    }
    subject.offset = (subject.offset + 31_337) % len(plan)
    subject.runs += 1
    manager = subject.manager
    due = None
    if isinstance(drive, Open):
        due = _due(drive, plan, options["offset"], seed=subject.runs)
    if isinstance(plan, EventPlan):
        return await _run_events(manager, plan, drive, due, options["offset"])
    if isinstance(manager, StateManager):
        threads = Threads(manager=manager, plan=plan, **options)
        if due is None:
            return await asyncio.to_thread(threads.closed, drive.seconds)
        return await asyncio.to_thread(threads.open, due)
    if due is None:
        return await closed_loop(manager, plan, seconds=drive.seconds, **options)
    return await open_loop(manager, plan, due, **options)


def _due(drive: Open, plan: Plan | EventPlan, offset: int, seed: int) -> NDArray[np.float64]:
    if drive.kind == "recorded" and isinstance(plan, Plan):
        return recorded_arrivals(plan, drive.rate_per_s, drive.seconds, offset)
    return arrivals(drive.kind, drive.rate_per_s, drive.seconds, seed=seed)


async def _run_events(
    manager: AsyncStateManager | StateManager,
    plan: EventPlan,
    drive: Drive,
    due: NDArray[np.float64] | None,
    offset: int,
) -> Recording:
    if isinstance(manager, StateManager):
        raise StudyError("the trigger engine is asynchronous: take a variant without threads.")
    callers = drive.callers
    if due is None:
        return await closed_events(
            manager, plan, callers=callers, seconds=drive.seconds, offset=offset
        )
    return await open_events(manager, plan, due, callers=callers, offset=offset)


def _check_counters(
    before: CacheStats, after: CacheStats, counted: ServerCounts, schema: str
) -> None:
    """Raise ``StudyError`` where the cache failed, or managers and servers disagree."""
    if after.errors > before.errors:
        reasons = Counter(after.errors_by_reason)
        reasons.subtract(before.errors_by_reason)
        raise cache_failure(after.errors - before.errors, reasons)
    pairs = {
        f"{name} commands": (
            calls - before.cache_commands.get(name, 0),
            counted.redis_commands.get(name.lower(), 0),
        )
        for name, calls in after.cache_commands.items()
    }
    if counted.statements is not None:
        own = after.db_reads + after.db_writes - before.db_reads - before.db_writes
        pairs["PostgreSQL statements"] = own, counted.statements[schema]
    for what, (manager, server) in pairs.items():
        if manager != server:
            raise StudyError(
                f"the manager counts {manager} {what}, the server counts {server}: is anybody "
                "else using these servers?"
            )
