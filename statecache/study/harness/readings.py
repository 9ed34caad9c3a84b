"""What is read off before and after a cell, and the figures that makes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from statecache import CacheStats
from statecache.study.counting import ServerCounts
from statecache.study.harness.audit import Audit
from statecache.study.harness.drives import Closed, Drive
from statecache.study.harness.events import EVENT
from statecache.study.harness.loops import Recording
from statecache.study.harness.machine import Usage, usage_since
from statecache.study.harness.waking import looked_s
from statecache.study.traces import DELETE, READ, WRITE

__all__ = ["NAN", "OPERATIONS", "Snapshot", "row_of"]

#: A percentile of an open loop is void where the driver was later than this share of it.
LATE_SHARE: Final = 0.1

NAN: Final = float("nan")

#: Name → code; a request is any of them.
OPERATIONS: Final[dict[str, int | None]] = {
    "load": READ,
    "update": WRITE,
    "delete": DELETE,
    "event": EVENT,
    "request": None,
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that counts, at one time."""

    stats: CacheStats
    counts: ServerCounts
    backend_s: float | None
    redis_s: float | None
    client_s: float
    usage: Usage

    @classmethod
    def take(cls, audit: Audit, stats: CacheStats, schema: str) -> Snapshot:
        """Read every counter now; ``stats`` are those of the manager under test."""
        return cls(
            stats,
            audit.counts(schema),
            audit.backend_cpu_s(),
            audit.cache_cpu_s(),
            time.process_time() - looked_s(),
            Usage.now(),
        )


def row_of(
    recording: Recording, drive: Drive, started: Snapshot, ended: Snapshot
) -> dict[str, Any]:
    """Return a cell's figures but for what the servers counted; see ``cells.Cell``."""
    operations = max(1, len(recording.requests))
    row: dict[str, Any] = {
        "throughput_ops_s": recording.throughput,
        "requests": len(recording.requests),
        "offered": recording.offered,
        "seconds": recording.seconds,
    }
    for name, code in OPERATIONS.items():
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


def _difference(later: float | None, earlier: float | None) -> float:
    return NAN if later is None or earlier is None else later - earlier
