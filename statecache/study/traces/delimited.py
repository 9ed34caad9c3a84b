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
from statecache.study.traces.checks import Checks
from statecache.study.traces.cutting import Cut, Dialect, cut_block
from statecache.study.traces.layout import Layout
from statecache.study.traces.rows import UNKNOWN_SIZE, Rows, Tally, shown
from statecache.study.traces.times import Unit, numbers, seconds
from statecache.study.traces.trace import READ

__all__ = ["Delimited"]

_UNKNOWN: Final = 255
_MOST_REPEATS: Final = 1_000_000
"""Of one line: a number that is not believed could fill the memory."""
_LARGEST: Final = 2.0**53


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
            lines=len(cut.lines) + faults.lines + cut.blank,
            ignored=cut.blank,
            malformed=faults.malformed + rows.tally.malformed,
            first_malformed=min((one for one in firsts if one), default=None),
        )
        return replace(rows, tally=tally)


def _convert(cut: Cut, how: Delimited) -> Rows:
    """Turn columns of bytes into operations; the tally is of the rows that could not be."""
    layout, checks = how.layout, Checks(len(cut.lines))
    text = [_text(column) for column in cut.columns]
    time_s = seconds(text[layout.time], how.unit)
    checks.refuse(~np.isfinite(time_s), lambda row: f"{_of(cut, layout.time, row)} is no time")
    key = text[layout.key]
    checks.refuse(
        _mask(pc.equal(pc.binary_length(key), 0)),
        lambda _: "the key is empty or not UTF-8",
    )
    op = np.full(len(time_s), READ, dtype=np.uint8)
    if layout.op is not None:
        op = _operations(text[layout.op])
        checks.refuse(
            op == _UNKNOWN, lambda row: f"{_of(cut, layout.op or 0, row)} is no known operation"
        )
    size = armed_s = repeats = None
    if layout.size is not None:
        place = layout.size
        size, bad = _sizes(text[place])
        checks.refuse(bad, lambda row: f"{_of(cut, place, row)} is no size in bytes")
        if how.misses_are_empty:
            size[(op == READ) & (size == 0)] = UNKNOWN_SIZE
    if layout.armed_s is not None:
        armed = layout.armed_s
        armed_s = seconds(text[armed], "s")
        with np.errstate(invalid="ignore"):
            bad = ~np.isfinite(armed_s) | (armed_s < time_s)
        checks.refuse(bad, lambda row: f"armed_s is {_of(cut, armed, row)}, not a later time")
    if layout.count is not None:
        counted = layout.count
        repeats, bad = _repeats(text[counted])
        checks.refuse(bad, lambda row: f"{_of(cut, counted, row)} is no number of operations")
    return _chosen(Rows(time_s, key, op, size, armed_s), checks, cut.lines, repeats)


def _chosen(
    rows: Rows, checks: Checks, lines: NDArray[np.int64], repeats: NDArray[np.int64] | None
) -> Rows:
    tally = checks.tally(lines)
    if tally.malformed == 0 and repeats is None:
        return rows
    chosen = np.flatnonzero(checks.good)
    if repeats is not None:
        chosen = np.repeat(chosen, repeats[chosen])
    return Rows(
        rows.time_s[chosen],
        rows.key.take(pa.array(chosen)),
        rows.op[chosen],
        None if rows.size is None else rows.size[chosen],
        None if rows.armed_s is None else rows.armed_s[chosen],
        tally,
    )


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


def _sizes(column: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the sizes and which texts are none; nothing at all is an unknown size."""
    values = numbers(column)
    empty = _mask(pc.equal(pc.utf8_trim_whitespace(column), ""))
    good = (values >= 0) & (values < _LARGEST) & (values == np.floor(values))
    whole = np.where(good, values, UNKNOWN_SIZE).astype(np.int64)
    return whole, ~(good | empty)


def _repeats(column: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    values = numbers(column)
    good = (values >= 1) & (values <= _MOST_REPEATS) & (values == np.floor(values))
    return np.where(good, values, 0).astype(np.int64), ~good


def _mask(column: pa.BooleanArray) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False)
    return mask


def _of(cut: Cut, place: int, row: int) -> str:
    return shown(cut.columns[place][row].as_py())
