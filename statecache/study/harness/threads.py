"""The closed and the open loop of ``loops`` with threads, for synchronous managers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from statecache import StateManager
from statecache.study.harness.documents import document
from statecache.study.harness.ledger import DELETED
from statecache.study.harness.loops import GRACE, Recording, absent
from statecache.study.harness.waking import sleep_until
from statecache.study.harness.workloads import Plan
from statecache.study.traces import READ, WRITE

__all__ = ["Threads"]


@dataclass(slots=True, kw_only=True)
class Threads:
    """A manager, and what its callers ask of it; raises like ``loops.closed_loop``."""

    manager: StateManager
    plan: Plan
    callers: int
    numbers: Iterator[int]
    offset: int = 0
    may_be_absent: bool = False
    _recording: Recording = field(default_factory=Recording)

    def closed(self, seconds: float) -> Recording:
        """Let callers go through the plan for a while, each with its next call when one ends."""
        recording = self._begin()
        until = recording.began + seconds
        steps = len(self.plan)

        def caller(number: int) -> None:
            place = (self.offset + number * steps // self.callers) % steps
            while time.monotonic() < until:
                place = (place + 1) % steps
                self._request(place)

        self._run(caller)
        recording.offered = len(recording.requests)
        return recording

    def open(self, due_s: NDArray[Any]) -> Recording:
        """Start the plan's next request at each of these seconds, at most ``callers`` in flight."""
        recording = self._begin()
        dues, places = due_s.tolist(), itertools.count()
        recording.offered = len(dues)
        last_start = recording.began + GRACE * dues[-1]

        def caller(_number: int) -> None:
            while (number := next(places)) < len(dues):
                due = recording.began + dues[number]
                wait = due - time.monotonic()
                if wait > 0:
                    sleep_until(due)
                    recording.late.append(time.monotonic() - due)
                if time.monotonic() > last_start:
                    return
                self._request((self.offset + number) % len(self.plan), due)

        self._run(caller)
        return recording

    def _begin(self) -> Recording:
        self._recording = Recording(began=time.monotonic())
        return self._recording

    def _request(self, place: int, due: float | None = None) -> None:
        """Make one request and record it."""
        trigger_id, operation = self.plan.ids[place], self.plan.operations[place]
        number, state = DELETED, None
        if operation == WRITE:
            number = next(self.numbers)
            state = document(number, self.plan.sizes[place] if self.plan.sizes else 0)
        began = time.monotonic()
        if operation == READ:
            found = self.manager.load_state(trigger_id)
            if found is None and not self.may_be_absent:
                raise absent(trigger_id)
        elif operation == WRITE:
            self.manager.update_state(trigger_id, state)
        else:
            self.manager.delete_state(trigger_id)
        ended = time.monotonic()
        if operation != READ:
            self._recording.writes_raw.append((trigger_id, number, began, ended))
        self._recording.requests.append((operation, began if due is None else due, began, ended))

    def _run(self, caller: Callable[[int], None]) -> None:
        """Run every caller in a thread of its own; raise the first error after all have ended."""
        errors: list[BaseException] = []

        def run(number: int) -> None:
            try:
                caller(number)
            except BaseException as error:  # raised below, where somebody hears it
                errors.append(error)

        threads = [
            threading.Thread(target=run, args=(number,), daemon=True)
            for number in range(self.callers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._recording.seconds = time.monotonic() - self._recording.began
        if errors:
            raise errors[0]
