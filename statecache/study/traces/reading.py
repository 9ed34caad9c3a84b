"""Reads a trace from what somebody recorded, and tells what was left out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from statecache.study.traces.formats import FORMATS, recognise
from statecache.study.traces.layout import Columns
from statecache.study.traces.rows import Collector, Malformed, Tally
from statecache.study.traces.trace import Trace, TraceError

__all__ = ["OnProgress", "Recording", "read_recording", "read_trace"]

log = logging.getLogger("statecache")

OnProgress: TypeAlias = Callable[[float, str], None]
"""Is told the share that is read, 0 to 1, and what is being done."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file holds: its trace, and how much of it could not be one.

    format           the name of the format, a key of :data:`FORMATS`
    lines            lines there were, names aside: rows of parquet, pairs of ``.slt``
    ignored          of these, understood but neither read, write nor delete of a state
    malformed        of these, not understood, and left out
    first_malformed  the number of the first of them, from 1, and why; None where there is none
    """

    trace: Trace
    format: str
    lines: int
    ignored: int
    malformed: int
    first_malformed: Malformed | None


def read_trace(
    path: str | Path,
    format: str | None = None,  # noqa: A002 - what everybody calls it
    columns: Columns | None = None,
    *,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Trace:
    """Read a trace; what is malformed is left out and logged as a warning.

    Everything else is as in :func:`read_recording`, which also returns what was left out.
    """
    recording = read_recording(path, format, columns, strict=strict, on_progress=on_progress)
    if recording.first_malformed is not None:
        line, reason = recording.first_malformed
        log.warning(
            "%s: %d of %d lines are malformed and left out; the first is line %d: %s",
            path, recording.malformed, recording.lines, line, reason,
        )  # fmt: skip
    return recording.trace


def read_recording(
    path: str | Path,
    format: str | None = None,  # noqa: A002 - what everybody calls it
    columns: Columns | None = None,
    *,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Recording:
    """Read what somebody recorded, a part at a time.

    ``format`` is one of :data:`FORMATS`, by default recognised by the file's contents; files may be
    compressed with gzip or zstd. ``columns`` say for CSV and parquet which column holds what, where
    common names don't: ``{"time_ms": "when", "key": "id"}``, or by number from 1. A table without a
    column of operations holds reads. Operations are put in order of time.

    Raises TraceError where the file cannot be read, its format is not recognised, no line of it can
    be understood, or with ``strict`` at the first that cannot.
    """
    path = Path(path)
    name = _known(format) if format is not None else recognise(path, columns)
    if columns and not FORMATS[name].has_columns:
        raise TraceError(
            f"The format {name} has columns of its own: leave the columns out, or read {path} as "
            "csv or parquet."
        )
    collector = Collector()
    for share, rows in FORMATS[name].read(path, columns):
        collector.add(rows)
        if strict and rows.tally.first_malformed is not None:
            raise TraceError(_refusal(path, rows.tally.first_malformed))
        if on_progress is not None:
            on_progress(share, f"reading {path.name}")
    tally = collector.tally
    if tally.first_malformed is not None and tally.malformed == tally.lines - tally.ignored:
        raise TraceError(_nothing(path, name, tally))
    source, synthetic = FORMATS[name].about(path)
    return Recording(
        trace=collector.trace(source=source or path.name, synthetic=synthetic),
        format=name,
        lines=tally.lines,
        ignored=tally.ignored,
        malformed=tally.malformed,
        first_malformed=tally.first_malformed,
    )


def _known(name: str) -> str:
    if name not in FORMATS:
        raise TraceError(f"The format {name!r} is unknown: use one of {', '.join(FORMATS)}.")
    return name


def _refusal(path: Path, malformed: Malformed) -> str:
    return (
        f"{path}, line {malformed.line}: {malformed.reason}; mend it, or read without strict to "
        "have such lines counted and left out."
    )


def _nothing(path: Path, name: str, tally: Tally) -> str:
    assert tally.first_malformed is not None  # noqa: S101 - there are malformed lines
    line, reason = tally.first_malformed
    return (
        f"No line of {path} can be read as {name} (line {line}: {reason}): name another format, or "
        "other columns."
    )
