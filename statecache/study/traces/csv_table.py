"""CSV with a line of names, or with columns given by their numbers; any common delimiter."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from statecache.study.traces.cutting import Dialect, split_line
from statecache.study.traces.delimited import Delimited
from statecache.study.traces.layout import Columns, find_columns
from statecache.study.traces.times import Unit, guess_unit, seconds
from statecache.study.traces.trace import TraceError

__all__ = ["open_csv", "recognises_csv"]

_DELIMITERS: Final = ",;\t|"
_BOM: Final = b"\xef\xbb\xbf"
_SAMPLE: Final = 100


def recognises_csv(lines: list[bytes]) -> bool:
    """Return whether the first line names at least a time and a key."""
    try:
        find_columns(_fields(lines[0], _delimiter(lines[0]))) if lines else None
    except TraceError:
        return False
    return bool(lines)


def open_csv(lines: list[bytes], columns: Columns | None) -> Delimited:
    """Return how to read a file that begins with these lines.

    There is no line of names where the user gives the column of times by its number and the first
    line has a time there. Raises TraceError where time or key is not found.
    """
    if not lines:
        raise TraceError("The file is empty: give one with a line of names and lines of values.")
    delimiter = _delimiter(lines[0])
    names = _fields(lines[0], delimiter)
    header = not _holds_values(names, columns or {})
    if not header:
        names = [str(number) for number in range(1, len(names) + 1)]
    layout = find_columns(names, columns)
    sample = [
        fields[layout.time]
        for line in lines[header : _SAMPLE + header]
        if line.strip() and len(fields := _fields(line, delimiter)) == len(names)
    ]
    return Delimited(
        dialect=Dialect(width=len(names), delimiter=delimiter),
        layout=layout,
        unit=_unit(layout.unit, sample),
        header=header,
    )


def _unit(named: Unit | None, sample: list[str]) -> Unit:
    guessed = guess_unit(sample)
    # a date stays one whatever its column is called
    return guessed if named is None or (guessed == "iso" and sample) else named


def _delimiter(line: bytes) -> str:
    return max(_DELIMITERS, key=lambda one: line.count(one.encode()))


def _fields(line: bytes, delimiter: str) -> list[str]:
    line = line.removeprefix(_BOM).rstrip(b"\r\n")
    fields = split_line(line, delimiter, quoted=True) or line.split(delimiter.encode())
    return [field.decode("utf-8", "backslashreplace").strip() for field in fields]


def _holds_values(fields: list[str], columns: Columns) -> bool:
    """Return whether a line has a time where, by number, the user says that times are."""
    number = next((theirs for ours, theirs in columns.items() if ours.startswith("time")), None)
    place = int(number) if number is not None and str(number).isdecimal() else 0
    if not 1 <= place <= len(fields):
        return False
    text = pa.array([fields[place - 1]], pa.string())
    return any(np.isfinite(seconds(text, unit))[0] for unit in ("s", "iso"))
