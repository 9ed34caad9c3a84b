"""Requests that keep to a timetable whatever happens, each answer checked."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from statecache import Access, AsyncStateManager
from statecache.study.harness.tasks import tasks_together
from statecache.study.harness.workloads import Plan
from statecache.study.traces import READ
from statecache.study.troubles.writes import Writes

__all__ = ["ERROR", "OTHER_READS", "Load", "Request", "StaleRead"]

#: Of the reads, every so many is made by the manager that does not write.
OTHER_READS: Final = 4

#: The load has settled once the median of so many requests is below so many seconds.
SETTLED_OVER: Final = 50
SETTLED_S: Final = 0.02

#: Stands in for the operation of a request that raised.
ERROR: Final = 255


class Request(NamedTuple):
    """A request that has ended, with times of the monotonic clock."""

    operation: int
    due: float
    ended: float


class StaleRead(NamedTuple):
    """A read of the other manager that was older than what had been acknowledged before it."""

    began: float
    #: Since when it should have known better, in seconds before it began.
    age_s: float


class Load:
    """Two managers of the same states under an open load: one writes and reads, the other reads.

    Updates of one key wait for each other, as the events of one trigger do; so it is known what
    every read may not be older than. ``writes`` must know the states that are there.
    """

    def __init__(self, plan: Plan, due_s: NDArray[np.float64], writes: Writes) -> None:
        self._managers: Sequence[AsyncStateManager] = ()
        self._plan = plan
        self._due_s: Sequence[float] = due_s.tolist()
        self._writes = writes
        #: Key → the newest count that the cache has acknowledged, too.
        self._cached: dict[str, int] = {}
        self._acknowledged_at: dict[tuple[str, int], float] = {}
        self._outcomes: dict[str, str] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._places = itertools.count()
        self._began = 0.0
        self._ended = False
        self.requests: list[Request] = []
        self.late: list[float] = []
        self.stale: list[StaleRead] = []
        self.errors: Counter[str] = Counter()
        #: Answers that nobody wrote; reads of the writer older than its own writes; reads of the
        #: other older than what the cache had acknowledged. None of them may ever happen.
        self.wrong = self.own_stale = self.broken = 0
        #: When the writer last had to leave a write unrepaired, and when its reads hit.
        self.unrepaired_at = -float("inf")
        self.hits_at: list[float] = []

    def observe(self, access: Access) -> None:
        """Be told of the writer's calls."""
        if access.operation == "update":
            self._outcomes[access.trigger_id] = access.outcome
            if access.outcome != "committed":
                self.unrepaired_at = access.ended
        elif access.outcome == "hit":
            self.hits_at.append(access.ended)

    @property
    def is_settled(self) -> bool:
        """Whether the latest requests were answered soon after they were due."""
        latest = [one.ended - one.due for one in self.requests[-SETTLED_OVER:]]
        return len(latest) == SETTLED_OVER and sorted(latest)[SETTLED_OVER // 2] < SETTLED_S

    def used_after(self, instant: float) -> float | None:
        """Return when the writer's first read after that hit; ``None`` before it did."""
        return next((at for at in self.hits_at if at > instant), None)

    async def run(self, managers: Sequence[AsyncStateManager], callers: int) -> None:
        """Start each request when it is due, at most so many in flight, until ``end``.

        The first manager writes and reads, the second one reads.
        """
        self._managers = managers
        self._began = time.monotonic()
        async with tasks_together() as group:
            for _ in range(callers):
                group.create_task(self._caller())

    def end(self) -> None:
        """Start nothing more."""
        self._ended = True

    async def _caller(self) -> None:
        while (number := next(self._places)) < len(self._due_s):
            due = self._began + self._due_s[number]
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
                self.late.append(time.monotonic() - due)
            if self._ended:
                return
            place = number % len(self._plan)
            key, operation = self._plan.ids[place], self._plan.operations[place]
            try:
                if operation == READ:
                    await self._read(key, is_other=number % OTHER_READS == 0)
                else:
                    async with self._locks[key]:
                        await self._write(key)
            except Exception as error:  # it is to be counted, whatever it is
                self.errors[f"{type(error).__name__}: {error}"] += 1
                operation = ERROR
            self.requests.append(Request(operation, due, time.monotonic()))

    async def _write(self, key: str) -> None:
        state = self._writes.next_state(key)
        self._outcomes.pop(key, None)
        await self._managers[0].update_state(key, state)
        count = self._writes.acknowledged[key] = state["count"]
        self._acknowledged_at[key, count] = time.monotonic()
        if self._outcomes.get(key) == "committed":
            self._cached[key] = count

    async def _read(self, key: str, *, is_other: bool) -> None:
        acknowledged, cached = self._writes.acknowledged[key], self._cached.get(key, -1)
        began = time.monotonic()
        read = await self._managers[is_other].load_state(key)
        if not self._writes.is_possible(key, read):
            self.wrong += 1
        elif read["count"] < acknowledged:
            if is_other:
                known_at = self._acknowledged_at.get((key, read["count"] + 1), began)
                self.stale.append(StaleRead(began, began - known_at))
                self.broken += read["count"] < cached
            else:
                self.own_stale += 1
