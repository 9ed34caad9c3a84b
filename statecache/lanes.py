"""Runs batches of what callers ask for in one turn of the event loop, and answers the callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from statecache.forking import in_each_child, leave_to_parent

__all__ = ["Lanes", "answer", "fail"]

T = TypeVar("T")


class Lanes(Generic[T]):
    """Runs batches, so many at a time; what is offered in one turn of the loop is one batch.

    ``take`` returns a batch, ``run`` sees to it, and ``drop`` hears of one that was cancelled
    before it began.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        count: int,
        *,
        take: Callable[[], T | None],
        run: Callable[[T], Awaitable[None]],
        drop: Callable[[T], None],
    ) -> None:
        self.loop = loop
        self._free = count
        self._take, self._run, self._drop = take, run, drop
        self._scheduled = False
        self._unbegun: dict[asyncio.Task[Any], T] = {}
        self._in_lane: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        in_each_child(self._begin)

    def _begin(self) -> None:
        leave_to_parent(self._tasks)  # what they wait for is on connections of its own

    def offer(self) -> None:
        """Take a batch at the end of this turn of the loop, or when a lane is free."""
        if self._free and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._start)

    def leave(self) -> None:
        """Let the next batch begin, though the one that calls this goes on."""
        self._leave(asyncio.current_task(self.loop))

    def _start(self) -> None:
        self._scheduled = False
        while self._free and (batch := self._take()) is not None:
            self._free -= 1
            task = self.loop.create_task(self._drive(batch))
            self._unbegun[task] = batch
            self._in_lane.add(task)
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._end)

    async def _drive(self, batch: T) -> None:
        task = asyncio.current_task(self.loop)
        if task is not None:
            del self._unbegun[task]
        try:
            await self._run(batch)
        finally:
            self._leave(task)

    def _leave(self, task: asyncio.Task[Any] | None) -> None:
        if task in self._in_lane and not self.loop.is_closed():
            self._in_lane.discard(task)
            self._free += 1
            self.offer()

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        batch = self._unbegun.pop(task, None)
        if batch is not None:
            self._drop(batch)
            self._leave(task)


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
