"""What a run of benchmarks found: a table for the terminal, and JSON to keep.

The JSON (``format`` 1)::

    {"format": 1, "started": "…Z", "seconds": 812.4, "status": "complete", "quick": false,
     "seed": 20130204, "commit": "…", "machine": {…}, "packages": {…}, "servers": {…},
     "rows": [{"bench", "name", "what", "against", "value", "low", "high", "unit", "wanted",
               "verdict", "pairs", "ours", "theirs", "absolute_unit", "note"}, …],
     "tables": {title: [{column: value}, …]}, "failures": {bench: reason}}

``value`` is a ratio of ours to theirs where ``unit`` is "x"; ``low`` and ``high`` are its 95 %
interval. Numbers that were not measured are null.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from statecache.study.bench.rows import Findings, Row
from statecache.study.environment import git_commit, machine, packages
from statecache.study.errors import StudyError
from statecache.study.runfolder import utc_now

__all__ = ["FORMAT", "Report"]

FORMAT: Final = 1

_STYLES = {"met": "green", "missed": "red", "not decided": "yellow", "shown": ""}


@dataclass(slots=True)
class Report:
    """Collects what is found, from the moment it is made."""

    quick: bool
    seed: int
    servers: dict[str, Any]
    started: str = field(default_factory=utc_now)
    #: "running", and in the end "complete", "failed" or "interrupted".
    status: str = "running"
    rows: list[tuple[str, Row]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def add(self, bench: str, findings: Findings) -> None:
        """Take what a benchmark found."""
        self.rows += [(bench, row) for row in findings.rows]
        self.tables |= findings.tables

    def fail(self, bench: str, error: Exception) -> None:
        """Note that a benchmark failed, and why."""
        self.failures[bench] = str(error)

    def as_json(self, root: Path) -> dict[str, Any]:
        """Return all of it, with what it was measured on."""
        content: dict[str, Any] = _plain(
            {
                "format": FORMAT,
                "started": self.started,
                "seconds": round(time.monotonic() - self._began, 1),
                "status": self.status,
                "quick": self.quick,
                "seed": self.seed,
                "commit": git_commit(root),
                "machine": machine(),
                "packages": packages(),
                "servers": self.servers,
                "rows": [_row_json(bench, row) for bench, row in self.rows],
                "tables": self.tables,
                "failures": self.failures,
            }
        )
        return content

    def write(self, path: Path, root: Path) -> None:
        """Write the JSON. Raises ``StudyError`` where that fails."""
        text = json.dumps(self.as_json(root), indent=2, ensure_ascii=False, allow_nan=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{path} cannot be written ({error.strerror}).") from error

    def print(self, console: Console) -> None:
        """Print the rows, by what they are measured against, then the tables."""
        width = max((len(row.what) for _bench, row in self.rows), default=0)
        headings = ["", "measured", "wanted", "", "ours", "against"]
        cells = [[row.what.ljust(width), *_cells(row)] for _bench, row in self.rows]
        lines = aligned([headings, *cells])
        console.print(lines[0], style="bold")
        last = ""
        for (_bench, row), line in zip(self.rows, lines[1:], strict=True):
            if row.against != last:
                console.print(f"against {row.against}", style="dim", markup=False)
            last = row.against
            console.print(line, style=_STYLES[row.verdict], markup=False)
        for title, table in self.tables.items():
            console.print(f"\n{title}", style="bold", markup=False)
            columns = list(dict.fromkeys(name for entry in table for name in entry))
            for line in aligned([columns, *(_table_cells(entry, columns) for entry in table)]):
                console.print(line, markup=False)
        for bench, reason in self.failures.items():
            console.print(f"\n{bench} failed: {reason}", style="red", markup=False)


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines as text in columns, the first to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def measured_text(row: Row) -> str:
    """Return the value with its interval, as ``7.31x (7.02–7.61)``."""
    value, low, high = (f"{_digits(part)}" for part in row.value)
    unit = "x" if row.unit == "x" else f" {row.unit}"
    if row.counted or math.isnan(row.value.low):
        return f"{value}{unit}"
    return f"{value}{unit} ({low}–{high})"


def wanted_text(row: Row) -> str:
    """Return what was wanted, as ``≥ 7x``; empty where nothing was."""
    if row.goal is None:
        return ""
    sign = "≥" if row.goal.relation == "at least" else "≤"
    return f"{sign} {row.goal.value:g}{'x' if row.unit == 'x' else ' ' + row.unit}"


def _cells(row: Row) -> list[str]:
    verdict = "" if row.verdict == "shown" else row.verdict
    cells = [measured_text(row), wanted_text(row), verdict]
    if row.ours is None or row.theirs is None:
        return [*cells, "", ""]
    return [*cells, _digits(row.ours), f"{_digits(row.theirs)} {row.absolute_unit}".rstrip()]


def _digits(value: float) -> str:
    """Return a number with three digits that count, or all those before the point."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table_cells(entry: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Return what a line shows; one of a tool that is missing has fewer columns."""
    values = [entry.get(name, "") for name in columns]
    return [value if isinstance(value, str) else _digits(float(value)) for value in values]


def _row_json(bench: str, row: Row) -> dict[str, Any]:
    return {
        "bench": bench,
        "name": row.name,
        "what": row.what,
        "against": row.against,
        "value": row.value.mean,
        "low": row.value.low,
        "high": row.value.high,
        "unit": row.unit,
        "wanted": None if row.goal is None else wanted_text(row),
        "verdict": row.verdict,
        "pairs": row.pairs,
        "ours": row.ours,
        "theirs": row.theirs,
        "absolute_unit": row.absolute_unit,
        "note": row.note,
    }


def _plain(value: Any) -> Any:
    """Return the value with null for every number that is none: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
