"""Reads a trace from what somebody recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset

from statecache.errors import first_line
from statecache.study.traces.trace import Trace, TraceError

__all__ = ["read_trace"]


def read_trace(path: str | Path) -> Trace:
    """Read a trace from a parquet file, or from a folder of such, as an ``AccessRecorder`` writes.

    The columns are those of :meth:`Trace.from_frame`. Rows of several files are put in order of
    time. Raises TraceError where nothing readable is there, and as :meth:`Trace.from_frame` does.
    """
    try:
        files = pyarrow.dataset.dataset(path, format="parquet")
        names = [name for name in _COLUMNS if name in files.schema.names]
        frame = files.to_table(columns=names).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise TraceError(
            f"{path} cannot be read as a trace ({first_line(error)}): give a parquet file, or the "
            "folder of an AccessRecorder."
        ) from error
    return Trace.from_frame(frame)


_COLUMNS: Final = ("time_s", "key", "op", "size", "armed_s")
