"""Single flight, asynchronous (the source) and threaded (generated)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from statecache._async.single_flight import AsyncSingleFlight
from statecache._sync.single_flight import SingleFlight


class Call:
    """A call that lands when it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, keys: list[str], _is_current: Callable[[str], bool]) -> dict[str, int]:
        self.count += 1
        number = self.count
        await self.gate.wait()
        if self.error:
            raise self.error
        return dict.fromkeys(keys, number)


async def ask(
    flights: AsyncSingleFlight[int], key: str, call: Any, fence: int = 0, *, anew: bool = False
) -> tuple[int, bool]:
    return (await flights.run({key: fence}, call, anew=anew))[key]


def run(
    scenario: Callable[[AsyncSingleFlight[int], Call], Awaitable[None]], age: float = 60
) -> None:
    async def main() -> None:
        await scenario(AsyncSingleFlight(age), Call())

    asyncio.run(main())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_comes_while_it_runs_shares_it() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        callers = [asyncio.create_task(ask(flights, "k", call)) for _ in range(5)]
        await settle()
        call.gate.set()
        assert await asyncio.gather(*callers) == [(1, False), *[(1, True)] * 4]
        assert await ask(flights, "k", call) == (2, False), "the next one calls anew"

    run(scenario)


def test_keys_do_not_share() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        call.gate.set()
        assert await ask(flights, "a", call) == (1, False)
        assert await ask(flights, "b", call) == (2, False)

    run(scenario)


def test_an_error_reaches_everyone() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        call.error = LookupError("gone")
        callers = [asyncio.create_task(ask(flights, "k", call)) for _ in range(3)]
        await settle()
        call.gate.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(outcome, LookupError) for outcome in outcomes)
        assert call.count == 1

    run(scenario)


def test_a_cancelled_leader_does_not_take_the_others_with_it() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        leader = asyncio.create_task(ask(flights, "k", call))
        await settle()
        others = [asyncio.create_task(ask(flights, "k", call)) for _ in range(3)]
        await settle()
        leader.cancel()
        await settle()
        call.gate.set()
        assert sorted(await asyncio.gather(*others)) == [(2, False), (2, True), (2, True)]
        with pytest.raises(asyncio.CancelledError):
            await leader

    run(scenario)


def test_nobody_joins_after_forget() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        before = asyncio.create_task(ask(flights, "k", call))
        await settle()
        flights.forget(["k"])
        after = asyncio.create_task(ask(flights, "k", call))
        await settle()
        call.gate.set()
        assert await before == (1, False)
        assert await after == (2, False)

    run(scenario)


def test_a_reader_behind_a_fence_does_not_join_one_from_before_it() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        before = asyncio.create_task(ask(flights, "k", call))
        await settle()
        behind = asyncio.create_task(ask(flights, "k", call, fence=7))
        await settle()
        joins = asyncio.create_task(ask(flights, "k", call, fence=5))
        await settle()
        call.gate.set()
        assert await before == (1, False)
        assert await behind == (2, False)
        assert await joins == (2, True)

    run(scenario)


def test_an_old_flight_is_not_joined() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        first = asyncio.create_task(ask(flights, "k", call))
        await settle()
        second = asyncio.create_task(ask(flights, "k", call))
        await settle()
        call.gate.set()
        assert (await first, await second) == ((1, False), (2, False))

    run(scenario, age=-1)


def test_many_keys_are_led_and_joined_at_once() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        first = asyncio.create_task(flights.run({"a": 0, "b": 0}, call))
        await settle()
        second = asyncio.create_task(flights.run({"b": 0, "c": 0}, call))
        await settle()
        call.gate.set()
        assert await first == {"a": (1, False), "b": (1, False)}
        assert await second == {"b": (1, True), "c": (2, False)}
        assert not flights._flights

    run(scenario)


def test_who_asks_anew_waits_for_what_runs_and_then_asks_once_for_all() -> None:
    async def scenario(flights: AsyncSingleFlight[int], call: Call) -> None:
        before = asyncio.create_task(ask(flights, "k", call))
        await settle()
        anew = [asyncio.create_task(ask(flights, "k", call, anew=True)) for _ in range(3)]
        await settle()
        assert call.count == 1, "one call a key at a time"
        call.gate.set()
        call.gate.clear()
        assert await before == (1, False)
        await settle()
        call.gate.set()
        assert sorted(await asyncio.gather(*anew)) == [(2, False), (2, True), (2, True)]

    run(scenario)


def test_threads_share_too() -> None:
    flights: SingleFlight[int] = SingleFlight(60)
    gate, entered = threading.Event(), threading.Event()
    calls = []

    def call(keys: list[str], _is_current: Callable[[str], bool]) -> dict[str, int]:
        calls.append(1)
        entered.set()
        assert gate.wait(30)
        return dict.fromkeys(keys, len(calls))

    outcomes: list[tuple[int, bool]] = []
    leader = threading.Thread(target=lambda: outcomes.append(flights.run({"k": 0}, call)["k"]))
    leader.start()
    assert entered.wait(30)
    joined = threading.Event()

    class Told(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            joined.set()
            return super().wait(timeout)

    flights._flights["k"].landed = Told()  # what the first to join would make
    follower = threading.Thread(target=lambda: outcomes.append(flights.run({"k": 0}, call)["k"]))
    follower.start()
    assert joined.wait(30)
    gate.set()
    leader.join()
    follower.join()
    assert sorted(outcomes) == [(1, False), (1, True)]
    assert not flights._flights


def test_a_call_is_told_whether_it_is_still_current() -> None:
    async def scenario(flights: AsyncSingleFlight[int], _call: Call) -> None:
        told: list[bool] = []

        async def call(keys: list[str], is_current: Callable[[str], bool]) -> dict[str, int]:
            told.append(is_current("k"))
            flights.forget(["k"])
            told.append(is_current("k"))
            return dict.fromkeys(keys, 1)

        assert await ask(flights, "k", call) == (1, False)
        assert told == [True, False]

    run(scenario)
