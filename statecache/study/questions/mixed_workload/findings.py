"""What the mixed workload shows: gains, statements and CPU saved, beside their bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import pandas as pd

from statecache.study.bounds import gain_where_reads_are_saved
from statecache.study.harness.campaign import AGAIN
from statecache.study.harness.variants import NONE, REDIS
from statecache.study.intervals import Interval
from statecache.study.questions.costs import Costs, reads_in_time
from statecache.study.questions.mixed_workload.measure import (
    PURE_READS,
    PURE_WRITES,
    MixedRun,
    cell_name,
)
from statecache.study.questions.pairs import average, columns, middle, ratio, same_gathering, saved

__all__ = ["Findings", "Sequential", "assert_agreement", "find"]

#: By how much counts of the same thing may differ, per operation: rounding only.
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Sequential:
    """One call after the other at the documented mix."""

    gain: Interval
    #: φ, the reads' share of the time without a cache, and what follows from it and the hits.
    reads_share: float
    bound: float


@dataclass(frozen=True, slots=True)
class Findings:
    """A campaign, summed up over its blocks.

    ``grid``: a row for each mechanisms, TTL and read share: cell, mechanisms, ttl_s (NaN without a
    cache), read_share, hit_rate, ttl_requests (requests for a key of average popularity in a TTL),
    ops_s, against (the cell with the same gathering and no cache), gain, gain_low, gain_high
    (throughput over that), total, total_low, total_high (over the uncached manager), statements
    (per operation), saved and served (share of statements saved, and ρh, of all operations those
    that no statement of their own was made for), cpu_us (backends, per operation), cpu_saved,
    cpu_saved_low, cpu_saved_high (against the same gathering), cost_bound (φh), gain_bound
    (1/(1 − φh)), absorbed, client_share, database_share (CPU time of client and backends, in
    cores). Bounds are NaN where there is gathering, which changes what they rest on.
    """

    run: MixedRun
    grid: pd.DataFrame
    costs: Costs
    sequential: Sequential
    #: The uncached manager against itself: differences of this size mean nothing.
    noise: Interval

    @property
    def cells(self) -> pd.DataFrame:
        """The cells as they were measured."""
        return self.run.measurements.cells

    @property
    def profile(self) -> str:
        """The deployment profile."""
        return self.run.settings.profile

    @property
    def share(self) -> float:
        """The share of reads that the claims are judged at."""
        return self.run.settings.judged_share

    @property
    def pairs(self) -> int:
        """Number of blocks."""
        return int(self.cells["block"].nunique())

    def row(self, mechanisms: str, read_share: float, ttl_s: float | None = None) -> pd.Series:
        """Return a row of the grid."""
        name = cell_name(mechanisms, read_share, ttl_s)
        return self.grid[self.grid["cell"] == name].iloc[0]

    @property
    def database_is_bottleneck(self) -> bool:
        """Whether, without a cache, PostgreSQL's backends are busier than the client."""
        row = self.row(NONE.name, self.share)
        return bool(row["database_share"] > row["client_share"])


def find(run: MixedRun) -> Findings:
    """Sum up a campaign."""
    cells = run.measurements.cells
    costs = Costs.of(cells, PURE_READS, PURE_WRITES)
    parts = cells[cells["part"] == "grid"]
    # The A/A pair has the labels of what it repeats.
    parts = parts[~parts["cell"].str.endswith(AGAIN)]
    firsts = parts.drop_duplicates("cell").sort_values(["read_share", "mechanisms", "ttl_s"])
    keys = run.settings.states
    grid = pd.DataFrame([_grid_row(cells, costs, first, keys) for _, first in firsts.iterrows()])
    baseline = cell_name(NONE.name, run.settings.judged_share)
    return Findings(
        run=run,
        grid=grid.reset_index(drop=True),
        costs=costs,
        sequential=_sequential(run),
        noise=ratio(cells, baseline + AGAIN, baseline, "throughput_ops_s"),
    )


def _grid_row(cells: pd.DataFrame, costs: Costs, first: pd.Series, keys: int) -> dict[str, object]:
    cell, mechanisms, share = first["cell"], first["mechanisms"], first["read_share"]
    own = cells[cells["cell"] == cell]
    against = cell_name(same_gathering(mechanisms), share)
    uncached = cell_name(NONE.name, share)
    rate = average(cells, cell, "throughput_ops_s")
    gain = ratio(cells, cell, against, "throughput_ops_s")
    total = ratio(cells, cell, uncached, "throughput_ops_s")
    cpu_saved = saved(cells, cell, against, "backend_us_per_op")
    hit_rate = float(own["hit_rate"].mean())
    # The bounds are about hits, and what gathering does to writes is not in them.
    bounded = mechanisms == REDIS.name
    cost_bound = costs.reads_share(share) * hit_rate if bounded else math.nan
    backend_us = average(cells, cell, "backend_us_per_op").mean
    return {
        "cell": cell,
        "mechanisms": mechanisms,
        "ttl_s": first["ttl_s"],
        "read_share": share,
        "hit_rate": hit_rate,
        "ttl_requests": first["ttl_s"] * rate.mean / keys,
        "ops_s": rate.mean,
        "against": against,
        **columns("gain", gain),
        **columns("total", total),
        "statements": middle(cells, cell, "statements_per_op"),
        "saved": float((1 - own["statements_per_op"]).mean()),
        "served": float(((own["hits"] + own["coalesced"]) / own["requests"]).mean()),
        "cpu_us": backend_us,
        **columns("cpu_saved", cpu_saved),
        "cost_bound": cost_bound,
        "gain_bound": gain_where_reads_are_saved(cost_bound, 1.0),
        "absorbed": middle(cells, cell, "absorbed_share"),
        "client_share": middle(cells, cell, "client_share"),
        "database_share": backend_us * rate.mean / 1e6,
    }


def _sequential(run: MixedRun) -> Sequential:
    """Sum up one call after the other: there the reads' share of the time is what can be saved."""
    cells, ttl_s = run.measurements.cells, run.settings.longest_ttl_s
    reads = run.settings.judged_share
    uncached = cell_name(NONE.name, reads, sequential=True)
    cached = cell_name(REDIS.name, reads, ttl_s, sequential=True)
    share = reads_in_time(cells[cells["cell"] == uncached], reads)
    return Sequential(
        ratio(cells, cached, uncached, "throughput_ops_s"),
        share,
        gain_where_reads_are_saved(share, middle(cells, cached, "hit_rate")),
    )


def assert_agreement(findings: Findings) -> str:
    """Return a sentence on what the counts bear out, or raise ``AssertionError``.

    Without gathering, every operation that no hit and no shared fetch served is one statement: so
    the share of statements saved *is* ρh, and no cell may save more than its reads.
    """
    cells = findings.cells
    plain = cells[cells["mechanisms"].isin([NONE.name, REDIS.name])]
    plain = plain[plain["statements_per_op"].notna()]
    served = (plain["hits"] + plain["coalesced"]) / plain["requests"]
    off = (1 - plain["statements_per_op"] - served).abs()
    if plain.empty:
        return (
            "This PostgreSQL keeps no count of statements: the managers' own could not be checked."
        )
    place = int(off.argmax())
    worst = plain.iloc[place]
    assert off.max() <= ROUNDING, (  # noqa: S101 - the notebook's check
        f"{worst['cell']}, block {worst['block']}: {worst['statements_per_op']:.6f} statements an "
        f"operation, but {served.iloc[place]:.6f} operations were served without one"
    )
    return (
        f"In all {len(plain)} cells without gathering PostgreSQL counted one statement for every "
        "operation that no hit and no shared fetch served, and no acknowledged write was lost."
    )
