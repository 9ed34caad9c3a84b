"""Kinds of measured quantities and how they are written for readers."""

from __future__ import annotations

import math
from typing import Final, Literal

from statecache.study.intervals import Interval

__all__ = ["UNITS", "Kind", "show_interval", "show_number", "show_range", "show_value"]

Kind = Literal["ratio", "share", "duration", "rate", "size", "yes-no"]

#: The units in which values of each kind are kept; a yes-no is the share of trials that kept it.
UNITS: Final[dict[Kind, tuple[str, ...]]] = {
    "ratio": ("x",),
    "share": ("share",),
    "duration": ("µs",),
    "rate": ("ops/s", "events/s"),
    "size": ("B",),
    "yes-no": ("share",),
}

# Larger units in which a value is shown, with what it is divided by, the largest first.
_SHOWN: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "µs": ((1e6, " s"), (1e3, " ms"), (1, " µs")),
    "B": ((1024.0**2, " MB"), (1024.0, " KB"), (1, " B")),
    "ops/s": ((1, " ops/s"),),
    "events/s": ((1, " events/s"),),
    "x": ((1, "x"),),
    "share": ((0.01, " %"),),
}


def show_value(value: float, kind: Kind, unit: str, *, quoted: bool = False) -> str:
    """Return a value with its unit, as ``2.5 ms``, ``16.7x``, ``65.4 %``, ``1,250 ops/s``.

    A share that is measured is shown with one decimal, one that is ``quoted`` as it is.
    """
    if kind == "yes-no" and value in (0.0, 1.0):
        return "yes" if value else "no"
    scale, name = _scale(value, unit)
    return f"{_digits(value / scale, unit, quoted)}{name}"


def show_range(low: float, high: float, kind: Kind, unit: str, *, quoted: bool = False) -> str:
    """Return ``2–5 ms``; an end that is infinite is left open, as ``≥ 7x``."""
    if kind == "yes-no" and low == high:
        return show_value(low, kind, unit)
    if math.isinf(high):
        return f"≥ {show_value(low, kind, unit, quoted=quoted)}"
    if math.isinf(low):
        return f"≤ {show_value(high, kind, unit, quoted=quoted)}"
    scale, name = _scale(max(abs(low), abs(high)), unit)
    ends = (_digits(end / scale, unit, quoted) for end in (low, high))
    return f"{'–'.join(ends)}{name}"


def show_interval(interval: Interval, kind: Kind, unit: str) -> str:
    """Return the limits of an interval; says so where there is none, or one that says nothing.

    One that is open at an end, since only the other is known, shows that other.
    """
    if math.isnan(interval.low):
        return "limits unknown"
    if math.isinf(interval.high):
        return show_range(interval.low, interval.high, kind, unit)
    if interval.low == 0 < interval.high and kind not in ("share", "yes-no"):
        return show_range(-math.inf, interval.high, kind, unit)
    if interval.low == interval.high:
        return "none, counted"
    if _says_nothing(interval, kind):
        return "too wide to show"
    return show_range(interval.low, interval.high, kind, unit)


def show_number(value: float) -> str:
    """Return three digits that count, or all before the point; a dash where there is no number."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _says_nothing(interval: Interval, kind: Kind) -> bool:
    """Return whether even the order of magnitude is open, as after two repetitions."""
    if kind in ("share", "yes-no"):
        return interval.high - interval.low > 2
    return interval.high > 100 * interval.mean or 100 * interval.low < interval.mean


def _scale(value: float, unit: str) -> tuple[float, str]:
    scales = _SHOWN[unit]
    return next((one for one in scales if abs(value) >= one[0]), scales[-1])


def _digits(value: float, unit: str, quoted: bool) -> str:
    """Return three digits that count, or all before the point; of a measured share one decimal."""
    if unit == "share":
        return f"{value:.4g}" if quoted else f"{value:.1f}"
    return show_number(value)
