"""One cell: a manager under load, counted by the servers and checked in the database."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping
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
from statecache.study.harness.events import EVENT, EventPlan, closed_events, open_events
from statecache.study.harness.ledger import Write, check_events, check_rows
from statecache.study.harness.loops import Recording, closed_loop, open_loop
from statecache.study.harness.machine import Usage, usage_since
from statecache.study.harness.threads import Threads
from statecache.study.harness.workloads import Arrivals, Plan, arrivals
from statecache.study.histograms import histogram
from statecache.study.traces import DELETE, READ, WRITE

__all__ = ["Cell", "Closed", "Drive", "Foreign", "Open", "Subject", "measure_cell"]

#: Share of a run, before what is measured, that warms up.
WARM_UP: Final = 0.2

#: A percentile of an open loop is void where the driver was later than this share of it.
LATE_SHARE: Final = 0.1

#: How long a manager may take to repair what the cache did not take in time, in seconds.
SETTLE_S: Final = 2.0

NAN: Final = float("nan")

#: Writes somewhere else while it is entered; yields the writes once they are acknowledged.
Foreign: TypeAlias = "AbstractContextManager[list[Write]]"

#: Name → code; a request is any of them.
_OPERATIONS: Final[dict[str, int | None]] = {
    "load": READ,
    "update": WRITE,
    "delete": DELETE,
    "event": EVENT,
    "request": None,
}


@dataclass(frozen=True, slots=True)
class Closed:
    """Callers that each make their next request when one ends."""

    callers: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """Requests that start when they are due; at most ``callers`` are in flight."""

    callers: int
    seconds: float
    rate_per_s: float
    kind: Arrivals = "poisson"


Drive: TypeAlias = Closed | Open


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


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Everything that counts, at one time."""

    stats: CacheStats
    counts: ServerCounts
    backend_s: float | None
    redis_s: float | None
    client_s: float
    usage: Usage

    @classmethod
    def take(cls, audit: Audit, subject: Subject) -> _Snapshot:
        stats = subject.manager.get_cache_stats()
        return cls(
            stats,
            audit.counts(subject.schema),
            audit.backend_cpu_s(),
            audit.cache_cpu_s(),
            time.process_time(),
            Usage.now(),
        )


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
    started = _Snapshot.take(audit, subject)
    # All of it between the snapshots: of a write at its edge nobody could say who counted it.
    with foreign or nullcontext([]) as foreign_writes:
        recording = await _run(subject, plan, drive)
    ended = _Snapshot.take(audit, subject)
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
    row = _row(recording, drive, started, ended)
    statements = None if counted.statements is None else counted.statements[subject.schema]
    operations = max(1, len(recording.requests))
    # Somebody else's writes are one statement each, and not this manager's.
    row["statements_per_op"] = (
        NAN if statements is None else (statements - len(foreign_writes)) / operations
    )
    row["is_cold"] = is_cold
    row["redis_commands_per_op"] = sum(counted.redis_commands.values()) / operations
    return Cell(row, {name: recording.latencies(code) for name, code in _OPERATIONS.items()})


async def _run(subject: Subject, plan: Plan | EventPlan, drive: Drive) -> Recording:
    recording = await _drive(subject, plan, drive)
    # What a manager repairs in the background would be counted in the next cell.
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
        due = arrivals(drive.kind, drive.rate_per_s, drive.seconds, seed=subject.runs)
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


def _row(
    recording: Recording, drive: Drive, started: _Snapshot, ended: _Snapshot
) -> dict[str, Any]:
    operations = max(1, len(recording.requests))
    row: dict[str, Any] = {
        "throughput_ops_s": recording.throughput,
        "requests": len(recording.requests),
        "offered": recording.offered,
        "seconds": recording.seconds,
    }
    for name, code in _OPERATIONS.items():
        row |= _percentiles(name, recording.latencies(code))
    row |= _lateness(recording, drive, row)
    row |= _cache_figures(started.stats, ended.stats)
    writes = len(recording.writes_raw)
    absorbed = ended.stats.writes_absorbed - started.stats.writes_absorbed
    backend_s = _difference(ended.backend_s, started.backend_s)
    redis_s = _difference(ended.redis_s, started.redis_s)
    client_s = ended.client_s - started.client_s
    load = usage_since(started.usage)
    own_s = float(np.nansum([client_s, backend_s, redis_s]))
    return row | {
        "backend_us_per_op": backend_s / operations * 1e6,
        "redis_us_per_op": redis_s / operations * 1e6,
        "client_us_per_op": client_s / operations * 1e6,
        "client_share": client_s / recording.seconds,
        "absorbed_share": absorbed / writes if writes else 0.0,
        "machine_busy": load.busy_share,
        "steal_share": load.steal_share,
        "pressure_share": load.pressure_share,
        "foreign_share": load.foreign_share(own_s),
    }


def _percentiles(name: str, seconds: NDArray[np.float64]) -> dict[str, float]:
    names = ("p50", "p90", "p99", "p999", "max")
    row = {f"{name}_count": float(len(seconds))}
    if not len(seconds):
        return row | {f"{name}_{one}_us": NAN for one in (*names, "mean")}
    values = np.quantile(seconds, [0.5, 0.9, 0.99, 0.999, 1.0]) * 1e6
    row |= {f"{name}_{one}_us": float(value) for one, value in zip(names, values, strict=True)}
    return row | {f"{name}_mean_us": float(seconds.mean() * 1e6)}


def _lateness(recording: Recording, drive: Drive, row: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(drive, Closed):
        return {}
    late = np.array(recording.late or [0.0])
    p50, p99 = (float(value) * 1e6 for value in np.quantile(late, [0.5, 0.99]))
    return {
        "late_p50_us": p50,
        "late_p99_us": p99,
        "p50_void": p50 > LATE_SHARE * row["request_p50_us"],
        "p99_void": p99 > LATE_SHARE * row["request_p99_us"],
        "completed_share": len(recording.requests) / recording.offered,
        "unfinished_half": recording.unfinished(drive.seconds / 2),
        "unfinished_end": recording.unfinished(drive.seconds),
    }


def _cache_figures(before: CacheStats, after: CacheStats) -> dict[str, Any]:
    hits, misses = after.hits - before.hits, after.misses - before.misses
    reasons = {
        f"misses_{reason}": count - before.misses_by_reason.get(reason, 0)
        for reason, count in after.misses_by_reason.items()
    }
    return {
        "hits": hits,
        "memory_hits": after.memory_hits - before.memory_hits,
        "misses": misses,
        "hit_rate": hits / (hits + misses) if hits + misses else NAN,
        "coalesced": after.coalesced - before.coalesced,
        "puts_late": after.puts_late - before.puts_late,
        **reasons,
    }


def _check_counters(
    before: CacheStats, after: CacheStats, counted: ServerCounts, schema: str
) -> None:
    """Raise ``StudyError`` where the cache failed, or managers and servers disagree."""
    if after.errors > before.errors:
        raise StudyError(
            f"the cache failed {after.errors - before.errors} times during a cell "
            f"({after.errors_by_reason}): the machine is too busy, try again."
        )
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


def _difference(later: float | None, earlier: float | None) -> float:
    return NAN if later is None or earlier is None else later - earlier
