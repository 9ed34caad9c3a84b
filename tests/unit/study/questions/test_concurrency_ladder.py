from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.study.questions.concurrency.ladder import (
    Climb,
    place_below,
    rate_at,
    rungs_over,
    sustained,
)

steps = st.floats(1.05, 2.0)


@given(st.floats(20, 1e5), st.integers(-6, 6), steps, st.integers(2, 8))
def test_the_rungs_reach_above_the_peak_and_lie_around_the_edge(
    peak: float, off: int, step: float, count: int
) -> None:
    edge = place_below(peak, step) + off + 0.5
    rungs = rungs_over(peak, edge, step, count)
    assert rungs == sorted(rungs)
    assert len(rungs) >= count
    assert rungs[-1] > peak * 1.05 - 1
    # A rung below the edge and one above, where each half of the count is one at least.
    assert rungs[0] <= rate_at(math.floor(edge), step)
    assert rungs[-1] >= rate_at(math.ceil(edge), step)
    # All variants share one ladder, without a gap.
    lowest = place_below(rungs[0] * 1.02 + 1, step)
    assert set(rungs) <= {rate_at(lowest + n, step) for n in range(-60, 120)}


@given(st.floats(20, 1e5), steps)
def test_a_place_below_a_rate_is_the_next_one_down(rate: float, step: float) -> None:
    place = place_below(rate, step)
    assert rate_at(place, step) <= rate * 1.03 + 1
    assert rate_at(place + 1, step) >= rate * 0.97 - 1


@given(st.integers(-8, 8), st.floats(-10.0, 10.0), steps)
def test_a_climb_finds_the_edge_between_two_looks(begin: int, edge: float, step: float) -> None:
    climb = Climb(begin, step)
    for _look in range(40):
        if climb.is_over:
            break
        climb.note(held=climb.place <= edge)
    assert climb.held is not None
    assert climb.failed is not None
    assert climb.held <= edge < climb.failed
    assert climb.held < climb.edge < climb.failed
    assert step ** (climb.failed - climb.held) < 1.5 * step, "or one rung, where that is more"


def test_a_climb_that_did_not_come_to_an_end_goes_on_from_where_it_is() -> None:
    climb = Climb(0, 1.5)
    climb.note(held=True)
    climb.note(held=True)
    assert not climb.is_over
    assert climb.edge == 2


SOUND = {
    "mechanisms": "redis", "offered": 100, "unfinished_half": 5, "unfinished_end": 5,
    "client_share": 0.5, "late_p99_us": 100.0, "completed_share": 1.0, "request_p99_us": 49_000.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"request_p99_us": 51_000.0}, False),
        ({"completed_share": 0.98}, False),
        ({"client_share": 0.96}, True),
        ({"client_share": 0.96, "late_p99_us": 5_100.0}, False),
        ({"unfinished_end": 40}, False),
    ],
)
def test_a_rate_is_sustained_in_time_whole_and_without_a_backlog(
    change: dict[str, Any], held: bool
) -> None:
    assert sustained(pd.DataFrame([SOUND | change]), 50.0) == {"redis": held}
