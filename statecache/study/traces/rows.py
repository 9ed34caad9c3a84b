"""What a format makes of a part of a file, and the trace that all of the parts become."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from statecache.study.traces.blocks import Block
from statecache.study.traces.trace import DELETE, Trace

__all__ = [
    "UNKNOWN_SIZE",
    "Collector",
    "LineError",
    "Malformed",
    "Operation",
    "Rows",
    "Tally",
    "are_mostly",
    "rows_by_line",
    "shown",
]

UNKNOWN_SIZE: Final = -1
"""The size of an operation that does not tell it."""


class Malformed(NamedTuple):
    """A line (in parquet a row, in ``.slt`` a pair, from 1) that could not be understood."""

    line: int
    reason: str


class LineError(Exception):
    """A line cannot be understood; the text is the reason. Never leaves the package."""


Operation: TypeAlias = tuple[float, str, int, int]
"""Seconds, key, operation's code, size or :data:`UNKNOWN_SIZE`."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Lines that there were, and those of them that hold no operation.

    ``ignored`` are understood but neither read, write nor delete a key's state.
    """

    lines: int = 0
    ignored: int = 0
    malformed: int = 0
    first_malformed: Malformed | None = None

    def __add__(self, other: Tally) -> Tally:
        """Add what came later in the file."""
        return Tally(
            self.lines + other.lines,
            self.ignored + other.ignored,
            self.malformed + other.malformed,
            self.first_malformed or other.first_malformed,
        )

    @classmethod
    def of_faults(cls, faults: Iterable[tuple[int, str]]) -> Tally:
        """Count lines that are malformed."""
        ordered = sorted(faults)
        return cls(len(ordered), 0, len(ordered), Malformed(*ordered[0]) if ordered else None)


@dataclass(frozen=True, slots=True)
class Rows:
    """Operations of a part of a file, in its order.

    ``key`` are names (a string array) or integers, of one kind in all parts of a file; ``size`` is
    None where the format has none, and holds :data:`UNKNOWN_SIZE` where an operation has none.
    """

    time_s: NDArray[np.float64]
    key: pa.Array | NDArray[np.integer[Any]]
    op: NDArray[np.uint8]
    size: NDArray[np.int64] | None = None
    armed_s: NDArray[np.float64] | None = None
    tally: Tally = Tally()


class Collector:
    """Gathers rows into the columns of a trace; names are numbered as they come."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._columns: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("time_s", "key", "op", "size", "armed_s")
        }
        self._codes: dict[Any, int] | None = None

    def add(self, rows: Rows) -> None:
        """Take over a part's rows."""
        self.tally += rows.tally
        if not len(rows.time_s):
            return
        parts: dict[str, NDArray[Any] | None] = {
            "time_s": rows.time_s,
            "op": rows.op,
            "size": rows.size,
            "armed_s": rows.armed_s,
        }
        for name, part in parts.items():
            if part is not None:
                self._columns[name].append(part)
        self._columns["key"].append(self._numbered(rows.key))

    def trace(self, *, source: str | None, synthetic: bool) -> Trace:
        """Return all of it, once: the parts are given up to spare their memory."""
        time_s, key = self._whole("time_s", np.float64), self._whole("key", np.int32)
        op = self._whole("op", np.uint8)
        size = self._whole("size", np.int64) if self._columns["size"] else None
        if size is not None and np.any(size == UNKNOWN_SIZE):
            size = _filled(time_s, key, op, size)
        return Trace(
            time_s=time_s,
            key=key,
            op=op,
            keys=self._names(),
            size=size,
            armed_s=self._whole("armed_s", np.float64) if self._columns["armed_s"] else None,
            source=source,
            synthetic=synthetic,
        )

    def _whole(self, name: str, dtype: type) -> NDArray[Any]:
        parts, self._columns[name] = self._columns[name], []
        return np.concatenate(parts) if parts else np.empty(0, dtype)

    def _numbered(self, key: pa.Array | NDArray[Any]) -> NDArray[Any]:
        if isinstance(key, np.ndarray) and key.dtype != np.uint64:
            return key
        if self._codes is None:
            self._codes = {}
        codes, places = self._codes, None
        if isinstance(key, np.ndarray):
            # unsigned 64-bit hashes do not fit int64 codes, so they are numbered like names
            places, found = pd.factorize(key)
            names = found.tolist()
        else:
            encoded = key.dictionary_encode()
            places = encoded.indices.to_numpy()
            names = encoded.dictionary.to_pylist()
        numbers = [codes.setdefault(name, len(codes)) for name in names]
        return np.array(numbers, dtype=np.int32)[places]

    def _names(self) -> NDArray[np.object_] | None:
        if self._codes is None:
            return None
        codes, self._codes = self._codes, None
        names = np.empty(len(codes), dtype=object)
        names[:] = [name if isinstance(name, str) else str(name) for name in codes]
        return names


def _filled(
    time_s: NDArray[np.float64],
    key: NDArray[Any],
    op: NDArray[np.uint8],
    size: NDArray[np.int64],
) -> NDArray[np.int64] | None:
    """Give operations without a size their key's last known one, else its next, else 0.

    Deletes keep 0. None where no size is known at all.
    """
    known = (size != UNKNOWN_SIZE) & (op != DELETE)
    if not np.any(known):
        return None
    order = np.argsort(time_s, kind="stable")
    in_order = pd.Series(np.where(known, size, np.nan)[order])
    for fill in ("ffill", "bfill"):
        in_order = getattr(in_order.groupby(key[order]), fill)()
    filled = np.empty_like(size)
    filled[order] = in_order.fillna(0).to_numpy(dtype=np.int64)
    filled[op == DELETE] = 0
    return filled


def rows_by_line(block: Block, parse: Callable[[bytes], Iterable[Operation]]) -> Rows:
    """Return what a function makes of each line: no operation, one, or several.

    It raises :class:`LineError` where it cannot understand a line. Blank lines are ignored.
    """
    operations: list[Operation] = []
    faults = list(block.faults)
    ignored = 0
    lines = block.data.split(b"\n")[:-1]
    for number, line in enumerate(lines, block.line):
        try:
            found = tuple(parse(line.removesuffix(b"\r"))) if line.strip() else ()
        except LineError as error:
            faults.append((number, str(error)))
            continue
        operations.extend(found)
        ignored += not found
    times, keys, codes, sizes = zip(*operations, strict=True) if operations else ((), (), (), ())
    tally = Tally.of_faults(faults)
    return Rows(
        time_s=np.array(times, dtype=np.float64),
        key=pa.array(keys, pa.string()),
        op=np.array(codes, dtype=np.uint8),
        size=np.array(sizes, dtype=np.int64),
        tally=replace(tally, lines=len(lines) + len(block.faults), ignored=ignored),
    )


def are_mostly(lines: Sequence[bytes], pattern: re.Pattern[bytes]) -> bool:
    """Return whether at least half of the lines are of a pattern, and one is."""
    found = sum(pattern.fullmatch(line) is not None for line in lines)
    return found > 0 and 2 * found >= len(lines)


def shown(value: object, longest: int = 60) -> str:
    """Return a value as it is quoted in a reason, cut where it is long."""
    if value is None:
        return "nothing"
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= longest else text[:longest] + "…")
