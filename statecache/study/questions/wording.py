"""How the notebooks' sentences name ratios and their intervals."""

from __future__ import annotations

from typing import Final

from statecache.study.intervals import Interval
from statecache.study.quantities import show_interval, show_value

__all__ = ["limits_of", "percent", "times_of"]

#: An interval of which one end is this many times the other says nothing that is worth a number.
TOO_WIDE: Final = 100.0


def times_of(interval: Interval) -> str:
    """Return a ratio, as ``2.1x``."""
    return show_value(interval.mean, "ratio", "x")


def limits_of(interval: Interval) -> str:
    """Return its interval, as ``1.9–2.3x``; one that is too wide says so."""
    if interval.high > TOO_WIDE * interval.low:
        return "interval too wide to say"
    return show_interval(interval, "ratio", "x")


def percent(share: float, decimals: int = 0) -> str:
    """Return a share between 0 and 1 in per cent, as ``80 %``."""
    return f"{100 * share:.{decimals}f} %"
