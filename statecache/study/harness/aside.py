"""An event loop of its own for what is measured, beside the notebook's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from statecache.study.harness.waking import PreciseSelector

__all__ = ["run_aside"]

T = TypeVar("T")

#: How late Ctrl-C may be noticed, in seconds.
LONGEST_WAIT_S = 0.2


def run_aside(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` in a thread with an event loop of its own, and return what it returns.

    A notebook's own loop serves its kernel as well. And the timers here are on time (``waking``):
    an open loop would measure their delay as latency. Ctrl-C cancels ``main``, waits for its
    end, and is raised again.
    """
    runner = _Runner(main)
    thread = threading.Thread(target=runner.run, name="statecache-aside", daemon=True)
    try:
        thread.start()
        runner.wait()
    except KeyboardInterrupt:
        # Starting a thread ends with a wait for it, which Ctrl-C may interrupt, too.
        runner.cancel()
        if thread.ident is not None:
            runner.wait()
        raise
    result: T = runner.result()
    return result


class _Runner:
    """Runs a coroutine in whichever thread calls ``run``."""

    def __init__(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._main = main
        self._ended = threading.Event()
        self._cancelled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_precise_loop) as runner:
                self._value = runner.run(self._noted())
        except BaseException as error:  # raised again where somebody waits for it
            self._error = error
        finally:
            self._ended.set()

    def wait(self) -> None:
        # Not a join: one that is interrupted takes the thread for ended. And in short waits: a
        # signal that comes right before a wait begins is handled when that ends.
        while not self._ended.wait(LONGEST_WAIT_S):
            pass

    async def _noted(self) -> Any:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._cancelled:
            raise asyncio.CancelledError
        return await self._main()

    def cancel(self) -> None:
        self._cancelled = True
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


def _precise_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(PreciseSelector())
