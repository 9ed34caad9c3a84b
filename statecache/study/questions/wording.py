"""How the notebooks' sentences name ratios and their intervals."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd

from statecache.study.intervals import Interval
from statecache.study.quantities import show_interval, show_value

__all__ = [
    "BUSY_CLIENT",
    "bottleneck_sentence",
    "busy_sentences",
    "days_of",
    "limits_of",
    "network_sentence",
    "percent",
    "times_of",
    "with_interval",
]

#: An interval of which one end is this many times the other says nothing that is worth a number.
TOO_WIDE: Final = 100.0

#: A client busier than this share of a core is said to be what limits.
BUSY_CLIENT: Final = 0.7


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


def days_of(days: float) -> str:
    """Return a length in days, as ``1 day``."""
    return f"{days:g} day{'' if days == 1 else 's'}"


def with_interval(row: pd.Series, name: str) -> str:
    """Return a ratio and its interval from the columns of ``pairs.columns``."""
    return f"{row[name]:.2f}x ({row[name + '_low']:.2f}–{row[name + '_high']:.2f})"


def busy_sentences(client_shares: pd.Series, what: str) -> list[str]:
    """Return how many of these kept the client busier than it should be, if any did."""
    busy = int((client_shares > BUSY_CLIENT).sum())
    if not busy:
        return []
    sentence = (
        f"In {busy} of {len(client_shares)} {what} the client used more than "
        f"{percent(BUSY_CLIENT)} of a core: their throughput is the client's."
    )
    return [sentence]


def bottleneck_sentence(row: pd.Series, most: float) -> str:
    """Return who is busier without a cache, and the gain that hits are limited to if PostgreSQL is.

    ``row`` has database_share and client_share, in cores.
    """
    if math.isnan(row["database_share"]):
        return "The backends' CPU time cannot be seen here, so no bound is given."
    busy = (
        f"without a cache the backends use {row['database_share']:.2f} of a core and the client "
        f"{row['client_share']:.2f}"
    )
    if row["database_share"] > row["client_share"]:
        return f"The database is the bottleneck: {busy}; without a miss hits gain {most:.1f}x."
    return (
        f"Here the client is busier than the database: {busy}. Where the database is the "
        f"bottleneck, hits gain at most {most:.1f}x."
    )


def network_sentence(profile: str) -> str:
    """Return what the profile says of the network."""
    if profile == "loopback":
        return "No network is in these figures; another profile is another run."
    return (
        f"The round trips of the profile {profile} are set by relays: what follows from them alone "
        "is assumed."
    )
