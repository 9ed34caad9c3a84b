"""A recorded stream of cache operations, held as columns.

One :class:`Trace` is what replay and advisor work on. It holds numpy arrays rather than rows
because a trace of 10 million requests must fit beside its replay in the memory of a laptop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from statecache.study.errors import StudyError

__all__ = ["DELETE", "OPERATIONS", "READ", "WRITE", "Trace", "TraceError"]

OPERATIONS: Final = ("read", "write", "delete")
"""Names of the operations; the place of a name is its code in :attr:`Trace.op`."""

READ: Final = 0
WRITE: Final = 1
DELETE: Final = 2


class TraceError(StudyError):
    """A trace contradicts itself; the message names the column, the row and the value."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Operations on cached states, in order of time.

    The arrays are taken over without a copy where they have the right type and order already, and
    are read-only views. Rows out of order are sorted by ``time_s``; rows of equal time keep the
    order in which they were given, which is the order in which they happen.

    time_s   float64, seconds from any origin, finite
    key      int32 or int64, a code per key: an index into ``keys`` where there are names, else any
             integer
    op       uint8, an index into :data:`OPERATIONS`
    keys     object array of the keys' names, or None
    size     int64, bytes of the state read or written, at least 0, or None
    armed_s  float64, at least ``time_s`` and finite: when the operation's fill, write or removal
             reached the cache; None where that is at once (see :mod:`statecache.study.replay`)
    source   what the stream is, in words, for whoever shows it; None where nobody said
    synthetic  whether the stream was drawn, not recorded

    Raises TraceError for a column of another length or type, a time that is NaN or infinite, an
    unknown operation, a negative size, a code without a name, or an ``armed_s`` before ``time_s``.
    """

    time_s: NDArray[np.float64]
    key: NDArray[np.int32] | NDArray[np.int64]
    op: NDArray[np.uint8]
    keys: NDArray[np.object_] | None = None
    size: NDArray[np.int64] | None = None
    armed_s: NDArray[np.float64] | None = None
    source: str | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        time_s = _floats("time_s", self.time_s)
        key = _integers("key", self.key)
        armed_s = None if self.armed_s is None else _floats("armed_s", self.armed_s)
        columns: dict[str, NDArray[Any] | None] = {
            "time_s": time_s,
            "key": key,
            "op": _operations(self.op),
            "size": None if self.size is None else _sizes(self.size),
            "armed_s": armed_s,
        }
        _check_lengths(len(time_s), columns)
        keys = None if self.keys is None else np.asarray(self.keys, dtype=object)
        _check_names(key, keys)
        _check_armed(time_s, armed_s)

        order = _order(time_s)
        for name, column in columns.items():
            if column is not None:
                object.__setattr__(self, name, _frozen(column if order is None else column[order]))
        object.__setattr__(self, "keys", None if keys is None else _frozen(keys))

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def duration_s(self) -> float:
        """Seconds from the first operation to the last; 0 for fewer than two."""
        return float(self.time_s[-1] - self.time_s[0]) if len(self) else 0.0

    @property
    def read_share(self) -> float:
        """The share of operations that are reads; NaN where there are no operations."""
        return float(np.mean(self.op == READ)) if len(self) else float("nan")

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Trace:
        """Build a trace from a table of operations.

        Columns: ``time_s`` (number, seconds), ``key`` (names of any type, or integers, which are
        kept as the codes), ``op`` (one of :data:`OPERATIONS`), and optionally ``size`` (integer,
        bytes) and ``armed_s`` (number, seconds). Other columns are ignored.

        Raises TraceError where a column is missing, a key or operation is null, or the class
        would refuse the values.
        """
        missing = [name for name in ("time_s", "key", "op") if name not in frame]
        if missing:
            raise TraceError(f"A trace needs the column {missing[0]!r}: add it to the frame.")
        codes, keys = _key_codes(frame["key"])
        return cls(
            time_s=_values(frame["time_s"]),
            key=codes,
            op=_operation_codes(frame["op"]),
            keys=keys,
            size=_values(frame["size"]) if "size" in frame else None,
            armed_s=_values(frame["armed_s"]) if "armed_s" in frame else None,
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the trace as a table, the inverse of :meth:`from_frame`.

        Columns: time_s float64, key (the names as str, or the codes where there are none), op
        categorical of :data:`OPERATIONS`, and size int64 and armed_s float64 where the trace has
        them.
        """
        columns: dict[str, Any] = {
            "time_s": self.time_s,
            "key": self.key if self.keys is None else self.keys[self.key],
            "op": pd.Categorical.from_codes(self.op.astype(np.int8), pd.Index(OPERATIONS)),
        }
        if self.size is not None:
            columns["size"] = self.size
        if self.armed_s is not None:
            columns["armed_s"] = self.armed_s
        return pd.DataFrame(columns)


def _values(column: pd.Series[Any]) -> NDArray[Any]:
    """Turn a column into an array; pandas' own nulls become NaN, for the checks to find."""
    if column.hasnans and pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy()


def _key_codes(column: pd.Series[Any]) -> tuple[NDArray[Any], NDArray[np.object_] | None]:
    if column.hasnans:
        row = int(np.argmax(column.isna().to_numpy()))
        raise TraceError(f"The key in row {row} is null: drop the row or name its key.")
    # unsigned 64-bit hashes do not fit int64 codes, so they are numbered like names
    if pd.api.types.is_integer_dtype(column.dtype) and column.dtype.name.lower() != "uint64":
        return column.to_numpy(dtype=np.int32 if column.dtype == np.int32 else np.int64), None
    codes, names = pd.factorize(column)
    return codes.astype(np.int32), np.array([str(name) for name in names], dtype=object)


def _operation_codes(column: pd.Series[Any]) -> NDArray[np.uint8]:
    places, names = pd.factorize(column)
    known = {name: code for code, name in enumerate(OPERATIONS)}
    codes = np.array([known.get(name, len(OPERATIONS)) for name in names] or [0], dtype=np.uint8)
    # factorize gives a null the place -1, which has to stay unknown as well
    found = np.where(places < 0, np.uint8(len(OPERATIONS)), codes[places])
    if np.any(unknown := found >= len(OPERATIONS)):
        row = int(np.argmax(unknown))
        raise TraceError(_unknown_operation(row, column.iloc[row]))
    return found


def _unknown_operation(row: int, value: object) -> str:
    allowed = ", ".join(OPERATIONS)
    return f"The operation in row {row} is {value!r}, which is unknown: use one of {allowed}."


def _floats(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        column = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TraceError(f"The column {name} is not numeric: give seconds as numbers.") from error
    if not np.all(finite := np.isfinite(column)):
        row = int(np.argmin(finite))
        raise TraceError(
            f"{name} in row {row} is {column[row]}: give finite seconds or drop the row."
        )
    return column


def _integers(name: str, values: ArrayLike) -> NDArray[Any]:
    column = np.ascontiguousarray(values)
    if column.dtype == np.int32 or column.size == 0:
        return column.astype(np.int32, copy=False)
    # a float column is fine as long as it holds whole numbers: pandas makes them on any null
    with np.errstate(invalid="ignore"):
        whole = column.astype(np.int64, copy=False) if column.dtype.kind in "iuf" else None
    if whole is None or not np.array_equal(whole, column):
        raise TraceError(
            f"The column {name} holds {column.dtype} values that are not whole 64-bit numbers: "
            "give integers."
        )
    return whole


def _operations(values: ArrayLike) -> NDArray[np.uint8]:
    column = np.ascontiguousarray(values)
    if column.dtype != np.uint8:
        column = _integers("op", values)
    if np.any(unknown := (column < 0) | (column >= len(OPERATIONS))):
        row = int(np.argmax(unknown))
        raise TraceError(_unknown_operation(row, int(column[row])))
    return column.astype(np.uint8, copy=False)


def _sizes(values: ArrayLike) -> NDArray[np.int64]:
    column = _integers("size", values).astype(np.int64, copy=False)
    if np.any(negative := column < 0):
        row = int(np.argmax(negative))
        raise TraceError(f"The size in row {row} is {column[row]}: give at least 0 bytes.")
    return column


def _check_lengths(length: int, columns: dict[str, NDArray[Any] | None]) -> None:
    for name, column in columns.items():
        if column is not None and column.shape != (length,):
            raise TraceError(
                f"The column {name} has the shape {column.shape} beside {length} times: "
                "give one value per operation."
            )


def _check_names(codes: NDArray[Any], keys: NDArray[np.object_] | None) -> None:
    if keys is None or len(codes) == 0:
        return
    lowest, highest = int(codes.min()), int(codes.max())
    if lowest < 0 or highest >= len(keys):
        code = lowest if lowest < 0 else highest
        raise TraceError(f"The key code {code} has no name among {len(keys)}: extend keys.")


def _check_armed(time_s: NDArray[np.float64], armed_s: NDArray[np.float64] | None) -> None:
    if armed_s is not None and np.any(early := armed_s < time_s):
        row = int(np.argmax(early))
        raise TraceError(
            f"armed_s in row {row} is {armed_s[row]}, before its time_s {time_s[row]}: "
            "use time_s where the operation took effect at once."
        )


def _order(time_s: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """Return the stable order by time, or None where the rows have it already."""
    if np.all(time_s[:-1] <= time_s[1:]):
        return None
    return np.argsort(time_s, kind="stable")


def _frozen(column: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written through; the caller's own array stays as it is."""
    view = column.view()
    view.flags.writeable = False
    return view
