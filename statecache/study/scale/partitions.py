"""Rows put where their key belongs: written once, then read a partition at a time.

A unit of the folder becomes one Arrow file: block after block, and within a block one batch a
partition. So a task writes one file whatever the number of partitions, a partition's batches are
found by counting, and its rows keep the order in which the folder has them.

Keys are compared as they are, never by their hash, which says only where a key belongs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from statecache.errors import first_line
from statecache.study.errors import StudyError
from statecache.study.scale.survey import Unit
from statecache.study.traces import OPERATIONS, Trace, TraceError

__all__ = ["MAX_PARTITIONS", "Partition", "Split", "read_partition", "split_unit"]

BLOCK_ROWS: Final = 500_000
"""Rows that a task holds while it splits, about 100 MB with long names."""

MAX_PARTITIONS: Final = 10_000
"""With more of them a block's batches would hold a few dozen rows each."""


_WRITTEN: Final = pa.ipc.IpcWriteOptions(compression="lz4")
"""Takes half the disk, and within the noise the same time."""


@dataclass(frozen=True, slots=True)
class Split:
    """What became of a unit: rows a partition, and its first and last ``time_s``."""

    rows: NDArray[np.int64]
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Partition:
    """Where the rows of a partition are: one of ``of``, in the files of all units in order."""

    files: tuple[str, ...]
    number: int
    of: int
    rows: int


def split_unit(
    unit: Unit,
    columns: tuple[str, ...],
    n_partitions: int,
    target: str,
    block_rows: int = BLOCK_ROWS,
) -> Split:
    """Write a unit's rows to the file ``target``, by partition; whole or not at all.

    Raises TraceError for values that a trace cannot hold, by file and row, and StudyError where
    the file cannot be written. Done twice, also at the same time, the file is the same.
    """
    rows = np.zeros(n_partitions, dtype=np.int64)
    first_s, last_s = np.inf, -np.inf
    unfinished = Path(f"{target}.{secrets.token_hex(4)}.unfinished")
    blocks = _blocks(unit, columns, block_rows)
    first = next(blocks)
    try:
        with pa.ipc.new_file(unfinished, first.schema, options=_WRITTEN) as file:
            for block in chain([first], blocks):
                belongs = _partition_of(block["key"], n_partitions)
                order = np.argsort(belongs, kind="stable")
                counts = np.bincount(belongs, minlength=n_partitions)
                _write(file, block.take(pa.array(order)), counts)
                rows += counts
                times = block["time_s"].to_numpy()
                first_s = min(first_s, float(times.min()))
                last_s = max(last_s, float(times.max()))
        unfinished.replace(target)
    except OSError as error:
        raise StudyError(
            f"The partitions cannot be written to {target} ({first_line(error)}): give another "
            "folder as scratch."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Split(rows, first_s, last_s)


def read_partition(partition: Partition) -> Trace:
    """Read the operations on the partition's keys."""
    columns: dict[str, NDArray[Any]] = {}
    names = []
    end = 0
    for batch in _batches(partition):
        start, end = end, end + batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_large_string(column.type):
                names.append(column.dictionary_encode())
                continue
            values = column.to_numpy()
            whole = columns.setdefault(name, np.empty(partition.rows, dtype=values.dtype))
            whole[start:end] = values
    keys = None
    if names:
        coded = pa.chunked_array(names).unify_dictionaries().combine_chunks()
        keys = coded.dictionary.to_numpy(zero_copy_only=False)
        columns["key"] = coded.indices.to_numpy()
    elif "key" in columns and columns["key"].dtype == np.uint64:  # as Trace.from_frame numbers them
        columns["key"], hashes = pd.factorize(columns["key"])
        keys = np.array([str(one) for one in hashes], dtype=object)
    return _trace(columns, keys)


def _trace(columns: dict[str, NDArray[Any]], keys: NDArray[np.object_] | None) -> Trace:
    empty = np.empty(0)
    return Trace(
        time_s=columns.get("time_s", empty),
        key=columns.get("key", empty.astype(np.int64)),
        op=columns.get("op", empty.astype(np.uint8)),
        keys=keys,
        size=columns.get("size"),
        armed_s=columns.get("armed_s"),
    )


def _write(file: pa.RecordBatchFileWriter, block: pa.RecordBatch, rows: NDArray[np.int64]) -> None:
    """Append one batch a partition; the block is ordered by partition."""
    ends = np.cumsum(rows)
    for start, count in zip((ends - rows).tolist(), rows.tolist(), strict=True):
        file.write_batch(block.slice(start, count))


def _batches(partition: Partition) -> Iterator[pa.RecordBatch]:
    for path in partition.files:
        with pa.OSFile(path) as source, pa.ipc.open_file(source) as file:
            for number in range(partition.number, file.num_record_batches, partition.of):
                yield file.get_batch(number)


def _blocks(unit: Unit, columns: tuple[str, ...], block_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the unit's rows as a trace has them, at least a block: columns of one type, checked.

    time_s, armed_s float64; key int64 or large_string; op uint8; size int64.
    """
    try:
        with pq.ParquetFile(unit.path) as file:
            before = sum(file.metadata.row_group(i).num_rows for i in range(unit.row_groups[0]))
            for batch in file.iter_batches(
                block_rows, row_groups=list(unit.row_groups), columns=columns, use_threads=False
            ):
                yield _as_trace(batch, columns, unit.path, before)
                before += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise TraceError(
            f"{unit.path} cannot be read as a trace ({first_line(error)}): write it anew."
        ) from error


def _as_trace(
    batch: pa.RecordBatch, columns: tuple[str, ...], path: str, before: int
) -> pa.RecordBatch:
    values = []
    for name in columns:
        column = batch[name]
        if column.null_count:
            row = before + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise TraceError(f"{name} in row {row} of {path} is null: drop the row or fill it in.")
        values.append(_codes(column, path, before) if name == "op" else _cast(name, column))
    checked = pa.record_batch(values, names=list(columns))
    try:  # the trace's own rules; in here the rows are counted from the start of the batch
        numbers = {name: checked[name].to_numpy() for name in columns if name != "key"}
        _trace(numbers | {"key": np.zeros(batch.num_rows, dtype=np.int32)}, None)
    except TraceError as error:
        raise TraceError(f"In {path}, rows counted from {before}: {error}") from error
    return checked


def _cast(name: str, column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if name != "key":
        return pc.cast(column, pa.int64() if name == "size" else pa.float64())
    if pa.types.is_uint64(column.type):
        return column
    return pc.cast(column, pa.int64() if pa.types.is_integer(column.type) else pa.large_string())


def _codes(column: pa.Array, path: str, before: int) -> pa.Array:
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    places = {name: code for code, name in enumerate(OPERATIONS)}
    known = [places.get(name, len(OPERATIONS)) for name in coded.dictionary.to_pylist()]
    codes = np.array(known or [0], dtype=np.uint8)[coded.indices.to_numpy()]
    if np.any(unknown := codes >= len(OPERATIONS)):
        row = int(np.argmax(unknown))
        raise TraceError(
            f"The operation in row {before + row} of {path} is {column[row].as_py()!r}, which is "
            f"unknown: use one of {', '.join(OPERATIONS)}."
        )
    return pa.array(codes)


def _partition_of(key: pa.Array, n_partitions: int) -> NDArray[np.uint16]:
    """Hash each key: the same in every process, and on every machine."""
    if pa.types.is_integer(key.type):
        return _belonging(key.to_numpy(), n_partitions)
    coded = key.dictionary_encode()
    names = coded.dictionary.to_numpy(zero_copy_only=False)
    indices: NDArray[np.int32] = coded.indices.to_numpy()
    return _belonging(names, n_partitions)[indices]


def _belonging(keys: NDArray[Any], n_partitions: int) -> NDArray[np.uint16]:
    # 16 bits are enough, and numpy sorts them by counting
    return (pd.util.hash_array(keys, categorize=False) % n_partitions).astype(np.uint16)
