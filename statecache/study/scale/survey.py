"""What a folder of parquet files holds, told from its metadata alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from statecache.errors import first_line
from statecache.study.traces import TraceError

__all__ = ["Survey", "Unit", "survey_folder"]

UNIT_ROWS: Final = 1_000_000
"""Rows that a task reads, at least, where files and row groups allow: what a task costs is nothing
against them, and a lost worker loses no more."""

_NEEDED: Final = ("time_s", "key", "op")
_COLUMNS: Final = (*_NEEDED, "size", "armed_s")


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive row groups of a file, which one task reads from front to back."""

    path: str
    row_groups: tuple[int, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The folder's rows as units, in the order in which ``read_trace`` has them."""

    units: tuple[Unit, ...]
    columns: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Requests in the folder."""
        return sum(unit.rows for unit in self.units)


def survey_folder(folder: str | Path, unit_rows: int = UNIT_ROWS) -> Survey:
    """Look through a parquet file or a folder of such; no row is read.

    The columns are those of ``Trace.from_frame``, and the same in every file. Raises TraceError
    where nothing readable is there, or where files do not fit together.
    """
    try:
        # an absolute path means the same to every worker, wherever it was started
        paths = pyarrow.dataset.dataset(Path(folder).resolve(), format="parquet").files
        files = [(path, pq.ParquetFile(path)) for path in paths]
    except (OSError, pa.ArrowException) as error:
        raise TraceError(
            f"{folder} cannot be read as a trace ({first_line(error)}): give a folder of parquet "
            "files."
        ) from error
    if not files:
        raise TraceError(f"{folder} holds no parquet file: give the folder of a trace.")
    columns = _common_columns(files)
    units = [unit for path, file in files for unit in _units(path, file.metadata, unit_rows)]
    return Survey(tuple(units), columns)


def _common_columns(files: list[tuple[str, pq.ParquetFile]]) -> tuple[str, ...]:
    first_path, first = files[0]
    for path, file in files:
        schema = file.schema_arrow
        for name in _COLUMNS:
            if name in _NEEDED and name not in schema.names:
                raise TraceError(f"{path} has no column {name!r}: a trace needs it.")
            if (name in schema.names) != (name in first.schema_arrow.names):
                raise TraceError(
                    f"Only one of {first_path} and {path} has a column {name!r}: give both of "
                    "them the same columns."
                )
        kinds = {_kind_of_key(one) for one in (first.schema_arrow, schema)}
        if len(kinds) > 1:
            raise TraceError(
                f"The keys are {' and '.join(sorted(kinds))} in {first_path} and {path}: write "
                "them as one type."
            )
    return tuple(name for name in _COLUMNS if name in first.schema_arrow.names)


def _kind_of_key(schema: pa.Schema) -> str:
    kind = schema.field("key").type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_uint64(kind):
        return "uint64"
    if pa.types.is_integer(kind):
        return "integers"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "names"
    raise TraceError(f"The column key holds {kind}: give integers or names.")


def _units(path: str, metadata: pq.FileMetaData, unit_rows: int) -> list[Unit]:
    """Join row groups until a unit has its rows; a larger row group is a unit of its own."""
    units = []
    groups: list[int] = []
    rows = 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= unit_rows or (rows and group + 1 == metadata.num_row_groups):
            units.append(Unit(path, tuple(groups), rows))
            groups, rows = [], 0
    return units
