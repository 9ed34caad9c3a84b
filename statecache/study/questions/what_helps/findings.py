"""What each mechanism adds: ratios of throughput with intervals, and what was counted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pandas as pd

from statecache.study.errors import StudyError
from statecache.study.harness.campaign import AGAIN
from statecache.study.harness.variants import (
    ALL,
    FACTORIAL,
    GATHER,
    GATHER_REDIS,
    NONE,
    REDIS,
    Variant,
)
from statecache.study.intervals import Interval, ratio_interval
from statecache.study.questions.memory import Kind
from statecache.study.questions.what_helps.measure import MECHANISMS, Helps, cell_name
from statecache.study.questions.wording import percent
from statecache.study.verdicts import LEVEL, Measured

__all__ = ["EFFECTS", "Effect", "Findings", "Other", "check", "find", "measured"]

REDIS_MEMORY: Final = Variant(redis=True, memory=True)

#: What is divided by what. Whatever is said of the cache has the same gathering on both sides.
EFFECTS: Final[dict[str, tuple[Variant, Variant]]] = {
    "gathering, no cache": (GATHER, NONE),
    "gathering, with Redis": (GATHER_REDIS, REDIS),
    "Redis, not gathered": (REDIS, NONE),
    "Redis, gathered": (GATHER_REDIS, GATHER),
    "in-process tier, not gathered": (REDIS_MEMORY, REDIS),
    "in-process tier, gathered": (ALL, GATHER_REDIS),
    "both caches, not gathered": (REDIS_MEMORY, NONE),
    "both caches, gathered": (ALL, GATHER),
    "all together": (ALL, NONE),
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a mechanism adds: throughput with it over throughput without, at ``LEVEL``."""

    name: str
    workload: str
    callers: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class Other:
    """A further mechanism: throughput with it over without, and what else it changed.

    ``off`` and ``on`` hold the medians of hit_rate, statements_per_op, backend_us_per_op,
    client_us_per_op and request_p99_us.
    """

    name: str
    interval: Interval
    off: dict[str, float]
    on: dict[str, float]

    @property
    def word(self) -> str:
        """Whether the throughput is higher or lower with it, or neither beyond doubt."""
        if self.interval.low > 1:
            return "faster"
        return "slower" if self.interval.high < 1 else "not decided"


@dataclass(frozen=True)
class Findings:
    """Everything that sentences and figures are made of."""

    helps: Helps

    @property
    def cells(self) -> pd.DataFrame:
        """A row a cell and block."""
        return self.helps.measurements.cells

    @property
    def profile(self) -> str:
        """The deployment profile."""
        return str(self.cells["profile"].iloc[0])

    @property
    def blocks(self) -> int:
        """How often everything was measured."""
        return int(self.cells["block"].nunique())

    @property
    def mix(self) -> str:
        """Name of the mix that stands beside uniform keys."""
        return self.helps.settings.mix

    @property
    def callers(self) -> list[int]:
        """Numbers of concurrent callers, as given."""
        return list(self.helps.settings.callers)

    def values(self, cell: str, column: str = "throughput_ops_s") -> list[float]:
        """Return a column of a cell, block by block."""
        own = self.cells[self.cells["cell"] == cell].sort_values("block")
        if own.empty:
            raise StudyError(f"nothing was measured that is called {cell!r}.")
        return [float(value) for value in own[column]]

    def median(self, cell: str, column: str) -> float:
        """Return the median of a column over the blocks; NaN where nobody counted."""
        return statistics.median(self.values(cell, column))

    def ratio(self, ours: str, theirs: str) -> Interval:
        """Return the throughput of one cell over another's, paired by block."""
        return ratio_interval(self.values(ours), self.values(theirs), LEVEL)

    def gain(self, variant: Variant, workload: str, callers: int) -> Interval:
        """Return a variant's throughput over that of the baseline with its best pool."""
        return self.ratio(cell_name(variant, workload, callers), cell_name(NONE, workload, callers))

    def effect(self, name: str, workload: str, callers: int) -> Interval:
        """Return what a mechanism of ``EFFECTS`` adds."""
        ours, theirs = EFFECTS[name]
        return self.ratio(cell_name(ours, workload, callers), cell_name(theirs, workload, callers))

    @cached_property
    def effects(self) -> list[Effect]:
        """What each mechanism adds, for every number of callers and popularity of keys."""
        return [
            Effect(name, workload, callers, self.effect(name, workload, callers))
            for callers in self.callers
            for workload in self.helps.settings.mixes
            for name in EFFECTS
        ]

    @cached_property
    def noise(self) -> Interval:
        """The baseline against itself: what differences of that size mean nothing."""
        (name,) = (cell for cell in self.cells["cell"].unique() if cell.endswith(AGAIN))
        return self.ratio(name, name.removesuffix(AGAIN))

    @cached_property
    def others(self) -> list[Other]:
        """What the further mechanisms change, each alone."""
        columns = (
            "hit_rate",
            "statements_per_op",
            "backend_us_per_op",
            "client_us_per_op",
            "request_p99_us",
        )
        found = []
        for one in MECHANISMS:
            workload = one.workload or self.mix
            off = cell_name(one.off, workload, self.callers[0])
            on = cell_name(one.on, workload, self.callers[0], cold=one.cold)
            sides = [{name: self.median(cell, name) for name in columns} for cell in (off, on)]
            found.append(Other(one.name, self.ratio(on, off), *sides))
        return found

    def bytes_of(self, kind: Kind) -> float:
        """Return what a state of that kind takes in Redis on average."""
        memory = self.helps.memory
        return float(memory.loc[memory["kind"] == kind.name, "bytes"].mean())

    @property
    def is_cold(self) -> bool:
        """Whether PostgreSQL's buffers could be emptied for the cold cell."""
        return bool(self.cells.loc[self.cells["cell"].str.endswith(", cold"), "is_cold"].all())

    def absorbed(self, workload: str, callers: int) -> float:
        """Return the share of writes that gathering without a cache absorbed."""
        return self.median(cell_name(GATHER, workload, callers), "absorbed_share")

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a variant, popularity and number of callers: throughput, and what was counted."""
        rows = []
        for callers in self.callers:
            for workload in self.helps.settings.mixes:
                for variant in FACTORIAL:
                    cell = cell_name(variant, workload, callers)
                    gain = self.gain(variant, workload, callers)
                    rows.append(
                        {
                            "mechanisms": variant.name,
                            "keys": workload,
                            "callers": callers,
                            "ops/s": self.median(cell, "throughput_ops_s"),
                            "times": gain.mean,
                            "p99 (ms)": self.median(cell, "request_p99_us") / 1e3,
                            "hit rate (%)": 100 * self.median(cell, "hit_rate"),
                            "statements/op": self.median(cell, "statements_per_op"),
                            "backend CPU (µs/op)": self.median(cell, "backend_us_per_op"),
                            "client CPU (µs/op)": self.median(cell, "client_us_per_op"),
                            "Redis commands/op": self.median(cell, "redis_commands_per_op"),
                            "writes absorbed (%)": 100 * self.median(cell, "absorbed_share"),
                        }
                    )
        return pd.DataFrame(rows)

    @cached_property
    def other_table(self) -> pd.DataFrame:
        """A row a further mechanism: times, its interval, and what else changed."""
        rows = []
        for one in self.others:
            row: dict[str, object] = {
                "mechanism": one.name,
                "times": one.interval.mean,
                "from": one.interval.low,
                "to": one.interval.high,
                "throughput": one.word,
            }
            names = {
                "hit rate (%)": ("hit_rate", 100.0),
                "statements/op": ("statements_per_op", 1.0),
                "client CPU (µs/op)": ("client_us_per_op", 1.0),
                "p99 (ms)": ("request_p99_us", 1e-3),
            }
            for title, (column, scale) in names.items():
                row[title] = _change(one.off[column] * scale, one.on[column] * scale)
            rows.append(row)
        return pd.DataFrame(rows)


def find(helps: Helps) -> Findings:
    """Return the findings; they are computed when they are asked for."""
    return Findings(helps)


def check(findings: Findings) -> str:
    """Return what must hold on any machine as a sentence; raises ``StudyError`` where it does not.

    Without gathering nothing is absorbed and every uncached operation is a statement; with it
    there are no more statements than operations.
    """
    for callers in findings.callers:
        for workload in findings.helps.settings.mixes:
            for variant in FACTORIAL:
                cell = cell_name(variant, workload, callers)
                absorbed = max(findings.values(cell, "absorbed_share"))
                statements = findings.values(cell, "statements_per_op")
                if not variant.gather and absorbed:
                    raise StudyError(
                        f"{cell} absorbed {percent(absorbed, 1)} of its writes ungathered."
                    )
                _check_statements(cell, variant, statements)
    return (
        "Without a cache every ungathered operation was one statement, nothing was absorbed where "
        "nothing was gathered, and the rows bear out every acknowledged write."
    )


def measured(_findings: Findings) -> list[Measured]:
    """Return nothing: no documented claim is judged here, the shares of the mechanisms are shown.

    The claims on throughput are judged where read share and callers are the question.
    """
    return []


def _check_statements(cell: str, variant: Variant, statements: Sequence[float]) -> None:
    counted = [one for one in statements if not math.isnan(one)]
    # A caller that was turned away twice would show here; exactly one each is what was asked for.
    if variant == NONE and any(abs(one - 1) > 1e-9 for one in counted):
        raise StudyError(f"{cell} sent {counted} statements an operation instead of one each.")
    if any(one > 1 + 1e-9 for one in counted):
        raise StudyError(f"{cell} sent {max(counted):.3f} statements an operation, above one.")


def _change(off: float, on: float) -> str:
    if math.isnan(off) and math.isnan(on):
        return "–"
    return f"{_digits(off)} → {_digits(on)}"


def _digits(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
