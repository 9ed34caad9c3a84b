"""Runs batches of what callers ask for in one turn of the event loop, and answers the callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from statecache.forking import in_each_child, leave_to_parent

__all__ = ["Lanes", "answer", "fail"]

T = TypeVar("T")


class Lanes:
    """Runs batches, so many at a time; what is offered in one turn of the loop is one batch."""

    def __init__(self, count: int, take: Callable[[], Awaitable[None] | None]) -> None:
        self._free = count
        self._take = take
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_lane: set[asyncio.Task[Any]] = set()
        in_each_child(self._begin)

    def _begin(self) -> None:
        leave_to_parent(self._tasks)  # what they wait for is on connections of its own

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running event loop; asking for it anew costs a system call before Python 3.12."""
        if self._loop is None or not self._loop.is_running():
            self._loop = asyncio.get_running_loop()
            self._scheduled = False  # by a loop that runs no more
        return self._loop

    def offer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take a batch at the end of this turn of the loop, or when a lane is free."""
        if self._free and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        while self._free and (batch := self._take()) is not None:
            self._free -= 1
            task = self.loop.create_task(self._drive(batch))
            self._in_lane.add(task)
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)

    def leave(self) -> None:
        """Let the next batch begin, though the one that calls this goes on."""
        loop = self.loop
        task = asyncio.current_task(loop)
        if task is not None and task in self._in_lane:
            self._in_lane.discard(task)
            self._free += 1
            self.offer(loop)

    async def _drive(self, batch: Awaitable[None]) -> None:
        try:
            await batch
        finally:
            self.leave()


def answer(futures: list[asyncio.Future[T]], outcome: T) -> None:
    """Give callers the outcome that they wait for."""
    for future in futures:
        if not future.done():  # its caller was cancelled
            future.set_result(outcome)


def fail(futures: list[asyncio.Future[T]], error: BaseException) -> None:
    """Give callers an error; what ends a task or the process cancels them."""
    for future in futures:
        if future.done():
            continue
        if isinstance(error, Exception):
            future.set_exception(error)
        else:
            future.cancel()
