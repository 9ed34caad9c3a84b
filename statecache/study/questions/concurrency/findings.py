"""What the concurrency study shows: curves over callers, capacities read off the ladders."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from statecache.study.bounds import gain_where_reads_are_saved
from statecache.study.capacity import Capacity, find_capacity
from statecache.study.harness.campaign import AGAIN
from statecache.study.harness.variants import NONE
from statecache.study.histograms import P99_SAMPLES, pooled, quantile_us
from statecache.study.intervals import Interval, ratio_interval
from statecache.study.questions.concurrency.ladder import judged_ladder
from statecache.study.questions.concurrency.measure import (
    DOCUMENTED_CALLERS,
    ONE_BY_ONE,
    PURE_READS,
    PURE_WRITES,
    VARIANTS,
    ConcurrencyRun,
    cell_name,
)
from statecache.study.questions.costs import Costs, reads_in_time
from statecache.study.questions.pairs import average, columns, middle, ratio, same_gathering

__all__ = [
    "Findings",
    "assert_agreement",
    "capacity_gain",
    "find",
]


@dataclass(frozen=True, slots=True)
class Findings:
    """A run, summed up over its blocks.

    ``curve``: a row for each mechanisms and number of callers: mechanisms, callers, events_s,
    events_low, events_high, p50_us, p99_us, hit_rate, statements (per event), cpu_us (backends,
    per event), client_share, database_share (in cores), gain, gain_low, gain_high (over the same
    gathering without a cache), total, total_low, total_high (over the uncached engine).

    ``ladder``: a row for each mechanisms and rung: mechanisms, offered_s, p99_us, p99_low,
    p99_high (geometric mean over the blocks), pooled_p99_us (NaN below 10,000 latencies),
    latencies, failed, busy and saturated (shares of the blocks), client_share, late_p99_us.
    """

    run: ConcurrencyRun
    curve: pd.DataFrame
    ladder: pd.DataFrame
    capacities: dict[str, Capacity]
    costs: Costs
    #: The uncached engine against itself: differences of this size mean nothing.
    noise: Interval
    #: φ and 1/(1 − φh) of one call after the other.
    one_by_one_share: float
    one_by_one_bound: float

    @property
    def cells(self) -> pd.DataFrame:
        """The cells of the closed loops."""
        return self.run.closed.cells

    @property
    def profile(self) -> str:
        """The deployment profile."""
        return self.run.settings.profile

    @property
    def pairs(self) -> int:
        """Number of blocks of the closed loops."""
        return int(self.cells["block"].nunique())

    def row(self, mechanisms: str, callers: int = DOCUMENTED_CALLERS) -> pd.Series:
        """Return a row of the curve."""
        rows = self.curve[self.curve["mechanisms"] == mechanisms]
        return rows[rows["callers"] == callers].iloc[0]

    @property
    def bound(self) -> float:
        """1/(1 − φ): what hits can gain where the database is the bottleneck."""
        return gain_where_reads_are_saved(self.costs.reads_share(0.5), 1.0)

    @property
    def database_is_bottleneck(self) -> bool:
        """Whether, without a cache, PostgreSQL's backends are busier than the client."""
        row = self.row(NONE.name)
        return bool(row["database_share"] > row["client_share"])


def find(run: ConcurrencyRun) -> Findings:
    """Sum up a run."""
    cells, settings = run.closed.cells, run.settings
    curve = pd.DataFrame(
        [
            _curve_row(cells, variant.name, callers)
            for variant in VARIANTS
            for callers in settings.callers
        ]
    )
    steps = judged_ladder(run.ladder.cells, settings.limit_ms)
    baseline = cell_name(NONE.name, DOCUMENTED_CALLERS)
    share = reads_in_time(cells[cells["cell"] == ONE_BY_ONE], 0.5)
    return Findings(
        run=run,
        curve=curve,
        ladder=_ladder(steps, run.ladder.histograms),
        capacities={
            variant.name: find_capacity(
                steps[steps["mechanisms"] == variant.name], limit_us=1_000 * settings.limit_ms
            )
            for variant in VARIANTS
        },
        costs=Costs.of(cells, PURE_READS, PURE_WRITES),
        noise=ratio(cells, baseline + AGAIN, baseline, "throughput_ops_s"),
        one_by_one_share=share,
        one_by_one_bound=gain_where_reads_are_saved(share, 1.0),
    )


def capacity_gain(
    findings: Findings, ours: str, theirs: str, level: float = 0.95
) -> tuple[Interval, str]:
    """Return a capacity over another one in pairs of blocks, and how it is to be read.

    The sign is "≥" where ours, and "≤" where theirs, lies above its ladder; "?" where both do.
    """
    mine, other = findings.capacities[ours], findings.capacities[theirs]
    blocks = sorted(mine.by_block, key=str)
    interval = ratio_interval(
        [mine.by_block[block] for block in blocks],
        [other.by_block[block] for block in blocks],
        level,
    )
    more = mine.above > 0 or other.below > 0
    less = mine.below > 0 or other.above > 0
    return interval, "?" if more and less else "≥" if more else "≤" if less else ""


def assert_agreement(findings: Findings) -> str:
    """Return a sentence on what the states bear out, or raise ``AssertionError``.

    Every cell compared each trigger's count and version with the events that it handled; here the
    statements are compared: without gathering or a cache an event is two of them.
    """
    cells = findings.run.cells
    events = cells[cells["part"].isin(["curve", "ladder"])]
    # A driver that the machine stopped for longer than a rung has handled nothing in it.
    counted = events["statements_per_op"].notna() & (events["requests"] > 0)
    plain = events[counted & (events["mechanisms"] == NONE.name)]
    off = (plain["statements_per_op"] - 2).abs()
    worst = plain.iloc[int(off.argmax())] if len(plain) else None
    assert worst is None or off.max() < 1e-9, (  # noqa: S101 - the notebook's check
        f"{worst['cell']}, block {worst['block']}: {worst['statements_per_op']:.6f} statements an "
        "event without a cache, but an event is one load and one update"
    )
    total = int(events["requests"].sum())
    return (
        f"All {total:,} events, and those of the warm-ups, are in the states exactly once, each as "
        "one write of its own."
    )


def _curve_row(cells: pd.DataFrame, mechanisms: str, callers: int) -> dict[str, object]:
    cell = cell_name(mechanisms, callers)
    rate = average(cells, cell, "throughput_ops_s")
    cpu_us = average(cells, cell, "backend_us_per_op").mean
    gain = ratio(cells, cell, cell_name(same_gathering(mechanisms), callers), "throughput_ops_s")
    total = ratio(cells, cell, cell_name(NONE.name, callers), "throughput_ops_s")
    return {
        "mechanisms": mechanisms,
        "callers": callers,
        "events_s": rate.mean,
        "events_low": rate.low,
        "events_high": rate.high,
        "p50_us": average(cells, cell, "request_p50_us").mean,
        "p99_us": average(cells, cell, "request_p99_us").mean,
        "hit_rate": middle(cells, cell, "hit_rate"),
        "statements": middle(cells, cell, "statements_per_op"),
        "cpu_us": cpu_us,
        "client_share": middle(cells, cell, "client_share"),
        "database_share": cpu_us * rate.mean / 1e6,
        **columns("gain", gain),
        **columns("total", total),
    }


def _ladder(steps: pd.DataFrame, histograms: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (mechanisms, offered_s), group in steps.groupby(["mechanisms", "offered_s"], sort=True):
        cell = str(group["cell"].iloc[0])
        p99 = average(steps.dropna(subset=["latency_us"]), cell, "latency_us")
        own = histograms[histograms["cell"] == cell]
        count = int(own["count"].sum())
        rows.append(
            {
                "mechanisms": mechanisms,
                "offered_s": offered_s,
                "p99_us": p99.mean,
                "p99_low": p99.low,
                "p99_high": p99.high,
                "pooled_p99_us": quantile_us(pooled(own), 0.99)
                if count >= P99_SAMPLES
                else math.nan,
                "latencies": count,
                "failed": float(group["failed"].mean()),
                "busy": float(group["busy"].mean()),
                "saturated": float(group["saturated"].mean()),
                "client_share": float(group["client_share"].mean()),
                "late_p99_us": float(group["late_p99_us"].median()),
            }
        )
    return pd.DataFrame(rows)
