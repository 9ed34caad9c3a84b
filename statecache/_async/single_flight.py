"""Concurrent callers that want the same thing share one call for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from typing import Generic, TypeVar

from statecache._acompat import AsyncCall, AsyncEvent

__all__ = ["AsyncSingleFlight"]

T = TypeVar("T")


class AsyncSingleFlight(Generic[T]):
    """Runs one call a key at a time; who comes while it runs gets its outcome.

    ``max_age_s`` limits how long after its start a call may still be joined: its outcome must not
    be older than the joiner can accept.
    """

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._flights: dict[Hashable, _Flight[T]] = {}
        # Held for a few dictionary operations only, never across an await.
        self._lock = threading.Lock()

    async def run(self, key: Hashable, call: AsyncCall[T], *, fence: int = 0) -> tuple[T, bool]:
        """Return the outcome of ``call`` and whether it was another caller's.

        A call is joined only if whoever leads it knew of a ``fence`` at least as new: one that
        began before a delete must not answer a reader who has seen the delete.

        ``call`` is passed a function that says whether its outcome is still current: not any more
        after ``forget``. An error reaches every caller who shared the call. Where the leading
        caller is cancelled or interrupted, the others do not suffer: one of them leads anew.
        """
        while True:
            flight, leads = self._board(key, fence)
            if leads:
                return await self._lead(key, flight, call), False
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.outcome:
                return flight.outcome[0], True

    def forget(self, key: Hashable) -> None:
        """Let nobody join the call that runs for this key: its outcome may be outdated."""
        with self._lock:
            self._flights.pop(key, None)

    def _board(self, key: Hashable, fence: int) -> tuple[_Flight[T], bool]:
        now = time.monotonic()
        with self._lock:
            flight = self._flights.get(key)
            if (
                flight is not None
                and flight.fence >= fence
                and now - flight.started <= self._max_age_s
            ):
                return flight, False
            flight = self._flights[key] = _Flight(now, fence)
            return flight, True

    async def _lead(self, key: Hashable, flight: _Flight[T], call: AsyncCall[T]) -> T:
        try:
            outcome = await call(lambda: self._flights.get(key) is flight)
            flight.outcome = (outcome,)
            return outcome
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.landed.set()


class _Flight(Generic[T]):
    """A call under way; landed with an outcome, an error, or neither if it was abandoned."""

    __slots__ = ("error", "fence", "landed", "outcome", "started")

    def __init__(self, started: float, fence: int) -> None:
        self.started = started
        self.fence = fence
        self.landed = AsyncEvent()
        self.outcome: tuple[T] | tuple[()] = ()
        self.error: Exception | None = None
