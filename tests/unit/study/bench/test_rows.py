from __future__ import annotations

import pytest

from statecache.study.bench.rows import AT_LEAST, AT_MOST, Goal, Row, paired_row
from statecache.study.intervals import Interval

NAN = float("nan")


def row(value: Interval, goal: Goal | None, **options: object) -> Row:
    settings = {"name": "x", "what": "x", "against": "y", "pairs": 8} | options
    return Row(value=value, goal=goal, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "goal", "verdict"),
    [
        (7.0, 7.5, Goal(AT_LEAST, 7.0), "met"),
        (6.9, 7.5, Goal(AT_LEAST, 7.0), "not decided"),
        (6.0, 6.9, Goal(AT_LEAST, 7.0), "missed"),
        (1.0, 1.05, Goal(AT_MOST, 1.05), "met"),
        (1.0, 1.06, Goal(AT_MOST, 1.05), "not decided"),
        (1.06, 1.2, Goal(AT_MOST, 1.05), "missed"),
        (0.0, 100.0, None, "shown"),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, goal: Goal, verdict: str) -> None:
    assert row(Interval((low + high) / 2, low, high), goal).verdict == verdict


def test_too_few_pairs_decide_nothing_unless_it_was_counted() -> None:
    value, goal = Interval(9.0, 8.9, 9.1), Goal(AT_LEAST, 7.0)
    assert row(value, goal, pairs=7).verdict == "not decided"
    assert row(value, goal, pairs=1, counted=True).verdict == "met"


def test_without_an_interval_nothing_is_decided() -> None:
    assert row(Interval(9.0, NAN, NAN), Goal(AT_LEAST, 7.0)).verdict == "not decided"


def test_a_row_of_pairs_holds_the_ratio_and_both_medians() -> None:
    made = paired_row("n", "w", "a", ([2.0, 4.0, 8.0], [1.0, 2.0, 4.0]), scale=1e6, unit="µs")
    assert made.value == pytest.approx((2.0, 2.0, 2.0))
    assert (made.ours, made.theirs, made.pairs, made.absolute_unit) == (4e6, 2e6, 3, "µs")
