"""What a benchmark found: a row, what was wanted of it, and whether it was met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from statecache.study.harness.timing import median
from statecache.study.intervals import MIN_PAIRS, Interval, ratio_interval

__all__ = [
    "AT_LEAST",
    "AT_MOST",
    "Findings",
    "Goal",
    "Row",
    "Word",
    "paired_row",
    "variant_line",
]

AT_LEAST: Literal["at least"] = "at least"
AT_MOST: Literal["at most"] = "at most"

Word = Literal["met", "missed", "not decided", "shown"]


class Goal(NamedTuple):
    """What is wanted of a value."""

    relation: Literal["at least", "at most"]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure; ``unit`` is "x" for a ratio of ours to theirs, else that of an absolute value."""

    name: str
    what: str
    against: str
    value: Interval
    unit: str = "x"
    #: ``None`` for a figure that explains others and that nothing was promised of.
    goal: Goal | None = None
    #: Number of pairs behind the interval, or whether it was counted, which takes only one.
    pairs: int = 1
    counted: bool = False
    #: Medians of both sides, in ``absolute_unit``.
    ours: float | None = None
    theirs: float | None = None
    absolute_unit: str = ""
    note: str = ""

    @property
    def verdict(self) -> Word:
        """Whether the goal is met: only if the whole interval lies on the right side of it."""
        if self.goal is None:
            return "shown"
        low, high = self.value.low, self.value.high
        if math.isnan(low) or (self.pairs < MIN_PAIRS and not self.counted):
            return "not decided"
        wanted = self.goal.value
        if self.goal.relation == AT_LEAST:
            return _judge(met=low >= wanted, missed=high < wanted)
        return _judge(met=high <= wanted, missed=low > wanted)


@dataclass(frozen=True, slots=True)
class Findings:
    """The rows of a benchmark, and tables that stand beside them, by title."""

    rows: list[Row]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def paired_row(
    name: str,
    what: str,
    against: str,
    measured: tuple[list[float], list[float]],
    *,
    goal: Goal | None = None,
    scale: float = 1.0,
    unit: str = "",
    note: str = "",
) -> Row:
    """Return the row of the ratio of (ours, theirs); medians are multiplied by ``scale``."""
    ours, theirs = measured
    return Row(
        name=name,
        what=what,
        against=against,
        value=ratio_interval(ours, theirs),
        goal=goal,
        pairs=len(ours),
        ours=median(ours) * scale,
        theirs=median(theirs) * scale,
        absolute_unit=unit,
        note=note,
    )


def variant_line(
    name: str, rates: Sequence[float], baseline: Sequence[float], unit: str
) -> dict[str, Any]:
    """Return a table's line: the median rate, and its multiple of the baseline's with interval."""
    times = ratio_interval(rates, baseline)
    return {
        "variant": name.replace("_", " + "),
        unit: round(median(rates)),
        "times": round(times.mean, 3),
        "low": round(times.low, 3),
        "high": round(times.high, 3),
    }


def _judge(*, met: bool, missed: bool) -> Word:
    if met:
        return "met"
    return "missed" if missed else "not decided"
