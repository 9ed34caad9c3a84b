"""A server that stands still for a while, and two loops that record it: open and closed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from statecache import AsyncStateManager
from statecache.study.errors import StudyError
from statecache.study.harness.loops import Recording, closed_loop, open_loop
from statecache.study.harness.workloads import Plan, arrivals

__all__ = ["Halt", "Stall", "halted", "record_stall"]

#: How long a process may take to stand still, in seconds.
STOP_S = 5.0

#: The most requests that the open loop has in flight. Those that are due meanwhile wait, and their
#: latency grows: more would only be more connections to a server that accepts none.
OPEN_CALLERS = 64


@dataclass(slots=True)
class Halt:
    """When a process stood still, by the monotonic clock."""

    began: float = float("nan")
    ended: float = float("nan")


@contextmanager
def halted(pid: int) -> Iterator[Halt]:
    """Let a process stand still within the block: its connections stay open and nothing answers.

    Raises ``StudyError`` where it does not stop.
    """
    process, halt = psutil.Process(pid), Halt()
    os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + STOP_S
        while process.status() != psutil.STATUS_STOPPED:  # the signal takes a moment
            if time.monotonic() > until:
                raise StudyError(f"process {pid} has not stopped within {STOP_S:g} s: try again.")
            time.sleep(0.001)
        halt.began = time.monotonic()
        yield halt
    finally:
        halt.ended = time.monotonic()
        os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Stall:
    """What both loops recorded of the same stall."""

    open: Recording
    closed: Recording
    halt: Halt


async def record_stall(
    manager: AsyncStateManager,
    plan: Plan,
    pid: int,
    *,
    rate_per_s: float,
    seconds: float,
    stall_s: float,
) -> Stall:
    """Let an open loop and one closed caller load states while the process ``pid`` stands still.

    Both run for ``seconds``, side by side on the same manager; the process stops after a third of
    them, for ``stall_s``. The open loop's requests are due at equal distances.
    """
    due = arrivals("constant", rate_per_s, seconds, seed=0)
    numbers = itertools.count(1)

    async def stall() -> Halt:
        await asyncio.sleep(seconds / 3)
        with halted(pid) as halt:
            await asyncio.sleep(stall_s)
        return halt

    closed, opened, halt = await asyncio.gather(
        closed_loop(manager, plan, callers=1, seconds=seconds, numbers=numbers),
        open_loop(manager, plan, due, callers=OPEN_CALLERS, numbers=numbers),
        stall(),
    )
    return Stall(opened, closed, halt)
