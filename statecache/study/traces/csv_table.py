"""CSV with a line of names, or with columns given by their numbers; any common delimiter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from statecache.study.traces.cutting import Dialect, split_line
from statecache.study.traces.delimited import Delimited
from statecache.study.traces.layout import Columns, find_columns
from statecache.study.traces.times import Unit, guess_unit
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

    There is no line of names where the user names the columns by their numbers and the first line
    begins with none of these names. Raises TraceError where time or key is not found.
    """
    if not lines:
        raise TraceError("The file is empty: give one with a line of names and lines of values.")
    delimiter = _delimiter(lines[0])
    names = _fields(lines[0], delimiter)
    header = not (columns and _are_numbers(columns.values()) and _has_a_number(names))
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


def _are_numbers(theirs: Iterable[str | int | None]) -> bool:
    return all(one is None or str(one).isdigit() for one in theirs)


def _has_a_number(names: list[str]) -> bool:
    """Return whether a line has a value among its columns: names are no numbers or dates."""
    return any(name[:1].isdigit() or name[:1] in "+-." for name in names if name)
