"""Seconds, from numbers of any unit and from dates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["UNITS", "Unit", "guess_unit", "numbers", "seconds"]

Unit = Literal["s", "ms", "us", "ns", "iso"]

UNITS: Final[dict[str, Unit]] = {
    "s": "s", "sec": "s", "secs": "s", "seconds": "s",
    "ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms",
    "us": "us", "usec": "us", "micros": "us", "microseconds": "us",
    "ns": "ns", "nsec": "ns", "nanos": "ns", "nanoseconds": "ns",
}  # fmt: skip
"""What the name of a column ends with, and the unit that means."""

_PER_SECOND: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def seconds(column: pa.StringArray, unit: Unit) -> NDArray[np.float64]:
    """Turn texts into seconds, NaN where a text is no time.

    Dates are ISO 8601, with or without a zone (then UTC), and become seconds since 1970.
    """
    if unit == "ns":
        with suppress(pa.ArrowInvalid):
            return _from_ns(column.cast(pa.int64()))
    if unit != "iso":
        return numbers(column) / _PER_SECOND[unit]
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
        try:
            instants = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        return _from_ns(instants.cast(pa.int64()))
    return np.array([_instant(text) for text in column.to_pylist()], dtype=np.float64)


def numbers(column: pa.StringArray) -> NDArray[np.float64]:
    """Turn texts into numbers, NaN where a text is none."""
    try:
        return _floats(column.cast(pa.float64()))
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(column)
        good = pc.match_substring_regex(trimmed, _NUMBER)
        return _floats(pc.if_else(good, trimmed, None).cast(pa.float64()))


def guess_unit(texts: Sequence[str]) -> Unit:
    """Return the unit of times by what some of them look like.

    Numbers are taken for seconds up to 1e11, which would be the year 5138, then for ms, us and ns:
    so recent times since 1970 are told apart. Small ones, which count from anywhere, are seconds.
    """
    values = numbers(pa.array(texts, pa.string()))
    values = np.abs(values[np.isfinite(values)])
    if values.size < sum(math.isfinite(_instant(text)) for text in texts):
        return "iso"
    typical = float(np.median(values)) if values.size else 0.0
    limits: tuple[tuple[float, Unit], ...] = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))
    return next((unit for limit, unit in limits if typical < limit), "ns")


def _instant(text: str) -> float:
    try:
        instant = datetime.fromisoformat(text.strip())
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return instant.timestamp()
    except (ValueError, OverflowError):
        return float("nan")


def _from_ns(column: pa.Int64Array) -> NDArray[np.float64]:
    """Divide by parts, since recent nanoseconds have more digits than a float."""
    whole, rest = np.divmod(column.to_numpy(zero_copy_only=False), 1_000_000_000)
    result: NDArray[np.float64] = whole + rest / 1e9
    return result


def _floats(column: pa.Array) -> NDArray[np.float64]:
    array: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(
        zero_copy_only=False
    )
    return array
