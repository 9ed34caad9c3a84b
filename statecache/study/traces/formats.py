"""The formats by their names, and how a file's own is recognised by what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from statecache.study.traces.access_log import read_access_log, recognises_access_log
from statecache.study.traces.blocks import Block, peek, read_blocks
from statecache.study.traces.cachelib import open_cachelib, recognises_cachelib
from statecache.study.traces.csv_table import open_csv, recognises_csv
from statecache.study.traces.layout import Columns
from statecache.study.traces.monitor import Monitor, recognises_monitor
from statecache.study.traces.named import (
    about_synthetic,
    is_named,
    read_flights,
    read_synthetic,
)
from statecache.study.traces.parquet import about_parquet, is_parquet, read_parquet
from statecache.study.traces.rows import Rows
from statecache.study.traces.slt import read_slt, recognises_slt
from statecache.study.traces.trace import TraceError
from statecache.study.traces.twitter import open_twitter, recognises_twitter

__all__ = ["FORMATS", "Format", "Parts", "recognise"]

Parts: TypeAlias = Iterator[tuple[float, Rows]]
"""The share of the file that is read, and the operations of the part just read."""

_LINES: Final = 200
"""Of the head: enough that a few malformed ones do not hide the format."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: what it is, in words, and how it is read, part by part.

    ``read`` takes the path and the user's columns, which only CSV and parquet look at. ``about``
    returns what is said of the trace's source, and whether it is synthetic.
    """

    what: str
    read: Callable[[Path, Columns | None], Parts]
    has_columns: bool = False
    about: Callable[[Path], tuple[str | None, bool]] = lambda _path: (None, False)


def recognise(path: Path, columns: Columns | None = None) -> str:
    """Return the name of a file's format.

    Raises TraceError where it is none, or cannot be opened. Columns that the user named are those
    of a CSV where the file is not parquet.
    """
    if found := next((name for name in _NAMED if is_named(path, name)), None):
        return found
    if is_parquet(path):
        return "parquet"
    head = peek(path)
    if columns:
        return "csv"
    lines = _first_lines(head)
    for name, recognises in _BY_LINES.items():
        if recognises(lines):
            return name
    if path.name.removesuffix(".gz").endswith(".slt") or recognises_slt(head):
        return "slt"
    if lines and recognises_csv(lines):
        return "csv"
    raise TraceError(
        f"{path} is in no format that is recognised{_begins(lines)}: name the format "
        f"({', '.join(FORMATS)}), or for CSV and parquet which columns hold what."
    )


def _read_lines(
    opened: Callable[[list[bytes], Columns | None], Callable[[Block], Rows]],
) -> Callable[[Path, Columns | None], Parts]:
    def read(path: Path, columns: Columns | None) -> Parts:
        rows = opened(_first_lines(peek(path)), columns)
        for block in read_blocks(path):
            yield block.share, rows(block)

    return read


def _first_lines(head: bytes) -> list[bytes]:
    """Return the first whole lines, or what there is of the only one; no carriage returns."""
    lines = head.split(b"\n")
    whole = lines[:-1] if len(lines) > 1 else lines
    return [line.removesuffix(b"\r") for line in whole[:_LINES] if line.strip()]


def _begins(lines: list[bytes]) -> str:
    if not lines:
        return " (it is empty)"
    return f" (it begins with {lines[0][:40].decode('utf-8', 'backslashreplace')!r})"


_NAMED: Final = ("flights", "synthetic")

_BY_LINES: Final[dict[str, Callable[[list[bytes]], bool]]] = {
    "monitor": recognises_monitor,
    "access-log": recognises_access_log,
    "twitter": recognises_twitter,
    "cachelib": recognises_cachelib,
}

FORMATS: Final[dict[str, Format]] = {
    "csv": Format(
        "CSV with a line of names",
        _read_lines(lambda lines, columns: open_csv(lines, columns).rows),
        has_columns=True,
    ),
    "parquet": Format(
        "columns in one file or a folder of them",
        read_parquet,
        has_columns=True,
        about=about_parquet,
    ),
    "twitter": Format(
        "Twitter's cache-trace",
        _read_lines(lambda lines, columns: open_twitter(lines, columns).rows),
    ),
    "cachelib": Format(
        "CacheLib's key-value CSV",
        _read_lines(lambda lines, columns: open_cachelib(lines, columns).rows),
    ),
    "slt": Format("cache2k's .slt", lambda path, _: read_slt(path)),
    "access-log": Format(
        "a web server's access log (Common or Combined)",
        _read_lines(lambda _lines, _columns: read_access_log),
    ),
    "monitor": Format("redis-cli MONITOR", _read_lines(lambda _lines, _columns: Monitor().rows)),
    "flights": Format("the flights of 2013", lambda path, _: read_flights(path)),
    "synthetic": Format(
        "drawn from published statistics",
        lambda path, _: read_synthetic(path),
        about=about_synthetic,
    ),
}
