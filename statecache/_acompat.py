"""Twin primitives: what differs between the asynchronous managers and the generated ones.

Names with ``Async`` or ``async_`` belong to coroutines; ``tools/async_to_sync.py`` strips the
prefix, which leads to the twin.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias, TypeVar

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from statecache.begun import Begun
from statecache.forking import in_each_child, in_each_process, leave_to_parent
from statecache.lookup import Found

__all__ = [
    "AsyncBackground",
    "AsyncCall",
    "AsyncConnectionPool",
    "AsyncEvent",
    "AsyncOutcome",
    "AsyncSlots",
    "Background",
    "Call",
    "ConnectionPool",
    "Event",
    "Outcome",
    "Slots",
    "async_finishing",
    "async_sleep",
    "finishing",
    "sleep",
]

AsyncEvent = asyncio.Event
Event = threading.Event

async_sleep = asyncio.sleep
sleep = time.sleep

T = TypeVar("T")
V = TypeVar("V")

#: A call that several callers may share; it is passed the keys to be called for, and what tells
#: whether the outcome for a key is still current.
AsyncCall: TypeAlias = Callable[[list[str], Callable[[str], bool]], Awaitable[dict[str, T]]]
Call: TypeAlias = Callable[[list[str], Callable[[str], bool]], dict[str, T]]

#: What is returned by a function that leaves the waiting to its caller.
AsyncOutcome: TypeAlias = Awaitable[Found]
Outcome: TypeAlias = Found


def async_finishing(
    function: Callable[[V], Coroutine[Any, Any, None]],
) -> Callable[[V], Coroutine[Any, Any, None]]:
    """Return a function that goes on to its end, also where its caller is cancelled meanwhile."""
    return partial(_finish, function)


def finishing(function: Callable[[V], None]) -> Callable[[V], None]:
    """Return the function itself: an interrupt hits at least no function of ours around it."""
    return function


async def _finish(function: Callable[[V], Coroutine[Any, Any, None]], value: V) -> None:
    # A task of its own costs more than most calls: it is made only for one that has to wait.
    begun = Begun(function(value))
    if not begun.is_over:

        async def rest() -> None:
            await begun

        await asyncio.shield(rest())


class _Slots:
    """At most ``limit`` callers inside at a time; 0 is no limit."""

    _new_semaphore: Callable[[int], Any]

    def __init__(self, limit: int) -> None:
        self.limit = limit
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._semaphore = self._new_semaphore(self.limit) if self.limit else None

    def give_back(self) -> None:
        """Let the next caller in."""
        if self._semaphore is not None:
            self._semaphore.release()


class AsyncSlots(_Slots):
    """At most ``limit`` callers inside at a time; 0 is no limit."""

    _new_semaphore = asyncio.Semaphore

    async def take(self, seconds: float) -> bool:
        """Wait for a slot, that long at most; return whether there was one."""
        if self._semaphore is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._semaphore.acquire()
        except TimeoutError:
            return False
        return True


class Slots(_Slots):
    """At most ``limit`` callers inside at a time; 0 is no limit."""

    _new_semaphore = threading.Semaphore

    def take(self, seconds: float) -> bool:
        """Wait for a slot, that long at most; return whether there was one."""
        return self._semaphore is None or bool(self._semaphore.acquire(timeout=seconds))


class AsyncBackground:
    """Runs a function beside the callers: one task of the running loop at a time."""

    def __init__(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._name = name
        self._run = run
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        in_each_child(self._begin)

    def _begin(self) -> None:
        leave_to_parent(self._task)
        self._task = None

    def start(self) -> None:
        """Run the function, unless it runs already in this loop or this was closed."""
        if self._closed:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # called by the garbage collector, of what another loop has left
            return
        task = self._task
        if task is None or task.done() or task.get_loop() is not loop:
            self._task = loop.create_task(self._run(), name=self._name)

    async def pause(self, seconds: float) -> None:
        """Wait; called by the function."""
        await asyncio.sleep(seconds)

    @property
    def goes_on(self) -> bool:
        """Whether the function is to carry on."""
        return not self._closed

    def stop(self) -> None:
        """Let the function end, soon."""
        self._closed = True

    async def aclose(self) -> None:
        """End the function and wait for it."""
        self._closed = True
        task = self._task
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])


class Background:
    """Runs a function beside the callers: one daemon thread of this process at a time."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self._name = name
        self._run = run
        self._closed = False
        in_each_process(self._begin)

    def _begin(self) -> None:
        # A forked child has the object, but not the thread.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False
        #: Set to wake a pause.
        self._closing = threading.Event()

    def start(self) -> None:
        """Run the function, once more if it is running in this process, unless this was closed."""
        if self._closed:
            return
        with self._lock:
            # It may have had its last look at what there is to do.
            self._again = True
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
                self._thread.start()

    def pause(self, seconds: float) -> None:
        """Wait, or until this is closed; called by the function."""
        self._closing.wait(seconds)

    @property
    def goes_on(self) -> bool:
        """Whether the function is to carry on."""
        return not self._closed

    def stop(self) -> None:
        """Let the function end, soon."""
        self._closed = True
        self._closing.set()

    def close(self) -> None:
        """Let the function end, and wait for it for a few seconds."""
        self.stop()
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(5.0)

    def _main(self) -> None:
        while True:
            self._again = False
            self._run()
            with self._lock:
                if not self._again or self._closed:
                    self._thread = None
                    return
