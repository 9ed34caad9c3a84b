"""Cuts lines into columns of bytes, fast where the lines allow it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from statecache.study.traces.blocks import Block

__all__ = ["Cut", "Dialect", "cut_block", "split_line"]


#: A last line of one column, which a quote that does not end swallows.
_LAST = b".\n"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How lines are cut.

    ``joins_key`` says that the second column may hold the delimiter itself, unquoted: it has what a
    line has more than ``width`` columns.
    """

    width: int
    delimiter: str = ","
    quoted: bool = True
    joins_key: bool = False


class Cut(NamedTuple):
    """A block in columns of bytes; ``lines`` are the numbers of the lines that became rows."""

    columns: list[pa.Array]
    lines: NDArray[np.int64]
    faults: list[tuple[int, str]]
    blank: int


def split_line(line: bytes, delimiter: str, *, quoted: bool) -> list[bytes] | None:
    """Cut one line; None where a quote does not end."""
    if not (quoted and b'"' in line):
        return line.split(delimiter.encode())
    try:
        # the second row shows whether the first one ended with its line
        found = list(csv.reader([line.decode("latin-1") + "\n", "."], delimiter=delimiter))
    except csv.Error:
        return None
    return [field.encode("latin-1") for field in found[0]] if len(found) == 2 else None


def cut_block(block: Block, how: Dialect) -> Cut:
    """Cut a block fast where that gives a row a line, else line by line."""
    count = block.data.count(b"\n")
    if count == 0:
        return Cut([pa.array([], pa.binary())] * how.width, np.empty(0, np.int64), [], 0)
    if how.width > 1 and _is_even(block.data) and _is_text(block.data):
        cut = _cut_fast(block, how, count)
        if cut is not None:
            return cut
    return _cut_by_line(block, how)


def _cut_fast(block: Block, how: Dialect, count: int) -> Cut | None:
    odd: list[tuple[int, int]] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        odd.append((row.number, row.actual_columns))
        return "skip"

    names = [str(place) for place in range(how.width)]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block.data + _LAST),
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(block.data) + len(_LAST) + 1
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=how.delimiter,
                quote_char='"' if how.quoted else False,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None
    if len(table) + len(odd) != count + 1:  # a quote that does not end swallows lines
        return None
    odd.pop()
    if how.joins_key and any(columns > how.width for _, columns in odd):
        return None
    lines = np.delete(np.arange(count), [number - 1 for number, _ in odd]) + block.line
    faults = [(block.line + number - 1, _columns(found, how)) for number, found in odd]
    return Cut([_whole(column) for column in table.columns], lines, faults, 0)


def _cut_by_line(block: Block, how: Dialect) -> Cut:
    rows: list[list[bytes]] = []
    lines: list[int] = []
    faults: list[tuple[int, str]] = []
    blank = 0
    for number, line in _numbered(block):
        if not line:
            blank += 1
            continue
        fields = split_line(line, how.delimiter, quoted=how.quoted)
        if fields is None:
            faults.append((number, "a quote does not end"))
            continue
        if how.joins_key and len(fields) > how.width:
            extra = len(fields) - how.width
            fields[1 : 2 + extra] = [how.delimiter.encode().join(fields[1 : 2 + extra])]
        if len(fields) != how.width:
            faults.append((number, _columns(len(fields), how)))
            continue
        rows.append(fields)
        lines.append(number)
    columns = [pa.array(column, pa.binary()) for column in zip(*rows, strict=True)]
    none = [pa.array([], pa.binary())] * how.width
    return Cut(columns or none, np.array(lines, dtype=np.int64), faults, blank)


def _is_even(data: bytes) -> bool:
    """Return whether no line is blank, nor has a carriage return within, which pyarrow ends it at.

    Not by a regular expression, which would take longer than the cutting.
    """
    if data.startswith((b"\n", b"\r\n")) or b"\n\n" in data:
        return False
    if b"\r" not in data:
        return True
    return b"\n\r\n" not in data and data.count(b"\r") == data.count(b"\r\n")


def _is_text(data: bytes) -> bool:
    """Return whether bytes are UTF-8: pyarrow cannot tell of an odd line that is not."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _numbered(block: Block) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(block.data.split(b"\n")[:-1], block.line):
        yield number, line.removesuffix(b"\r")


def _columns(found: int, how: Dialect) -> str:
    return f"{found} column{'s' * (found != 1)}, not {how.width}"


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
