"""What a read and a write cost PostgreSQL, from cells that do nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from statecache.study.bounds import reads_in_cost
from statecache.study.intervals import Interval
from statecache.study.questions.pairs import average

__all__ = ["Costs", "reads_in_time"]


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time of PostgreSQL's backends for a read and for a write without a cache, in µs.

    NaN where the servers are not ours to look at.
    """

    read_us: Interval
    write_us: Interval

    @property
    def write_over_read(self) -> float:
        """How many reads a write costs."""
        return self.write_us.mean / self.read_us.mean

    def reads_share(self, read_share: float) -> float:
        """Return φ, the reads' share of the database's cost in this mix."""
        return reads_in_cost(read_share, self.read_us.mean, self.write_us.mean)

    @classmethod
    def of(cls, cells: pd.DataFrame, reads: str, writes: str) -> Costs:
        """Return the costs from a condition that only reads and one that only writes."""
        column = "backend_us_per_op"
        return cls(average(cells, reads, column), average(cells, writes, column))


def reads_in_time(cells: pd.DataFrame, read_share: float) -> float:
    """Return φ, the loads' share of the time of calls made one after the other.

    ``cells`` are those of one condition; NaN where they hold no load or no update.
    """
    means = []
    for name in ("load", "update"):
        count = float(cells[f"{name}_count"].sum())
        if not count:
            return math.nan
        means.append(float((cells[f"{name}_mean_us"] * cells[f"{name}_count"]).sum()) / count)
    return reads_in_cost(read_share, *means)
