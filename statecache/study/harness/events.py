"""Load by the trigger engine: recorded events, of each trigger one after the other.

An event is a load, an evaluation and an update. An event processor that is partitioned by key
handles a key's events in their order, so an event waits while its trigger is busy; that wait is
part of its latency. Every state counts its events, which is how the database bears them out.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pandas as pd
from numpy.typing import NDArray

from statecache import AsyncStateManager
from statecache.study.engine import INITIAL_STATE, TriggerEngine
from statecache.study.errors import StudyError
from statecache.study.flights import flight_stream
from statecache.study.harness.loops import GRACE, Recording, all_of
from statecache.study.harness.waking import waited_until
from statecache.study.harness.workloads import Workload

__all__ = ["EVENT", "EngineLoad", "EventPlan", "closed_events", "open_events"]

#: The operation of an event, beside the codes of ``traces``.
EVENT: Final = 3

#: Days of departures from which the events are taken.
_DAYS: Final = 7.0


@dataclass(frozen=True, slots=True)
class EventPlan:
    """Events, one after the other: the trigger, and what is evaluated (a delay in minutes)."""

    ids: list[str]
    values: list[float]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """Departures of the busiest routes in the week from ``start``, which begin again at the end.

    With ``trace`` they are the accesses of the busiest keys of a recorded stream instead, and what
    is evaluated is the seconds since the key's last one. Raises ``StudyError`` for a week or a
    stream that has fewer triggers or events.
    """

    triggers: int = 100
    events: int = 1_000
    start: str = "2013-02-04"
    trace: str = ""

    @property
    def states(self) -> str:
        """What loads have in common that share a table."""
        return repr(self)

    @property
    def initial_state(self) -> dict[str, Any]:
        """The state that every trigger has at first."""
        return dict(INITIAL_STATE)

    @property
    def keys(self) -> int:
        """Number of states."""
        return self.triggers

    @property
    def may_be_absent(self) -> bool:
        """Whether a load may find no state: never, every trigger has one at first."""
        return False

    @property
    def loaded_ids(self) -> list[str]:
        """The triggers."""
        return sorted(self._busiest)

    def plan(self, seed: int) -> EventPlan:
        """Return the events in the order of their instants."""
        stream = _events(self.start, self.trace, seed)
        chosen = stream[stream["key"].isin(self._busiest)][: self.events]
        if len(chosen) < self.events:
            raise StudyError(
                f"{self._source} has {len(chosen)} events of {self.triggers} triggers, not "
                f"{self.events}: ask for fewer, they begin again."
            )
        return EventPlan(chosen["key"].tolist(), chosen["value"].tolist())

    @property
    def _source(self) -> str:
        return "the recorded stream" if self.trace else f"the week from {self.start}"

    @property
    def _busiest(self) -> frozenset[str]:
        """The triggers with most events; ties in the order of their names."""
        uses = _uses(self.start, self.trace)
        if len(uses) < self.triggers:
            raise StudyError(
                f"{self._source} has {len(uses)} triggers, not {self.triggers}: take fewer."
            )
        return frozenset(uses.index[: self.triggers])


async def closed_events(
    manager: AsyncStateManager, plan: EventPlan, *, callers: int, seconds: float, offset: int = 0
) -> Recording:
    """Let callers take the next event when they are done with one, for a while.

    An event is due when a caller takes it. Whatever a caller raises ends the loop.
    """
    recording, handler = Recording(), _Handler(manager, plan)
    places, clock = itertools.count(offset), time.monotonic
    recording.began = clock()
    until = recording.began + seconds

    async def caller() -> None:
        while (due := clock()) < until:
            await handler.handle(next(places), due, recording)

    await all_of(caller() for _number in range(callers))
    recording.seconds = clock() - recording.began
    recording.offered = len(recording.requests)
    return recording


async def open_events(
    manager: AsyncStateManager,
    plan: EventPlan,
    due_s: NDArray[Any],
    *,
    callers: int,
    offset: int = 0,
) -> Recording:
    """Start the next event at each of these seconds, at most ``callers`` in flight.

    An event for which no caller is free waits, as one whose trigger is busy does.
    """
    recording, handler = Recording(offered=len(due_s)), _Handler(manager, plan)
    places, dues, clock = itertools.count(), due_s.tolist(), time.monotonic
    recording.began = began = clock()
    last_start = began + GRACE * dues[-1]

    async def caller() -> None:
        while (number := next(places)) < len(dues):
            due = began + dues[number]
            wait = due - clock()
            if wait > 0:
                await waited_until(due)
                recording.late.append(clock() - due)
            if clock() > last_start:
                return
            await handler.handle(offset + number, due, recording)

    await all_of(caller() for _number in range(callers))
    recording.seconds = clock() - recording.began
    return recording


class _Handler:
    """Handles events by their place, of each trigger one at a time and in order."""

    def __init__(self, manager: AsyncStateManager, plan: EventPlan) -> None:
        self._handle, self._plan = TriggerEngine(manager).handle, plan
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def handle(self, place: int, due: float, recording: Recording) -> None:
        """Handle the event of this place and record it, from when it was due."""
        place %= len(self._plan)
        trigger_id = self._plan.ids[place]
        async with self._locks[trigger_id]:
            began = time.monotonic()
            await self._handle(trigger_id, self._plan.values[place])
            ended = time.monotonic()
        recording.writes_raw.append((trigger_id, 0, began, ended))
        recording.requests.append((EVENT, due, began, ended))


def _events(start: str, trace: str, seed: int) -> pd.DataFrame:
    """Return key and value of all events in their order."""
    if not trace:
        stream = flight_stream(start=start, days=_DAYS, looks=(), seed=seed)
        return stream.rename(columns={"delay_min": "value"})[["key", "value"]]
    plan = Workload(trace=trace).plan(seed)
    frame = pd.DataFrame({"key": plan.ids, "time_s": plan.times_s})
    return frame.assign(value=frame.groupby("key")["time_s"].diff().fillna(0.0))


@cache
def _uses(start: str, trace: str) -> pd.Series[int]:
    """Return the number of events by trigger, most first; ties in the order of their names."""
    counts = _events(start, trace, seed=0)["key"].value_counts()
    return counts.sort_index().sort_values(ascending=False, kind="stable")
