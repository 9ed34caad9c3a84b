"""Interleaved repetitions, to be compared in pairs.

A machine that is busy for a second is busy for whoever runs in that second. So variants take
turns in rounds of milliseconds, in random order, and only rounds of the same turn are compared.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from statecache.study.harness.garbage import own_objects_left_alone

__all__ = [
    "Round",
    "TimedRound",
    "cycle",
    "interleave",
    "median",
    "timed",
    "timed_async",
]

T = TypeVar("T")

#: Runs a variant once and returns what was measured.
Round: TypeAlias = Callable[[], Awaitable[T]]
#: A round that returns seconds an operation.
TimedRound: TypeAlias = Callable[[], Awaitable[float]]


async def interleave(
    rounds: Mapping[str, Round[T]],
    *,
    pairs: int,
    seed: int,
    on_turn: Callable[[float], None] = lambda _share: None,
) -> dict[str, list[T]]:
    """Run every variant ``pairs`` times, taking turns, after one turn that is thrown away.

    Returns variant → measurements; those at the same place belong to the same turn. ``on_turn``
    is told the share that is done.
    """
    order = random.Random(seed)  # noqa: S311 - an order, not a secret
    measured: dict[str, list[T]] = {name: [] for name in rounds}
    with own_objects_left_alone():
        for turn in range(pairs + 1):
            names = list(rounds)
            order.shuffle(names)
            for name in names:
                # Rounds of synchronous code never wait: without this, Ctrl-C would not get through.
                await asyncio.sleep(0)
                result = await rounds[name]()
                if turn > 0:
                    measured[name].append(result)
            on_turn((turn + 1) / (pairs + 1))
    return measured


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def timed(call: Callable[[str], Any], ids: Sequence[str]) -> TimedRound:
    """Return a round that makes the call for each id, one after the other."""

    async def run() -> float:
        started = time.perf_counter()
        for trigger_id in ids:
            call(trigger_id)
        return (time.perf_counter() - started) / len(ids)

    return run


def timed_async(
    call: Callable[[str], Awaitable[Any]], ids: Sequence[str], callers: int = 1
) -> TimedRound:
    """Return a round in which ``callers`` share the ids and make their calls concurrently."""

    async def caller(own: Sequence[str]) -> None:
        for trigger_id in own:
            await call(trigger_id)

    async def run() -> float:
        started = time.perf_counter()
        if callers == 1:
            await caller(ids)
        else:
            await asyncio.gather(*(caller(ids[place::callers]) for place in range(callers)))
        return (time.perf_counter() - started) / len(ids)

    return run


def cycle(ids: Sequence[str], count: int) -> list[str]:
    """Return ``count`` ids, going round."""
    return [ids[place % len(ids)] for place in range(count)]
