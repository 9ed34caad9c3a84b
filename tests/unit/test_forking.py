"""What a forked child can use although its parent was busy with it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from statecache import forking
from statecache._acompat import Background, Slots
from statecache._sync.single_flight import SingleFlight
from statecache.breaker import Breaker
from statecache.durations import Durations
from statecache.gathering import READ_LANES, AsyncGatheredReads, AsyncGatheredWrites
from statecache.lifetimes import Lifetimes
from statecache.lookup import Row
from statecache.memory import MemoryTier
from statecache.repair import Unrepaired
from statecache.stats import Tally

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def in_a_child(call: Callable[[], Any]) -> bool:
    """Return whether the call came back with something true in a forked child."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(10)  # rather than hang without end
            os._exit(0 if call() else 3)
        finally:
            os._exit(4)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def is_done(_outcome: object) -> bool:
    return True


LOCKED: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "Tally": (Tally, lambda tally: tally.snapshot(enabled=True, ttl_secs=1.0)),
    "Ticks": (lambda: Tally().memory_hits, lambda ticks: ticks.value() == 0),
    "Durations": (Durations, lambda durations: is_done(durations.note(1.0))),
    "Breaker": (lambda: Breaker(1, 1_000), lambda breaker: breaker.failed()),
    "Lifetimes": (
        lambda: Lifetimes(1_000, target_hit_rate=0.5),
        lambda lifetimes: is_done(lifetimes.note_read("t")),
    ),
    "MemoryTier": (lambda: MemoryTier(1, 1.0), lambda tier: is_done(tier.changed({"t": 1}))),
    "Unrepaired": (Unrepaired, lambda keys: is_done(keys.add("t", 1)) and "t" in keys),
    "SingleFlight": (
        lambda: SingleFlight(1.0),
        lambda flights: flights.run({"t": 0}, lambda keys, _current: dict.fromkeys(keys, 1)),
    ),
    "Background": (
        lambda: Background("statecache-test", lambda: None),
        lambda background: is_done(background.start()),
    ),
}


@pytest.mark.parametrize("name", LOCKED)
def test_a_lock_that_another_thread_held_is_free_in_the_child(name: str) -> None:
    make, use = LOCKED[name]
    made = make()
    with made._lock:  # as another thread would, at the moment of the fork
        assert in_a_child(lambda: use(made))
    assert use(made), "and the parent goes on"


def test_slots_that_the_parent_s_threads_took_are_free_in_the_child() -> None:
    slots = Slots(1)
    assert slots.take(0.0)
    assert in_a_child(lambda: slots.take(0.0))
    assert not slots.take(0.0), "in the parent they are not"


def test_a_call_that_a_parent_s_thread_leads_is_not_waited_for() -> None:
    flights: SingleFlight[int] = SingleFlight(60.0)
    begun, goes_on = threading.Event(), threading.Event()

    def wait(keys: list[str], _is_current: Callable[[str], bool]) -> dict[str, int]:
        begun.set()
        goes_on.wait(30)
        return dict.fromkeys(keys, 1)

    leader = threading.Thread(target=flights.run, args=({"t": 0}, wait))
    leader.start()
    begun.wait(30)
    assert in_a_child(
        lambda: flights.run({"t": 0}, lambda _keys, _current: {"t": 2}) == {"t": (2, False)}
    )
    goes_on.set()
    leader.join(30)


@pytest.mark.parametrize("writes", [False, True])
def test_a_batch_that_a_parent_s_loop_runs_holds_up_nobody_in_the_child(writes: bool) -> None:
    begun, goes_on, parent = threading.Semaphore(0), threading.Event(), os.getpid()
    batches = 1 if writes else READ_LANES  # as many as there may be at a time

    async def run(keys: Iterable[str]) -> dict[str, int]:
        if os.getpid() == parent:
            begun.release()
            await asyncio.to_thread(goes_on.wait, 30)
        return dict.fromkeys(keys, os.getpid())

    async def pass_on(outcomes: dict[str, int]) -> dict[str, int]:
        return outcomes

    reads = AsyncGatheredReads(run)
    written = AsyncGatheredWrites(
        run, pass_on, lambda _keys: None, Tally(), early=lambda written: (written, {}), halves=False
    )

    async def call() -> int:
        waiting = []
        for _ in range(batches):
            waiting.append(written.call("t", b"1") if writes else reads.call("t"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return (await asyncio.gather(*waiting))[0]

    busy = threading.Thread(target=lambda: asyncio.run(call()))
    busy.start()
    for _ in range(batches):
        assert begun.acquire(timeout=30)
    assert in_a_child(lambda: asyncio.run(call()) == os.getpid())
    goes_on.set()
    busy.join(30)


def test_what_the_parent_was_told_of_is_not_trusted_in_the_child() -> None:
    tier = MemoryTier(10, 60.0, clock=lambda: 1.0)
    tier.trust(10.0)
    tier.store({"t": Row(b"1", 1)}, tier.changes)
    assert in_a_child(lambda: tier.get("t") is None)
    assert tier.get("t") == b"1"


def test_the_background_runs_anew_in_the_child_unless_it_was_stopped() -> None:
    ran = threading.Event()
    background = Background("statecache-test", ran.set)
    background.start()
    assert ran.wait(30)
    ran.clear()

    def runs() -> bool:
        background.start()
        return ran.wait(10)

    assert in_a_child(runs)
    background.stop()
    assert in_a_child(lambda: not background.goes_on)
    background.close()


def test_what_is_gone_is_not_begun_anew() -> None:
    class Thing:
        began = 0

        def begin(self) -> None:
            Thing.began += 1

    kept, gone = Thing(), Thing()
    forking.in_each_process(kept.begin)
    forking.in_each_child(gone.begin)
    assert Thing.began == 1
    del gone
    gc.collect()
    assert in_a_child(lambda: Thing.began == 2)
    del kept
