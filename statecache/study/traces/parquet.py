"""Parquet files, with any names of columns, and folders of them, as an ``AccessRecorder`` writes.

Integer keys are kept as codes; others, and unsigned 64-bit hashes, are names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from numpy.typing import NDArray

from statecache.errors import first_line
from statecache.study.traces import operations
from statecache.study.traces.checks import Checks, counts, sizes
from statecache.study.traces.layout import Columns, find_columns
from statecache.study.traces.rows import Rows, shown
from statecache.study.traces.times import Unit, guess_unit, seconds
from statecache.study.traces.trace import READ, TraceError

__all__ = [
    "ABOUT",
    "Reading",
    "about_parquet",
    "is_parquet",
    "open_parquet",
    "read_parquet",
    "reading_of",
    "unreadable",
]

ABOUT: Final = b"statecache.trace"
"""Where a file's metadata say what the trace is: JSON with ``source`` and ``synthetic``."""

_UNKNOWN: Final = 255
_BATCH: Final = 1 << 17
_MAGIC: Final = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Return whether a path is a folder, or a file that begins as parquet does."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def about_parquet(path: Path) -> tuple[str | None, bool]:
    """Return what the files say of the trace: its source, and whether it is synthetic."""
    try:
        said = json.loads((open_parquet(path).schema.metadata or {}).get(ABOUT, b"{}"))
        source = said.get("source")
        return source if isinstance(source, str) else None, said.get("synthetic") is True
    except (ValueError, AttributeError):
        return None, False


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows become operations, the same for every part of a file or folder.

    ``roles`` are ours (time, key, op, size, armed_s, count) to the columns' names; ``unit`` is the
    times'.
    """

    schema: pa.Schema
    roles: dict[str, str]
    unit: Unit

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys(self.roles.values()))

    def rows(self, batch: pa.RecordBatch, before: int) -> Rows:
        """Return the operations of a part, which comes after so many rows."""
        parts = {role: batch.column(name) for role, name in self.roles.items()}
        return _rows(parts, self.unit, before + 1)


def reading_of(files: pa.dataset.Dataset, columns: Columns | None) -> Reading:
    """Return how files are to be read; raises TraceError where columns are missing."""
    names = files.schema.names
    layout = find_columns(names, columns)
    roles = {
        role: names[place]
        for role in ("time", "key", "op", "size", "armed_s", "count")
        if (place := getattr(layout, role)) is not None
    }
    unit = layout.unit
    if unit is None:
        times = files.head(100, columns=[roles["time"]]).column(0).to_pylist()
        unit = guess_unit([str(value) for value in times if value is not None])
    return Reading(files.schema, roles, unit)


def read_parquet(path: Path, columns: Columns | None) -> Iterator[tuple[float, Rows]]:
    """Yield the share read and its operations; raises TraceError where nothing can be read."""
    files = open_parquet(path)
    read = 0
    try:
        reading = reading_of(files, columns)
        total = max(files.count_rows(), 1)
        batches = files.to_batches(
            columns=reading.columns,
            batch_size=_BATCH,
            batch_readahead=1,
            fragment_readahead=1,
        )
        for batch in batches:
            yield (read + len(batch)) / total, reading.rows(batch, read)
            read += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def open_parquet(path: Path) -> pa.dataset.Dataset:
    """Return a file, or the files of a folder; raises TraceError where there is no parquet."""
    try:
        return pyarrow.dataset.dataset(path, format="parquet")
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path | str, error: Exception) -> TraceError:
    """Return what to raise where Arrow cannot read on."""
    return TraceError(
        f"{path} cannot be read as a trace ({first_line(error)}): give a parquet file, or the "
        "folder of an AccessRecorder."
    )


def _rows(parts: dict[str, pa.Array], unit: Unit, first: int) -> Rows:
    checks = Checks(len(parts["time"]))

    def refuse(role: str, bad: NDArray[np.bool_], what: str) -> None:
        checks.refuse(bad, lambda row: f"{shown(parts[role][row].as_py())} is {what}")

    time_s = _seconds(parts["time"], unit)
    refuse("time", ~np.isfinite(time_s), "no time")
    key, empty = _keys(parts["key"])
    refuse("key", empty, "no key")
    op = np.full(len(time_s), READ, dtype=np.uint8)
    if "op" in parts:
        op = _operations(parts["op"])
        refuse("op", op == _UNKNOWN, "no known operation")
    size = armed_s = repeats = None
    if "size" in parts:
        size, bad = sizes(_floats(parts["size"]), _mask(parts["size"].is_null()))
        refuse("size", bad, "no size in bytes")
    if "armed_s" in parts:
        armed_s = _floats(parts["armed_s"])
        refuse("armed_s", ~(np.isfinite(armed_s) & (armed_s >= time_s)), "no later time")
    if "count" in parts:
        repeats, bad = counts(_floats(parts["count"]))
        refuse("count", bad, "no number of operations")
    numbers = np.arange(first, first + len(time_s))
    return checks.choose(Rows(time_s, key, op, size, armed_s), numbers, repeats)


def _seconds(column: pa.Array, unit: Unit) -> NDArray[np.float64]:
    if pa.types.is_temporal(column.type):
        # to the microsecond, so that years beyond 2262 fit
        instants = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
        return _floats(instants.cast(pa.int64())) / 1e6
    return seconds(column.cast(pa.string()), unit) if _is_text(column) else _scaled(column, unit)


def _scaled(column: pa.Array, unit: Unit) -> NDArray[np.float64]:
    return _floats(column) / {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}.get(unit, 1.0)


def _is_text(column: pa.Array) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _keys(column: pa.Array) -> tuple[pa.Array | NDArray[Any], NDArray[np.bool_]]:
    empty = _mask(column.is_null())
    if pa.types.is_integer(column.type):
        dtype = {pa.int32(): np.int32, pa.uint64(): np.uint64}.get(column.type, np.int64)
        return column.fill_null(0).to_numpy(zero_copy_only=False).astype(dtype), empty
    encoded = column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column
    names = [None if name is None else _name(name) for name in encoded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(encoded.indices), empty


def _name(key: object) -> str:
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def _operations(column: pa.Array) -> NDArray[np.uint8]:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    words = [_name(word) for word in encoded.dictionary.to_pylist()]
    codes = np.array([*operations.codes(words, _UNKNOWN), _UNKNOWN], dtype=np.uint8)
    places: NDArray[np.int64] = encoded.indices.cast(pa.int64()).fill_null(len(words)).to_numpy()
    return codes[places]


def _floats(column: pa.Array) -> NDArray[np.float64]:
    """Return numbers, NaN for nulls and for what is no number."""
    try:
        floats = column.cast(pa.float64(), safe=False)
    except (pa.ArrowException, NotImplementedError):
        return np.full(len(column), np.nan)
    array: NDArray[np.float64] = floats.to_numpy(zero_copy_only=False)
    return array


def _mask(column: pa.BooleanArray) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False)
    return mask
