"""From the record of a pass to one row a variant: hit rates, replays, statements, latencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.flights import to_trace
from statecache.study.histograms import histogram
from statecache.study.questions.ttl_sweep.live_pass import PassRecord
from statecache.study.replay import hit_curve
from statecache.study.traces import Trace

__all__ = [
    "EXECUTED_LIMIT",
    "PLANNED_LIMIT",
    "QUIET_SHARE",
    "Cells",
    "age_at_hit_s",
    "cells_of",
    "first_misses",
]

#: A cell is quiet where the 99th percentile of its commits is at most this share of its TTL:
#: entries arm after the commit, so slow commits move the live hit rate off the planned one.
QUIET_SHARE: Final = 0.02

#: How far a live hit rate may be from the exact replay of what was done, as a share of the reads.
EXECUTED_LIMIT: Final = 0.005

#: How far the replay of the planned times may be off in a quiet cell, as a share of the reads. In
#: virtual time a fetch takes no time, so what shares a fetch live is a hit there.
PLANNED_LIMIT: Final = 0.01


#: What a manager calls an operation → what a trace does.
_OPERATIONS: Final = {"load": "read", "update": "write", "delete": "delete"}


@dataclass(frozen=True, slots=True)
class Cells:
    """The measured cells of one pass.

    ``cells``: a row a variant: start, attempt, variant, ttl_min, live_ttl_ms, reads, writes, hits,
    hit_rate, served_rate, hit_rate_executed, hit_rate_planned (shares of the reads; served are hits
    and loads that shared another's database read), statements, counted_by (PostgreSQL, or the
    managers where the server keeps no count), redis_commands, fills_dropped, coalesced, hit_p50_us,
    hit_p99_us, load_p50_us, load_p99_us, load_mean_us, commit_p50_us, commit_p99_us, late_p99_us
    (microseconds), cpu_share, quiet.

    ``histograms``: start, attempt, variant, operation (hit, miss, load, commit, request), low_us,
    high_us, count; a request is counted from its planned start, the others from their real one.
    """

    cells: pd.DataFrame
    histograms: pd.DataFrame

    @property
    def commit_p99_us(self) -> float:
        """The slowest variant's 99th percentile of commits, in microseconds."""
        return float(self.cells["commit_p99_us"].max())

    @property
    def executed_is_off(self) -> bool:
        """Whether live and replay of the executed times disagree somewhere."""
        off = (self.cells["hit_rate"] - self.cells["hit_rate_executed"]).abs() > EXECUTED_LIMIT
        return bool(off.any())

    @property
    def planned_is_off_by_noise(self) -> bool:
        """Whether the planned replay is off where the machine was not quiet."""
        off = (self.cells["served_rate"] - self.cells["hit_rate_planned"]).abs() > PLANNED_LIMIT
        return bool((off & ~self.cells["quiet"]).any())


def cells_of(
    record: PassRecord,
    stream: pd.DataFrame,
    *,
    ttl_min: Mapping[str, float],
    live_ttl_ms: Callable[[float], int],
    labels: Mapping[str, Any],
) -> Cells:
    """Compute the cells of a pass; ``ttl_min`` is NaN for the variant without a cache."""
    planned_trace = to_trace(stream)
    rows, buckets = [], []
    for variant, minutes in ttl_min.items():
        accesses = record.log.accesses.query("variant == @variant")
        requests = record.log.requests.query("variant == @variant")
        stats = record.stats[variant]
        latencies = _latencies(accesses, requests)
        row: dict[str, Any] = {
            **labels,
            "variant": variant,
            "ttl_min": minutes,
            "live_ttl_ms": np.nan,
            "reads": stats.hits + stats.misses if stats.enabled else stats.db_reads,
            "writes": stats.db_writes,
            "hits": stats.hits,
            "hit_rate": stats.hit_rate if stats.enabled else np.nan,
            "misses_first": first_misses(accesses),
            "age_at_hit_s": age_at_hit_s(accesses),
            "served_rate": np.nan,
            "hit_rate_executed": np.nan,
            "hit_rate_planned": np.nan,
            "statements": (
                stats.db_reads + stats.db_writes
                if record.statements is None
                else record.statements[variant]
            ),
            "counted_by": "the managers" if record.statements is None else "PostgreSQL",
            "redis_commands": sum(stats.cache_commands.values()),
            "fills_dropped": stats.fills_dropped,
            "coalesced": stats.coalesced,
            **_percentiles(latencies),
            "late_p99_us": _percentile(requests["started_s"] - requests["planned_s"], 99),
            "cpu_share": record.log.cpu_share,
            "quiet": True,
        }
        if stats.enabled:
            live_s = live_ttl_ms(minutes) / 1000
            row["live_ttl_ms"] = live_s * 1000
            row["served_rate"] = (stats.hits + stats.coalesced) / max(1, row["reads"])
            row["hit_rate_executed"] = _hit_rate(executed_trace(accesses), live_s)
            row["hit_rate_planned"] = _hit_rate(planned_trace, minutes * 60)
            row["quiet"] = bool(row["commit_p99_us"] <= QUIET_SHARE * live_s * 1e6)
        rows.append(row)
        for operation, values in latencies.items():
            if len(values):
                frame = histogram(values)
                for place, (name, value) in enumerate(
                    {**labels, "variant": variant, "operation": operation}.items()
                ):
                    frame.insert(place, name, value)
                buckets.append(frame)
    return Cells(pd.DataFrame(rows), pd.concat(buckets, ignore_index=True))


def executed_trace(accesses: pd.DataFrame) -> Trace:
    """Return what a live manager did, at the times at which it did it.

    A load looks up when it starts, and an entry is taken to arrive when it is sent: a reply may
    lie unread while the client is busy. What was never put (a fill that came too late, or that
    another caller did) is taken to arrive after the end.
    """
    never = accesses["ended_s"].max() + 1
    # Where replay takes a live hit for a miss, its fill is that load's.
    arrives = accesses["armed_s"].where(accesses["outcome"] != "hit", accesses["ended_s"])
    return Trace.from_frame(
        pd.DataFrame(
            {
                "time_s": accesses["started_s"],
                "key": accesses["key"],
                "op": accesses["operation"].astype(object).map(_OPERATIONS),
                "armed_s": arrives.fillna(never),
            }
        )
    )


def _hit_rate(trace: Trace, ttl_s: float) -> float:
    return float(hit_curve(trace, [ttl_s])["hit_rate"].iloc[0])


def first_misses(accesses: pd.DataFrame) -> int:
    """Return how many loads missed a key that nobody had asked for before."""
    in_order = accesses.sort_values("started_s", kind="stable")
    is_first = ~in_order["key"].duplicated()
    is_miss = (in_order["operation"] == "load") & (in_order["outcome"] != "hit")
    return int((is_first & is_miss).sum())


def age_at_hit_s(accesses: pd.DataFrame) -> float:
    """Return the mean age of an entry when it was hit; NaN where nothing was."""
    armed = accesses[accesses["armed_s"].notna() & (accesses["outcome"] != "hit")]
    hits = accesses[(accesses["operation"] == "load") & (accesses["outcome"] == "hit")]
    found = pd.merge_asof(
        hits[["started_s", "key"]].sort_values("started_s"),
        armed[["armed_s", "key"]].sort_values("armed_s"),
        left_on="started_s",
        right_on="armed_s",
        by="key",
    )
    return float((found["started_s"] - found["armed_s"]).mean())


def _latencies(accesses: pd.DataFrame, requests: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    took = (accesses["ended_s"] - accesses["started_s"]).to_numpy()
    load = (accesses["operation"] == "load").to_numpy()
    hit = (accesses["outcome"] == "hit").to_numpy()
    return {
        "hit": took[load & hit],
        "miss": took[load & ~hit],
        "load": took[load],
        "commit": took[~load],
        "request": (requests["ended_s"] - requests["planned_s"]).to_numpy(),
    }


def _percentiles(latencies: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    found = {}
    for operation in ("hit", "miss", "load", "commit", "request"):
        values = latencies[operation]
        found[f"{operation}_p50_us"] = _percentile(values, 50)
        found[f"{operation}_p99_us"] = _percentile(values, 99)
    found["load_mean_us"] = float(np.mean(latencies["load"]) * 1e6)
    return found


def _percentile(seconds: NDArray[np.float64] | pd.Series, percent: float) -> float:
    values = np.asarray(seconds, dtype=np.float64)
    return float(np.percentile(values, percent) * 1e6) if len(values) else float("nan")
