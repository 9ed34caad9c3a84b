from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.clock import MAX_AGE_S, ServerClock


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_before_the_first_reply_nothing_is_known() -> None:
    clock = ServerClock(Clock())
    assert not clock.is_known
    with pytest.raises(LookupError):
        clock.at(50.0)


def test_it_reckons_from_the_latest_reply_and_forgets_an_old_one() -> None:
    local = Clock()
    clock = ServerClock(local)
    clock.observe(1_000_000)
    assert clock.at(50.25) == 1_000_250
    assert clock.at(49.0) == 999_000
    local.now += MAX_AGE_S + 1
    assert not clock.is_known


@given(st.floats(0, 10), st.floats(0, 1000))
def test_it_is_never_ahead_of_the_server(delay_s: float, later_s: float) -> None:
    local = Clock()
    clock = ServerClock(local)
    told = 5_000_000.0
    local.now = 50.0 + delay_s  # the reply was delay_s on its way
    clock.observe(told)
    true_ms = told + (delay_s + later_s) * 1000
    assert clock.at(local.now + later_s) <= true_ms + 1e-6
