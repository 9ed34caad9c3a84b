"""Load on a manager: closed loops of callers, and open loops that keep to a timetable.

A closed loop shows what callers get who wait for each other; it starts less when the manager gets
slower, and so hides what people who do not wait would feel (coordinated omission). An open loop
starts requests when they are due and counts latency from then.

Requests in flight are limited alike in both: by the number of callers. ``threads`` has the same
for synchronous managers.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from statecache import AsyncStateManager
from statecache.study.errors import StudyError
from statecache.study.harness.documents import document
from statecache.study.harness.ledger import DELETED, Write
from statecache.study.harness.tasks import tasks_together
from statecache.study.harness.waking import waited_until
from statecache.study.harness.workloads import Plan
from statecache.study.traces import READ, WRITE

__all__ = [
    "GRACE",
    "Recording",
    "absent",
    "all_of",
    "closed_loop",
    "open_loop",
]

#: An open loop that has fallen behind starts no request later than this multiple of its length.
GRACE: Final = 1.25


@dataclass(slots=True)
class Recording:
    """What a loop recorded; times in seconds, of the monotonic clock where they are instants.

    A closed loop has no timetable: its requests are due when they start.
    """

    #: Request by request, in order of their ends: operation (a code of ``traces``), when it was
    #: due, when it started, when it ended.
    requests: list[tuple[int, float, float, float]] = field(default_factory=list)
    #: Of an open loop, how late the driver woke up for requests it had a free caller for.
    late: list[float] = field(default_factory=list)
    #: Trigger id, number, start and end of the acknowledged writes, plain until they are asked for.
    writes_raw: list[tuple[str, int, float, float]] = field(default_factory=list)
    began: float = 0.0
    seconds: float = 0.0
    #: Requests that the timetable asked for; those of a closed loop are all done.
    offered: int = 0

    @property
    def writes(self) -> list[Write]:
        """The acknowledged writes."""
        return list(starmap(Write, self.writes_raw))

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return len(self.requests) / self.seconds

    def latencies(self, operation: int | None = None) -> NDArray[np.float64]:
        """Return seconds from due to done, of one operation or of all."""
        return np.array(
            [
                ended - due
                for code, due, _started, ended in self.requests
                if operation is None or code == operation
            ],
            dtype=np.float64,
        )

    def unfinished(self, after_s: float) -> int:
        """Return how many requests were due, and not done, that long after the beginning."""
        instant = self.began + after_s
        table = np.array([(due, ended) for _code, due, _started, ended in self.requests])
        if not len(table):
            return 0
        return int(np.count_nonzero((table[:, 0] <= instant) & (table[:, 1] > instant)))


async def closed_loop(
    manager: AsyncStateManager,
    plan: Plan,
    *,
    callers: int,
    seconds: float,
    numbers: Iterator[int],
    offset: int = 0,
    may_be_absent: bool = False,
) -> Recording:
    """Let callers go through the plan for a while, each with its next call when one ends.

    Every update has a number of its own. Raises ``StudyError`` where a load finds no state, unless
    states ``may_be_absent``; whatever a caller raises ends the loop.
    """
    recording = Recording()
    steps = len(plan)
    recording.began = time.monotonic()
    until = recording.began + seconds

    async def caller(place: int) -> None:
        # What is looked up here once is not looked up for every call: the loop measures itself.
        clock, ids, operations, sizes = time.monotonic, plan.ids, plan.operations, plan.sizes
        load, update, delete = manager.load_state, manager.update_state, manager.delete_state
        note, note_write = recording.requests.append, recording.writes_raw.append
        ended = clock()
        while ended < until:
            place = place + 1 if place + 1 < steps else 0
            trigger_id, operation = ids[place], operations[place]
            if operation == READ:
                began = clock()
                found = await load(trigger_id)
                ended = clock()
                if found is None and not may_be_absent:
                    raise absent(trigger_id)
            elif operation == WRITE:
                number = next(numbers)
                state = document(number, sizes[place] if sizes else 0)
                began = clock()
                await update(trigger_id, state)
                ended = clock()
                note_write((trigger_id, number, began, ended))
            else:
                began = clock()
                await delete(trigger_id)
                ended = clock()
                note_write((trigger_id, DELETED, began, ended))
            note((operation, began, began, ended))

    await all_of(caller((offset + number * steps // callers) % steps) for number in range(callers))
    recording.seconds = time.monotonic() - recording.began
    recording.offered = len(recording.requests)
    return recording


async def open_loop(
    manager: AsyncStateManager,
    plan: Plan,
    due_s: NDArray[np.float64],
    *,
    callers: int,
    numbers: Iterator[int],
    offset: int = 0,
    may_be_absent: bool = False,
) -> Recording:
    """Start the plan's next request at each of these seconds, at most ``callers`` in flight.

    A request for which no caller is free waits, and its latency grows. The event loop's timers
    should be finer than a millisecond: see ``aside.run_aside``. Raises like ``closed_loop``.
    """
    recording = Recording(offered=len(due_s))
    steps, places = len(plan), itertools.count()
    dues = due_s.tolist()
    recording.began = began_all = time.monotonic()
    last_start = began_all + GRACE * dues[-1]

    async def caller(_number: int) -> None:
        clock, ids, operations, sizes = time.monotonic, plan.ids, plan.operations, plan.sizes
        note, note_write = recording.requests.append, recording.writes_raw.append
        while (number := next(places)) < len(dues):
            due = began_all + dues[number]
            place = (offset + number) % steps
            trigger_id, operation = ids[place], operations[place]
            wait = due - clock()
            if wait > 0:
                await waited_until(due)
                recording.late.append(clock() - due)
            began = clock()
            if began > last_start:
                return
            if operation == READ:
                found = await manager.load_state(trigger_id)
                if found is None and not may_be_absent:
                    raise absent(trigger_id)
                ended = clock()
            elif operation == WRITE:
                update = next(numbers)
                state = document(update, sizes[place] if sizes else 0)
                await manager.update_state(trigger_id, state)
                ended = clock()
                note_write((trigger_id, update, began, ended))
            else:
                await manager.delete_state(trigger_id)
                ended = clock()
                note_write((trigger_id, DELETED, began, ended))
            note((operation, due, began, ended))

    await all_of(caller(number) for number in range(callers))
    recording.seconds = time.monotonic() - recording.began
    return recording


async def all_of(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them all; where one fails the others are cancelled, and its error is raised."""
    async with tasks_together() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


def absent(trigger_id: str) -> StudyError:
    """Return what is raised where a load finds no state."""
    return StudyError(f"{trigger_id} has a state, but load_state says None: please report this.")
