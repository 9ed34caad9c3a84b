"""What a folder of parquet files holds, told from its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from statecache.study.traces.layout import Columns
from statecache.study.traces.parquet import Reading, open_parquet, reading_of, unreadable

__all__ = ["Piece", "Survey", "Unit", "survey_folder"]

UNIT_ROWS: Final = 1_000_000
"""Rows that a task reads, at least, where there are so many: what a task costs is nothing against
them, and a lost worker loses no more."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A row group of a file."""

    path: str
    row_group: int
    rows: int


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive pieces, which one task reads; ``before`` are the rows of the units before it."""

    pieces: tuple[Piece, ...]
    before: int

    @property
    def rows(self) -> int:
        """Rows in the unit."""
        return sum(piece.rows for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Survey:
    """The folder's rows as units, in the order in which ``read_trace`` has them."""

    units: tuple[Unit, ...]
    reading: Reading

    @property
    def rows(self) -> int:
        """Rows in the folder."""
        return sum(unit.rows for unit in self.units)


def survey_folder(
    folder: str | Path, columns: Columns | None = None, unit_rows: int = UNIT_ROWS
) -> Survey:
    """Look through a parquet file or a folder of such; ``columns`` are those of ``read_trace``.

    Raises TraceError where nothing readable is there, or columns are missing.
    """
    # an absolute path means the same to every worker, wherever it was started
    path = Path(folder).resolve()
    files = open_parquet(path)
    try:
        reading = reading_of(files, columns)
        pieces = [
            Piece(fragment.path, group.id, group.num_rows)
            for fragment in files.get_fragments()
            for group in fragment.row_groups
            if group.num_rows
        ]
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error
    return Survey(tuple(_units(pieces, unit_rows)), reading)


def _units(pieces: list[Piece], unit_rows: int) -> Iterator[Unit]:
    """Join pieces until a unit has its rows; a larger piece is a unit of its own."""
    before = rows = start = 0
    for end, piece in enumerate(pieces, 1):
        rows += piece.rows
        if rows >= unit_rows or end == len(pieces):
            yield Unit(tuple(pieces[start:end]), before)
            start, before, rows = end, before + rows, 0
