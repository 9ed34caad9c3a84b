from __future__ import annotations

from dataclasses import replace

import pytest

from statecache.study.profiles import Calibration, calibration_table
from statecache.study.profiles.calibration import calibrate, round_trips
from statecache.study.profiles.delay_relay import running_delay_relay

EXACT = Calibration("cache", 1.0, 1.0, 1.0, cpu_us=100.0, relay_cost_us=50.0, round_trips=400)


@pytest.mark.parametrize(
    ("asked_ms", "median_ms", "p99_ms", "valid"),
    [
        # Up to 2 ms .1 ms is more than 5 %, up to 2.5 ms .5 ms is more than 20 %.
        (1.0, 1.09, 1.49, True),
        (1.0, 0.91, 0.51, True),
        (1.0, 1.11, 1.0, False),
        (1.0, 0.89, 1.0, False),
        (1.0, 1.0, 1.51, False),
        (10.0, 10.49, 11.99, True),
        (10.0, 10.51, 10.0, False),
        (10.0, 9.49, 10.0, False),
        (10.0, 10.0, 12.01, False),
    ],
)
def test_it_is_valid_within_the_limits(
    asked_ms: float, median_ms: float, p99_ms: float, valid: bool
) -> None:
    found = replace(EXACT, asked_ms=asked_ms, median_ms=median_ms, p99_ms=p99_ms)
    assert found.is_valid is valid
    assert bool(found.reason) is not valid


def test_a_void_one_says_why() -> None:
    assert replace(EXACT, median_ms=1.5).reason == (
        "The relay of the cache leg adds 1.50 ms (median) where 1 ms were asked for, off by more "
        "than 0.10 ms: run it where nothing else runs."
    )
    assert "adds 3.25 ms (p99)" in replace(EXACT, p99_ms=3.25).reason


def test_the_table_has_a_row_a_leg_and_the_same_columns_without_any() -> None:
    table = calibration_table("mine", [EXACT, replace(EXACT, leg="database", median_ms=2.0)])
    assert list(table["leg"]) == ["cache", "database"]
    assert list(table["valid"]) == [True, False]
    assert set(table["profile"]) == {"mine"}
    empty = calibration_table("loopback", [])
    assert empty.empty
    assert list(empty.dtypes) == list(table.dtypes)
    assert list(empty.columns) == list(table.columns)


def test_a_calibration_measures_the_relay_it_is_given() -> None:
    with running_delay_relay() as relay:
        found = calibrate(relay, "cache", 2.0)
        use = relay.use()
    assert (found.leg, found.asked_ms, found.round_trips) == ("cache", 2.0, 400)
    assert found.median_ms > 0
    assert found.cpu_us > 0
    assert use.delivered >= 2 * found.round_trips, "both ways"


def test_where_each_takes_long_there_are_fewer() -> None:
    assert [round_trips(asked_ms) for asked_ms in (0.3, 10.0, 20.0, 100.0)] == [400, 400, 200, 100]
