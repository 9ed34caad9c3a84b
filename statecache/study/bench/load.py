"""A closed loop of concurrent callers on a manager: each makes its next call when one ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, Literal, NamedTuple

import numpy as np

from statecache import AsyncStateManager
from statecache.study.bench.ledger import Write
from statecache.study.bench.stage import document
from statecache.study.errors import StudyError

__all__ = ["Plan", "Run", "Spread", "all_of", "make_plan", "popular_ids", "run_mix"]

#: How often each id is used: the rank's power -1.2, or all alike.
Spread = Literal["zipf", "uniform"]

ZIPF_EXPONENT = 1.2
#: Steps of a plan; callers begin at different places in it and go round.
STEPS = 1 << 17


@dataclass(frozen=True, slots=True)
class Plan:
    """What the callers do, step by step: which id, and whether it is written to."""

    ids: list[str]
    writes: list[bool]


class Run(NamedTuple):
    """What a run of a mix measured; latencies in seconds, in no order."""

    seconds: float
    latencies: list[float]
    writes: list[Write]

    @property
    def throughput(self) -> float:
        """Operations a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency that ``share`` of the operations stayed below, in seconds."""
        return float(np.quantile(self.latencies, share))


def make_plan(
    ids: Sequence[str], spread: Spread, write_share: float, seed: int, steps: int = STEPS
) -> Plan:
    """Draw a plan; which ids are popular has nothing to do with their order."""
    draw = np.random.default_rng(seed)
    places = draw.permutation(len(ids))
    if spread == "zipf":
        weights = 1.0 / np.arange(1, len(ids) + 1) ** ZIPF_EXPONENT
        places = places[draw.choice(len(ids), size=steps, p=weights / weights.sum())]
    else:
        places = draw.choice(places, size=steps)
    writes = draw.random(steps) < write_share
    return Plan([ids[place] for place in places.tolist()], writes.tolist())


def popular_ids(plan: Plan, count: int) -> list[str]:
    """Return ids of the plan from the most popular to rare ones, ``count`` in all."""
    names, uses = np.unique(np.array(plan.ids), return_counts=True)
    ranked = names[np.argsort(-uses, kind="stable")].tolist()
    return [str(name) for name in ranked[:: max(1, len(ranked) // count)][:count]]


async def run_mix(
    manager: AsyncStateManager,
    plan: Plan,
    *,
    callers: int,
    seconds: float,
    numbers: Iterator[int],
    offset: int,
) -> Run:
    """Let the callers go through the plan for a while; every write has a number of its own.

    Raises ``StudyError`` where a load finds no state: all ids are loaded beforehand. Whatever a
    caller raises ends the run.
    """
    latencies: list[float] = []
    # Plain tuples for now: the garbage collector does not walk them again and again.
    writes: list[tuple[str, int, float, float]] = []
    steps = len(plan.ids)
    until = time.monotonic() + seconds

    async def caller(place: int) -> None:
        # What is looked up here once is not looked up for every call: the loop measures itself.
        clock, ids, is_write = time.monotonic, plan.ids, plan.writes
        load, update = manager.load_state, manager.update_state
        ended = clock()
        while ended < until:
            place = place + 1 if place + 1 < steps else 0
            trigger_id = ids[place]
            if is_write[place]:
                number = next(numbers)
                state = document(number)
                began = clock()
                await update(trigger_id, state)
                ended = clock()
                writes.append((trigger_id, number, began, ended))
            else:
                began = clock()
                found = await load(trigger_id)
                ended = clock()
                if found is None:
                    raise StudyError(f"{trigger_id} has a state, but load_state says None.")
            latencies.append(ended - began)

    started = time.monotonic()
    await all_of(caller((offset + number * steps // callers) % steps) for number in range(callers))
    return Run(time.monotonic() - started, latencies, list(starmap(Write, writes)))


async def all_of(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them all; where one fails the others are cancelled, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
