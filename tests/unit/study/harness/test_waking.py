"""Nobody wakes up early, what is ready ends the wait, and looking at the clock is counted."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.harness.waking import (
    LEAD_S,
    LOOKING_S,
    PreciseSelector,
    looked_s,
    sleep_until,
    waited_until,
)

WAITS = st.floats(-0.001, 4 * LOOKING_S)


@given(wait=WAITS)
@settings(deadline=None, max_examples=50)
def test_a_thread_never_wakes_up_early(wait: float) -> None:
    due = time.monotonic() + wait
    sleep_until(due)
    assert time.monotonic() >= due


@given(wait=WAITS.filter(bool))
@settings(deadline=None, max_examples=50)
def test_a_selector_never_gives_up_early(wait: float) -> None:
    with PreciseSelector() as selector:
        due = time.monotonic() + wait
        assert selector.select(wait) == []
        assert time.monotonic() >= due


@pytest.mark.parametrize("limit_s", [None, 60.0, LOOKING_S])
def test_what_is_ready_ends_the_wait(limit_s: float | None) -> None:
    ours, theirs = socket.socketpair()
    with PreciseSelector() as selector, ours, theirs:
        selector.register(ours, selectors.EVENT_READ)
        theirs.send(b"x")
        ((key, events),) = selector.select(limit_s)
        assert (key.fileobj, events) == (ours, selectors.EVENT_READ)


def test_what_becomes_ready_later_ends_the_wait() -> None:
    ours, theirs = socket.socketpair()
    with PreciseSelector() as selector, ours, theirs:
        selector.register(ours, selectors.EVENT_READ)
        threading.Timer(0.05, theirs.send, [b"x"]).start()
        assert len(selector.select(60.0)) == 1


def test_timers_of_a_loop_fire_in_order() -> None:
    async def main() -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        for number in (3, 1, 2):
            loop.call_later(number * 1e-4, fired.append, number)
        await asyncio.sleep(1e-3)
        return fired

    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(PreciseSelector())
    ) as runner:
        assert runner.run(main()) == [1, 2, 3]


def test_looking_at_the_clock_is_counted_and_sleeping_is_not() -> None:
    before = looked_s()
    sleep_until(time.monotonic() + LOOKING_S)
    looked = looked_s() - before
    assert looked > 0
    before = looked_s()
    sleep_until(time.monotonic() + 0.05)
    # Of 50 ms only the end is spent looking; the machine may let that take longer, not the CPU.
    assert looked_s() - before < 0.025


@given(waits=st.lists(st.floats(-0.001, 10 * LEAD_S), min_size=1, max_size=20))
@settings(deadline=None, max_examples=25)
def test_tasks_wake_up_no_earlier_and_all_of_them(waits: list[float]) -> None:
    async def main() -> None:
        async def one(due: float) -> None:
            await waited_until(due)
            assert time.monotonic() >= due

        await asyncio.gather(*(one(time.monotonic() + wait) for wait in waits))

    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(PreciseSelector())
    ) as runner:
        runner.run(main())
