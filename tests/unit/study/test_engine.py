from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.codec import decode_state, encode_state
from statecache.study.engine import INITIAL_STATE, RouteState, Rule, evaluate

DELAYS = st.lists(st.floats(-60.0, 1500.0), min_size=1, max_size=40)
RULES = st.builds(Rule, weight=st.floats(0, 1), threshold_min=st.floats(-30, 300))


def fold(delays: list[float], rule: Rule) -> tuple[list[RouteState], list[bool]]:
    """Return the states after each event, and which events fired."""
    states, fired = [], []
    state = INITIAL_STATE
    for delay in delays:
        state, fires = evaluate(state, delay, rule)
        states.append(state)
        fired.append(fires)
    return states, fired


def test_the_average_by_hand() -> None:
    states, _fired = fold([10.0, 20.0, -5.0], Rule(weight=0.2))
    # 0.2·10; 0.8·2 + 0.2·20; 0.8·5.6 − 0.2·5
    assert [state["ema"] for state in states] == pytest.approx([2.0, 5.6, 3.48])
    assert [state["count"] for state in states] == [1, 2, 3]


def test_the_rule_that_is_documented() -> None:
    assert Rule() == Rule(weight=0.2, threshold_min=20.0)
    assert INITIAL_STATE == {"ema": 0.0, "count": 0, "fired": 0}


def test_a_trigger_fires_when_the_average_crosses_from_below_only() -> None:
    rule = Rule(weight=1.0, threshold_min=20.0)  # the average is the newest delay
    delays = [19.9, 20.0, 25.0, 20.0, 19.0, 30.0, 10.0, 15.0, 20.1]
    fires = [False, True, False, False, False, True, False, False, True]
    states, fired = fold(delays, rule)
    assert fired == fires
    assert [state["fired"] for state in states] == [0, 1, 1, 1, 1, 2, 2, 2, 3]


def test_a_weight_of_nothing_never_moves_the_average() -> None:
    states, fired = fold([500.0] * 3, Rule(weight=0.0))
    assert [state["ema"] for state in states] == [0.0] * 3
    assert not any(fired)
    assert states[-1]["count"] == 3


@settings(deadline=None)
@given(DELAYS, RULES)
def test_the_average_stays_within_what_came_in(delays: list[float], rule: Rule) -> None:
    states, _fired = fold(delays, rule)
    seen = [INITIAL_STATE["ema"]]
    for delay, state in zip(delays, states, strict=True):
        seen.append(delay)
        assert min(seen) - 1e-9 <= state["ema"] <= max(seen) + 1e-9


@settings(deadline=None)
@given(DELAYS, RULES)
def test_events_and_triggers_are_counted(delays: list[float], rule: Rule) -> None:
    states, fired = fold(delays, rule)
    assert states[-1]["count"] == len(delays)
    assert states[-1]["fired"] == sum(fired)
    assert not any(one and two for one, two in pairwise(fired)), (
        "between two triggers the average has been below"
    )


@settings(deadline=None)
@given(DELAYS, RULES)
def test_a_state_is_json_that_a_manager_takes_and_gives_back(
    delays: list[float], rule: Rule
) -> None:
    states, _fired = fold(delays, rule)
    for state in states:
        assert decode_state(encode_state(state, 1_000)) == state
        assert set(state) == set(INITIAL_STATE)


@settings(deadline=None)
@given(DELAYS, RULES)
def test_the_state_before_is_left_as_it_was(delays: list[float], rule: Rule) -> None:
    states, _fired = fold(delays, rule)
    kept = [dict(state) for state in states]
    for state in states:
        evaluate(state, 1_000.0, rule)
    assert states == kept
    assert INITIAL_STATE == {"ema": 0.0, "count": 0, "fired": 0}
