"""Rows put where their key belongs: written once, then read a partition at a time.

A unit of the folder becomes one Arrow file: block after block, and within a block one batch a
partition. So a task writes one file whatever the number of partitions, a partition's batches are
found by counting, and its rows keep the order in which the folder has them.

Keys are compared as they are, never by their hash, which says only where a key belongs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from statecache.errors import first_line
from statecache.study.errors import StudyError
from statecache.study.scale.survey import Unit
from statecache.study.traces import DELETE, Trace
from statecache.study.traces.parquet import Reading, unreadable
from statecache.study.traces.rows import UNKNOWN_SIZE, Collector, Rows, Tally

__all__ = ["MAX_PARTITIONS", "Partition", "Split", "read_partition", "split_unit"]

BLOCK_ROWS: Final = 500_000
"""Rows that a task holds while it splits, about 100 MB with long names."""

MAX_PARTITIONS: Final = 10_000
"""With more of them a block's batches would hold a few dozen rows each."""

_WRITTEN: Final = pa.ipc.IpcWriteOptions(compression="lz4")
"""Takes half the disk, and within the noise the same time."""

_READ_ROWS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Split:
    """What became of a unit: rows a partition, first and last ``time_s``, and what was left out.

    The times are infinite, and the wrong way round, where no row is left. ``sized`` is whether a
    size is known.
    """

    rows: NDArray[np.int64]
    first_s: float
    last_s: float
    sized: bool
    lines: Tally


@dataclass(frozen=True, slots=True)
class Partition:
    """Where the rows of a partition are: one of ``of``, in the files of all units in order."""

    files: tuple[str, ...]
    number: int
    of: int
    sized: bool


def split_unit(
    unit: Unit,
    reading: Reading,
    n_partitions: int,
    target: str,
    block_rows: int = BLOCK_ROWS,
) -> Split:
    """Write a unit's rows to the file ``target``, by partition; whole or not at all.

    Rows that are malformed are left out and counted, as ``read_trace`` does. Done twice, also at
    the same time, the file is the same. Raises TraceError where the unit cannot be read, StudyError
    where the file cannot be written.
    """
    rows = np.zeros(n_partitions, dtype=np.int64)
    first_s, last_s, sized, lines = np.inf, -np.inf, False, Tally()
    unfinished = Path(f"{target}.{secrets.token_hex(4)}.unfinished")
    file: pa.RecordBatchFileWriter | None = None
    try:
        for block, tally in _blocks(unit, reading, block_rows):
            counts, ordered = _by_partition(block, n_partitions)
            file = file or pa.ipc.new_file(unfinished, block.schema, options=_WRITTEN)
            _write(file, ordered, counts)
            rows += counts
            times = block["time_s"].to_numpy()
            first_s = min(first_s, times.min(initial=np.inf))
            last_s = max(last_s, times.max(initial=-np.inf))
            sized = sized or _knows_sizes(block)
            lines += tally
        if file is not None:
            file.close()
            unfinished.replace(target)
    except OSError as error:
        raise StudyError(
            f"The partitions cannot be written to {target} ({first_line(error)}): give another "
            "folder as scratch."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Split(rows, float(first_s), float(last_s), sized, lines)


def read_partition(partition: Partition) -> Trace:
    """Read the operations on the partition's keys."""
    collector = Collector()
    for batch in _batches(partition):
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        key = columns.pop("key")
        arrays = {name: column.to_numpy() for name, column in columns.items()}
        names = pa.types.is_string(key.type)
        collector.add(Rows(key=key if names else key.to_numpy(), **arrays))
    trace = collector.trace(source=None, synthetic=False)
    if partition.sized and trace.size is None:  # unknown here, and known elsewhere in the folder
        return replace(trace, size=np.zeros(len(trace), dtype=np.int64))
    return trace


def _batches(partition: Partition) -> Iterator[pa.RecordBatch]:
    for path in partition.files:
        with pa.OSFile(path) as source, pa.ipc.open_file(source) as file:
            for number in range(partition.number, file.num_record_batches, partition.of):
                yield file.get_batch(number)


def _blocks(
    unit: Unit, reading: Reading, block_rows: int
) -> Iterator[tuple[pa.RecordBatch, Tally]]:
    """Yield the unit's rows, a block's worth at a time, and what was left out of them."""
    held: list[Rows] = []
    for rows in _rows(unit, reading):
        held.append(rows)
        if sum(len(one.time_s) for one in held) >= block_rows:
            yield _block(held)
            held = []
    if held:
        yield _block(held)


def _rows(unit: Unit, reading: Reading) -> Iterator[Rows]:
    before = unit.before
    for path, pieces in groupby(unit.pieces, key=lambda piece: piece.path):
        groups = [piece.row_group for piece in pieces]
        try:
            # a page at a time; what reads data sets would hold a row group, of any size
            with pq.ParquetFile(path, pre_buffer=False) as file:
                names = [name for name in reading.columns if name in file.schema_arrow.names]
                for batch in file.iter_batches(_READ_ROWS, groups, names, use_threads=False):
                    yield reading.rows(_conformed(batch, reading), before)
                    before += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error


def _conformed(batch: pa.RecordBatch, reading: Reading) -> pa.RecordBatch:
    """Give a file's rows the columns and types of the first file."""
    columns = {}
    for name in reading.columns:
        kind = reading.schema.field(name).type
        if name not in batch.schema.names:
            columns[name] = pa.nulls(len(batch), kind)
            continue
        column = batch.column(name)
        if column.type != kind:
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            column = column.cast(kind.value_type if pa.types.is_dictionary(kind) else kind)
        columns[name] = column
    return pa.record_batch(columns)


def _block(held: list[Rows]) -> tuple[pa.RecordBatch, Tally]:
    tally = Tally()
    for rows in held:
        tally += rows.tally
    columns = {
        name: np.concatenate([getattr(rows, name) for rows in held])
        for name in ("time_s", "op", "size", "armed_s")
        if getattr(held[0], name) is not None
    }
    keys = [rows.key for rows in held]
    if isinstance(keys[0], np.ndarray):
        whole = np.concatenate(keys)
        # as int64 where that holds it, so that hash and type are the same in all files
        key = pa.array(whole if whole.dtype == np.uint64 else whole.astype(np.int64))
    else:
        key = pa.concat_arrays(keys)
    return pa.record_batch({"key": key} | columns), tally


def _by_partition(
    block: pa.RecordBatch, n_partitions: int
) -> tuple[NDArray[np.int64], pa.RecordBatch]:
    """Return the rows a partition, and the block ordered by partition."""
    belongs = _partition_of(block["key"], n_partitions)
    counts = np.bincount(belongs, minlength=n_partitions)
    return counts, block.take(pa.array(np.argsort(belongs, kind="stable")))


def _write(file: pa.RecordBatchFileWriter, block: pa.RecordBatch, rows: NDArray[np.int64]) -> None:
    ends = np.cumsum(rows)
    for start, count in zip((ends - rows).tolist(), rows.tolist(), strict=True):
        file.write_batch(block.slice(start, count))


def _knows_sizes(block: pa.RecordBatch) -> bool:
    # a delete has none, whatever is written beside it
    if "size" not in block.schema.names:
        return False
    known = (block["size"].to_numpy() != UNKNOWN_SIZE) & (block["op"].to_numpy() != DELETE)
    return bool(known.any())


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
