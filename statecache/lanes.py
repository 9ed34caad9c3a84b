"""Runs batches of what callers ask for in one turn of the event loop, and answers the callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from statecache.forking import in_each_child, in_each_process, leave_to_parent

__all__ = ["Gatherer", "Lanes", "answer", "fail"]

T = TypeVar("T")


class Lanes(Generic[T]):
    """Runs batches, so many at a time; what is offered in one turn of the loop is one batch.

    ``take`` returns a batch. ``run`` sees to it, and may call what it is passed with it to let the
    next batch begin though this one goes on. ``drop`` hears of a batch that was cancelled before it
    began.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        count: int,
        *,
        take: Callable[[], T | None],
        run: Callable[[T, Callable[[], None]], Awaitable[None]],
        drop: Callable[[T], None],
    ) -> None:
        self.loop = loop
        self.run, self.drop = run, drop
        self._take = take
        self._free = count
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        in_each_child(self._begin)

    def _begin(self) -> None:
        leave_to_parent(self._tasks)  # what they wait for is on connections of its own

    @property
    def idle(self) -> bool:
        """Whether no batch is under way."""
        return not self._tasks

    async def settle(self) -> None:
        """Wait for the batches that are under way now, if this is their event loop."""
        if self._tasks and self.loop is asyncio.get_running_loop():
            await asyncio.wait(set(self._tasks))

    def offer(self) -> None:
        """Take a batch at the end of this turn of the loop, or when a lane is free."""
        if self._free and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._start)

    def give_back(self) -> None:
        """Let the next batch begin: a lane is free."""
        if not self.loop.is_closed():
            self._free += 1
            self.offer()

    def _start(self) -> None:
        self._scheduled = False
        while self._free and (batch := self._take()) is not None:
            self._free -= 1
            lane = _Lane(self, batch)
            # An eager task runs right here, as far as it gets.
            task = self.loop.create_task(lane.drive())
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lane.end)


class _Lane(Generic[T]):
    """A batch on its way."""

    __slots__ = ("_batch", "_began", "_lanes", "_left")

    def __init__(self, lanes: Lanes[T], batch: T) -> None:
        self._lanes = lanes
        self._batch = batch
        self._began = self._left = False

    async def drive(self) -> None:
        """Run the batch."""
        self._began = True
        try:
            await self._lanes.run(self._batch, self.leave)
        finally:
            self.leave()

    def leave(self) -> None:
        """Let the next batch begin."""
        if not self._left:
            self._left = True
            self._lanes.give_back()

    def end(self, _task: asyncio.Task[None]) -> None:
        """See to what was cancelled before it began."""
        if not self._began:
            self._lanes.drop(self._batch)
            self.leave()


class Gatherer(Generic[T]):
    """What gathers calls into batches: its lanes are those of the event loop that is running."""

    def __init__(self, count: int) -> None:
        self._count = count
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._lanes: Lanes[T] | None = None

    def _move(self) -> None:
        """Begin anew in another event loop: what waits in one that has ended, waits for ever."""
        self._begin()

    def _next(self) -> T | None:
        """Return the next batch, if there is one."""
        raise NotImplementedError

    async def _run(self, batch: T, leave: Callable[[], None]) -> None:
        """See to a batch, and answer its callers; ``leave`` lets the next one begin."""
        raise NotImplementedError

    def _drop(self, batch: T) -> None:
        """Cancel the callers of a batch that did not begin."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Wait until what is under way now has ended; not for what others begin meanwhile."""
        if self._lanes is not None:
            await self._lanes.settle()

    def _lanes_here(self) -> Lanes[T]:
        lanes = self._lanes
        # Asking for the running loop costs a system call before Python 3.12.
        if lanes is None or not lanes.loop.is_running():
            loop = asyncio.get_running_loop()
            if lanes is None or lanes.loop is not loop:
                self._move()
                self._lanes = lanes = Lanes(
                    loop, self._count, take=self._next, run=self._run, drop=self._drop
                )
        return lanes


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
