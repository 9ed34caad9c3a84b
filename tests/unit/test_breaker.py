from __future__ import annotations

from statecache.breaker import FIRST_WAIT_MS, QUIET_S, Breaker

WAIT = FIRST_WAIT_MS / 1000


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, threshold: int = 3) -> Breaker:
    breaker = Breaker(threshold, max_wait_ms=400, clock=clock)
    for _ in range(threshold):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(3, 400, Clock())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()
    assert not breaker.is_open


def test_open_it_turns_calls_away_until_the_pause_is_over() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert not breaker.allows()
    clock.now += WAIT
    assert breaker.allows(), "one probe"
    assert not breaker.allows(), "and only one"


def test_a_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    breaker = opened(clock)
    for expected in (WAIT * 2, WAIT * 4, 0.4, 0.4):
        clock.now += 10
        assert breaker.allows()
        breaker.failed()
        clock.now += expected - 0.001
        assert not breaker.allows()
        clock.now += 0.001
        assert breaker.allows()
        clock.now -= 0  # the probe just taken is the next round's


def test_stragglers_do_not_lengthen_the_pause() -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(200):
        breaker.failed()
    clock.now += WAIT
    assert breaker.allows()


def test_a_success_closes_it_and_ends_the_episode_once() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += WAIT
    assert breaker.allows()
    assert not breaker.succeeded(), "it may only flap"
    assert breaker.allows(), "but it is closed"
    clock.now += QUIET_S
    assert breaker.succeeded()
    assert not breaker.succeeded()


def test_what_fails_now_and_then_is_one_episode() -> None:
    clock = Clock()
    breaker = Breaker(5, 400, clock)
    begun = ended = 0
    for _ in range(100):
        begun += breaker.failed()
        clock.now += 0.1
        ended += breaker.succeeded()
    assert (begun, ended) == (1, 0)


def test_an_episode_is_told_once() -> None:
    breaker = Breaker(5, 400, Clock())
    assert [breaker.failed() for _ in range(10)].count(True) == 1


def test_a_probe_whose_caller_vanished_does_not_block_for_ever() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += WAIT
    assert breaker.allows()
    clock.now += WAIT
    assert breaker.allows()
