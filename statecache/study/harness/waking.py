"""Waking up when something is due: timers are late by what the system takes to wake a sleeper.

That is 50 µs of timer slack on Linux, and on an idle virtual machine some 200 µs more, as much as a
read takes. So a driver sleeps until shortly before, and then looks at the clock until it is time.
The CPU time of looking is the driver's own, and is known, so that it is no one else's.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import time
from typing import Any, Final

__all__ = ["PreciseSelector", "looked_s", "sleep_until", "waited_until"]

#: How long before something is due sleeping ends, in seconds.
LOOKING_S: Final = 0.0004


#: How long before something is due a task in an event loop is awake, in seconds.
LEAD_S: Final = 0.00004


class _Looked:
    """CPU time of looking at the clock, of all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        with self._lock:
            self.seconds += seconds


_looked = _Looked()


def looked_s() -> float:
    """Return the CPU time that this process has spent looking at the clock, in seconds."""
    return _looked.seconds


def sleep_until(due: float) -> None:
    """Sleep until an instant of the monotonic clock; other threads may run meanwhile."""
    wait = due - time.monotonic()
    if wait > LOOKING_S:
        time.sleep(wait - LOOKING_S)
    began = time.thread_time()
    while time.monotonic() < due:
        os.sched_yield()  # a sleep of no time takes the timer's slack, too
    _looked.add(time.thread_time() - began)


async def waited_until(due: float) -> None:
    """Wait until an instant of the monotonic clock, in a loop with a ``PreciseSelector``.

    From a timer to the task that waits for it takes the loop two rounds, which is what the lead is
    for; others run in these rounds.
    """
    wait = due - time.monotonic()
    if wait > LEAD_S:
        await asyncio.sleep(wait - LEAD_S)
    while time.monotonic() < due:  # noqa: ASYNC110 - nothing announces an instant
        await asyncio.sleep(0)


class PreciseSelector(selectors.SelectSelector):
    """A selector for an event loop whose timers are to be on time.

    ``select`` takes microseconds, where the usual selectors round up to a millisecond.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        """Return what is ready, as soon as it is, or nothing when the time is over."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        due = time.monotonic() + timeout
        ready = super().select(max(0.0, timeout - LOOKING_S))
        if ready:
            return ready
        began = time.thread_time()
        while not ready and time.monotonic() < due:
            ready = super().select(0)
        _looked.add(time.thread_time() - began)
        return ready
