"""Turns lines of delimited columns into operations: the base of CSV, Twitter and CacheLib."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from statecache.study.traces import operations
from statecache.study.traces.blocks import Block
from statecache.study.traces.checks import Checks, counts, sizes
from statecache.study.traces.cutting import Cut, Dialect, cut_block
from statecache.study.traces.layout import Layout
from statecache.study.traces.rows import UNKNOWN_SIZE, Rows, Tally, shown
from statecache.study.traces.times import Unit, numbers, seconds
from statecache.study.traces.trace import READ

__all__ = ["Delimited"]

_UNKNOWN: Final = 255


@dataclass(frozen=True, slots=True)
class Delimited:
    """How lines are cut into columns, and what these hold.

    ``header`` says that the first line holds names. ``misses_are_empty``: a read of 0 bytes did not
    find the state, and does not tell its size.
    """

    dialect: Dialect
    layout: Layout
    unit: Unit
    header: bool = False
    misses_are_empty: bool = False

    def rows(self, block: Block) -> Rows:
        """Return a block's operations."""
        if self.header and block.line == 1:
            block = block._replace(data=block.data.partition(b"\n")[2], line=2)
        cut = cut_block(block, self.dialect)
        rows = _convert(cut, self)
        faults = Tally.of_faults((*cut.faults, *block.faults))
        firsts = [faults.first_malformed, rows.tally.first_malformed]
        tally = Tally(
            lines=rows.tally.lines + faults.lines + cut.blank,
            ignored=cut.blank,
            malformed=faults.malformed + rows.tally.malformed,
            first_malformed=min((one for one in firsts if one), default=None),
        )
        return replace(rows, tally=tally)


def _convert(cut: Cut, how: Delimited) -> Rows:
    """Turn columns of bytes into operations; the tally is of the rows that were cut."""
    layout, checks = how.layout, Checks(len(cut.lines))

    def text(place: int) -> pa.StringArray:
        return _text(cut.columns[place])

    def refuse(place: int, bad: NDArray[np.bool_], what: str) -> None:
        checks.refuse(bad, lambda row: f"{shown(cut.columns[place][row].as_py())} is {what}")

    time_s = seconds(text(layout.time), how.unit)
    refuse(layout.time, ~np.isfinite(time_s), "no time")
    key = text(layout.key)
    refuse(layout.key, _mask(pc.equal(pc.binary_length(key), 0)), "no key in UTF-8")
    op = np.full(len(time_s), READ, dtype=np.uint8)
    size = armed_s = repeats = None
    if layout.op is not None:
        op = _operations(text(layout.op))
        refuse(layout.op, op == _UNKNOWN, "no known operation")
    if layout.size is not None:
        given = text(layout.size)
        empty = _mask(pc.equal(pc.utf8_trim_whitespace(given), ""))
        size, bad = sizes(numbers(given), empty)
        refuse(layout.size, bad, "no size in bytes")
        if how.misses_are_empty:
            size[(op == READ) & (size == 0)] = UNKNOWN_SIZE
    if layout.armed_s is not None:
        armed_s = seconds(text(layout.armed_s), "s")
        refuse(layout.armed_s, ~(np.isfinite(armed_s) & (armed_s >= time_s)), "no later time")
    if layout.count is not None:
        repeats, bad = counts(numbers(text(layout.count)))
        refuse(layout.count, bad, "no number of operations")
    return checks.choose(Rows(time_s, key, op, size, armed_s), cut.lines, repeats)


def _text(column: pa.Array) -> pa.StringArray:
    """Decode a column; what is not UTF-8 becomes empty."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_decoded(value) for value in column.to_pylist()], pa.string())


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""


def _operations(column: pa.StringArray) -> NDArray[np.uint8]:
    encoded = column.dictionary_encode()
    codes = operations.codes(encoded.dictionary.to_pylist(), _UNKNOWN) or [_UNKNOWN]
    places: NDArray[np.int32] = encoded.indices.to_numpy()
    return np.array(codes, dtype=np.uint8)[places]


def _mask(column: pa.BooleanArray) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False)
    return mask
