"""Writes a trace as parquet, which :func:`read_trace` reads back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statecache.errors import first_line
from statecache.study.traces.parquet import ABOUT
from statecache.study.traces.trace import OPERATIONS, Trace, TraceError

__all__ = ["write_trace"]

_ROWS = 1 << 20
"""Rows at a time: what is held beside the trace."""


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace to a parquet file, whole or not at all.

    Columns: time_s (float64), key (string, or an integer where there are no names), op (read,
    write, delete), and size (int64) and armed_s (float64) where the trace has them. Its source and
    whether it is synthetic stand in the metadata.

    Raises TraceError where the file cannot be written.
    """
    path = Path(path)
    about = json.dumps({"source": trace.source, "synthetic": trace.synthetic}).encode()
    schema = _table(trace, 0, 0).schema.with_metadata({ABOUT: about})
    # readers of a folder pass over names that begin with a dot
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        try:
            with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
                for begin in range(0, len(trace), _ROWS):
                    writer.write_table(_table(trace, begin, begin + _ROWS).cast(schema))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, pa.ArrowException, UnicodeEncodeError) as error:
        raise TraceError(
            f"The trace cannot be written to {path} ({first_line(error)}): give another file."
        ) from error


def _table(trace: Trace, begin: int, end: int) -> pa.Table:
    part = slice(begin, end)
    columns: dict[str, Any] = {
        "time_s": pa.array(trace.time_s[part]),
        "key": _keys(trace, part),
        "op": pa.DictionaryArray.from_arrays(
            pa.array(trace.op[part].astype(np.int8)), pa.array(OPERATIONS)
        ),
    }
    for name in ("size", "armed_s"):
        column = getattr(trace, name)
        if column is not None:
            columns[name] = pa.array(column[part])
    return pa.table(columns)


def _keys(trace: Trace, part: slice) -> pa.Array:
    if trace.keys is None:
        return pa.array(trace.key[part])
    return pa.array([str(name) for name in trace.keys[trace.key[part]]], pa.string())
