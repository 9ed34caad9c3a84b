"""Two runs of a study compared, metric by metric, with a word on each.

Runs are made at different times, so nothing is paired: Welch's t on the logarithms of the
repetitions. p-values are adjusted by Holm over all metrics of all cells, so that a run that
changed nothing is called a regression with a probability of at most 5 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from statecache.errors import first_line
from statecache.study.errors import StudyError
from statecache.study.intervals import Interval, LogRatio, holm
from statecache.study.runfolder import UNFINISHED, UNREADABLE, RunFolder

__all__ = ["Comparison", "ComparisonError", "Line", "Word", "compare_runs", "direction"]

Word = Literal["regression", "worse", "better", "no difference shown", "not decided"]
Better = Literal["higher", "lower"]

#: Significance level, and one minus the level of the intervals.
ALPHA: Final = 0.05

#: Columns of a measurements frame that say what was measured, as far as it has them, and those
#: that tell repetitions apart, of which it has one.
KEYS: Final = ("cell", "variant", "profile")
REPETITIONS: Final = ("block", "start")

#: Which way a metric is better, by the first pattern that fits its column; ``None`` is not
#: compared, nor is a column that fits none: a parameter, a label or a count.
DIRECTIONS: Final[tuple[tuple[str, Better | None], ...]] = (
    ("late_*", None),  # the driver's, not the system's
    ("*_max_us", None),  # one request's
    ("*throughput*", "higher"),
    ("*_ops_s", "higher"),
    ("*events_s", "higher"),
    ("hit_rate", "higher"),
    ("served_rate", "higher"),
    ("completed_share", "higher"),
    ("*_us", "lower"),
    ("*_per_op", "lower"),
    ("*cpu_share", "lower"),
    ("client_share", "lower"),
    ("statements", "lower"),
    ("redis_commands", "lower"),
)

#: Metric → column that says where it is void, since the driver was late.
VOID: Final = {"request_p50_us": "p50_void", "request_p99_us": "p99_void"}

#: What of the machine must be the same; its load may differ, and packages may be what is compared.
MACHINE: Final = ("cpu", "cores", "memory_gib", "os")


class ComparisonError(StudyError):
    """The two runs cannot be compared."""


class Line(NamedTuple):
    """A metric of a cell in both runs: geometric means, their ratio B/A, and what it says."""

    notebook: str
    cell: str
    metric: str
    before: float
    after: float
    ratio: Interval
    #: Adjusted by Holm, against "the same".
    p_value: float
    word: Word


@dataclass(frozen=True, slots=True)
class Comparison:
    """All metrics that both runs have; ``despite`` says why they should not be compared."""

    lines: list[Line]
    despite: list[str]

    def of(self, *words: Word) -> list[Line]:
        """Return the lines with one of these words."""
        return [line for line in self.lines if line.word in words]


def direction(metric: str) -> Better | None:
    """Return which way a metric is better, or ``None`` where it is not compared."""
    return next((better for pattern, better in DIRECTIONS if fnmatchcase(metric, pattern)), None)


def compare_runs(
    before: RunFolder, after: RunFolder, *, margin: float, anyway: bool = False
) -> Comparison:
    """Compare run B (``after``) with run A (``before``).

    A *regression* is shown to be worse by more than ``margin`` (0.05: by a factor above 1.05),
    *worse* and *better* to differ at all. Raises ``ComparisonError`` for runs of different
    studies, parameters, profiles or machines and for unfinished ones, unless ``anyway``, and where
    nothing is in both.
    """
    despite = list(_differences(before.read_run(), after.read_run()))
    if despite and not anyway:
        raise ComparisonError(
            f"the runs differ in {'; '.join(despite)}: --anyway compares them all the same."
        )
    found = list(_pairs(before, after))
    if not found:
        raise ComparisonError(
            f"{before.path.name} and {after.path.name} have no metric of a cell in common."
        )
    differs = holm([one.ratio.p_differs() for one in found])
    beyond = holm([one.p_worse(1 + margin) for one in found])
    lines = [
        Line(
            *one.named,
            one.before,
            one.after,
            one.ratio.interval(1 - ALPHA),
            p_value,
            _word(one, p_value, p_beyond),
        )
        for one, p_value, p_beyond in zip(found, differs, beyond, strict=True)
    ]
    return Comparison(lines, despite)


class _Pair(NamedTuple):
    """A metric of a cell as both runs have it."""

    named: tuple[str, str, str]
    better: Better
    before: float
    after: float
    ratio: LogRatio

    @property
    def is_worse(self) -> bool:
        return (self.ratio.estimate < 0) == (self.better == "higher")

    def p_worse(self, factor: float) -> float:
        """Return the p-value against "worse by this factor at most"."""
        if self.better == "higher":
            return self.ratio.p_below(1 / factor)
        return self.ratio.p_above(factor)


def _word(pair: _Pair, p_value: float, p_beyond: float) -> Word:
    if np.isnan(p_value):
        return "not decided"
    if p_beyond <= ALPHA:
        return "regression"
    if p_value > ALPHA:
        return "no difference shown"
    return "worse" if pair.is_worse else "better"


def _pairs(before: RunFolder, after: RunFolder) -> Iterator[_Pair]:
    for notebook, frame in _measurements(before).items():
        other = _measurements(after).get(notebook)
        if other is None:
            continue
        one, two = _cells(notebook, frame), _cells(notebook, other)
        for cell in one:
            for metric in one[cell]:
                sides = one[cell][metric], two.get(cell, {}).get(metric, [])
                better = direction(metric)
                if better is None or not all(sides):
                    continue
                first, second = (float(np.exp(np.mean(np.log(side)))) for side in sides)
                ratio = LogRatio.independent(sides[1], sides[0])
                yield _Pair((notebook, cell, metric), better, first, second, ratio)


def _measurements(folder: RunFolder) -> dict[str, pd.DataFrame]:
    found = {}
    for path in sorted(folder.path.glob("*.measurements.parquet")):
        try:
            found[path.name.removesuffix(".measurements.parquet")] = pd.read_parquet(path)
        except UNREADABLE as error:
            raise ComparisonError(
                f"{path} cannot be read as a table ({first_line(error)})."
            ) from error
    return found


def _cells(notebook: str, frame: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Return cell → metric → one value a repetition.

    Values that are void, or not above zero, are left out. Rows of the same repetition are not
    independent, so their geometric mean stands for them.
    """
    keys = [name for name in KEYS if name in frame]
    repetition = next((name for name in REPETITIONS if name in frame), None)
    if not keys or repetition is None:
        raise ComparisonError(
            f"the measurements of {notebook} do not name their cells and repetitions: they need "
            f"a column {' or '.join(KEYS)}, and {' or '.join(REPETITIONS)}."
        )
    numbers = map(str, frame.select_dtypes("number"))
    metrics = [name for name in numbers if direction(name) is not None]
    found: dict[str, dict[str, list[float]]] = {}
    for values, group in frame.groupby(keys, sort=False, dropna=False):
        cell = ", ".join(str(value) for value in values)
        found[cell] = {}
        for metric in metrics:
            known = group[(group[metric] > 0) & np.isfinite(group[metric])]
            if VOID.get(metric) in known:
                known = known[~known[VOID[metric]].astype(bool)]
            logs = np.log(known[metric].astype(float)).groupby(known[repetition]).mean()
            found[cell][metric] = [float(value) for value in np.exp(logs)]
    return found


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    """Yield what forbids a comparison, as ``study (quick, ttl)``."""
    for name in ("study", "profile"):
        if before.get(name) != after.get(name):
            yield f"{name} ({before.get(name)}, {after.get(name)})"
    if {before.get("status"), after.get("status")} & set(UNFINISHED):
        yield f"how far they came ({before.get('status')}, {after.get('status')})"
    for name, here, there in _changed(before.get("parameters"), after.get("parameters")):
        for parameter, one, other in _changed(here, there):
            yield f"parameter {name}.{parameter} ({_shown(one)}, {_shown(other)})"
        if not here and not there:  # one has the notebook, the other has not
            yield f"notebook {name}"
    machines = before.get("machine") or {}, after.get("machine") or {}
    for name, one, other in _changed(*machines):
        if name in MACHINE:
            yield f"machine's {name} ({_shown(one)}, {_shown(other)})"


def _changed(before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value before, value after of what differs between two mappings."""
    here, there = before or {}, after or {}
    for name in [*here, *(name for name in there if name not in here)]:
        if here.get(name) != there.get(name):
            yield name, here.get(name), there.get(name)


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
