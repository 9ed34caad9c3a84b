"""CacheLib's key-value traces: CSV by its line of names, whose order differs between files.

``op_time`` in seconds, ``key``, ``op`` (GET and GET_LEASE read, SET and SET_LEASE write, DELETE
deletes), ``size``, and ``op_count``, which repeats a line. The rest is not used.
"""

from __future__ import annotations

from dataclasses import replace

from statecache.study.traces.csv_table import open_csv, recognises_csv
from statecache.study.traces.delimited import Delimited
from statecache.study.traces.layout import Columns, normal
from statecache.study.traces.trace import TraceError

__all__ = ["open_cachelib", "recognises_cachelib"]


def recognises_cachelib(lines: list[bytes]) -> bool:
    """Return whether the first line has the names of such a trace, its times aside."""
    if not lines or not {"key", "op", "op_count"} <= _names(lines):
        return False
    return "op_time" in _names(lines) or not recognises_csv(lines)


def open_cachelib(lines: list[bytes], _columns: Columns | None) -> Delimited:
    """Return how to read such a trace; raises TraceError where it has no times."""
    if lines and "op_time" not in _names(lines):
        raise TraceError(
            "The trace has no column op_time, as CacheLib's older ones, and without times no TTL "
            "can be replayed: take one that has it."
        )
    return replace(open_csv(lines, {"time_s": "op_time"}), misses_are_empty=True)


def _names(lines: list[bytes]) -> set[str]:
    return {normal(name) for name in lines[0].decode("utf-8", "replace").split(",")}
