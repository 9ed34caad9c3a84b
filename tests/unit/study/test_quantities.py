from __future__ import annotations

import math
from typing import Any

import pytest

from statecache.study.intervals import Interval
from statecache.study.quantities import Kind, show_interval, show_range, show_value


@pytest.mark.parametrize(
    ("value", "kind", "unit", "shown"),
    [
        (16.666, "ratio", "x", "16.7x"),
        (0.98765, "ratio", "x", "0.988x"),
        (123.4, "ratio", "x", "123x"),
        (0.65432, "share", "share", "65.4 %"),
        (0.8, "share", "share", "80.0 %"),
        (150.0, "duration", "µs", "150 µs"),
        (2_500.0, "duration", "µs", "2.5 ms"),
        (5.2e6, "duration", "µs", "5.2 s"),
        (0.31, "duration", "µs", "0.31 µs"),
        (1_250.4, "rate", "ops/s", "1,250 ops/s"),
        (65.0, "rate", "events/s", "65 events/s"),
        (1_024.0, "size", "B", "1 KB"),
        (800.0, "size", "B", "800 B"),
        (1.0, "yes-no", "share", "yes"),
        (0.0, "yes-no", "share", "no"),
        (0.999, "yes-no", "share", "99.9 %"),
        (0.0, "ratio", "x", "0x"),
    ],
)
def test_a_value_with_its_unit(value: float, kind: Any, unit: str, shown: str) -> None:
    assert show_value(value, kind, unit) == shown


def test_ranges_share_one_unit() -> None:
    assert show_range(500, 2_500, "duration", "µs") == "0.5–2.5 ms"
    assert show_range(0.7, 0.9, "share", "share") == "70.0–90.0 %"
    assert show_range(0.7, 0.9, "share", "share", quoted=True) == "70–90 %"
    assert show_range(7, math.inf, "ratio", "x") == "≥ 7x"
    assert show_range(-math.inf, 150, "duration", "µs") == "≤ 150 µs"
    assert show_range(1, 1, "yes-no", "share") == "yes"


def test_intervals_say_where_there_is_none() -> None:
    none = float("nan")
    assert show_interval(Interval(2, none, none), "ratio", "x") == "limits unknown"
    assert show_interval(Interval(2, 2, 2), "ratio", "x") == "none, counted"
    assert show_interval(Interval(2, 1.5, 2.5), "ratio", "x") == "1.5–2.5x"
    assert show_interval(Interval(2, 1.5, math.inf), "ratio", "x") == "≥ 1.5x"
    assert show_interval(Interval(2, 0, 2.5), "ratio", "x") == "≤ 2.5x"


@pytest.mark.parametrize(
    ("limits", "kind", "unit", "shown"),
    [
        ((1.0, 0.02, 50.0), "ratio", "x", "0.02–50x"),
        ((1.0, 0.005, 200.0), "ratio", "x", "too wide to show"),
        ((2.0, 1.9, 300.0), "rate", "ops/s", "too wide to show"),
        ((0.5, -0.2, 1.0), "share", "share", "-20.0–100.0 %"),
        ((-0.1, -13872.0, 1.0), "share", "share", "too wide to show"),
    ],
)
def test_an_interval_that_leaves_the_order_of_magnitude_open_shows_no_limits(
    limits: tuple[float, float, float], kind: Kind, unit: str, shown: str
) -> None:
    assert show_interval(Interval(*limits), kind, unit) == shown
