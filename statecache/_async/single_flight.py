"""Concurrent callers that want the same thing share one call for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from statecache._acompat import AsyncCall, AsyncEvent
from statecache.forking import in_each_process, new_lock

__all__ = ["AsyncSingleFlight"]

T = TypeVar("T")


class AsyncSingleFlight(Generic[T]):
    """Runs one call a key at a time; who comes while it runs gets its outcome.

    ``max_age_s`` limits how long after its start a call may still be joined: its outcome must not
    be older than the joiner can accept.
    """

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        # Held for a few dictionary operations only, never across an await.
        self._lock = new_lock()
        in_each_process(self._begin)

    def _begin(self) -> None:
        # Nobody lands a parent's flights in a forked child.
        self._flights: dict[str, _Flight[T]] = {}

    async def run(
        self, fences: Mapping[str, int], call: AsyncCall[T], *, anew: bool = False
    ) -> dict[str, tuple[T, bool]]:
        """Return for each key of ``fences`` the outcome, and whether it was another caller's.

        ``call`` is passed the keys that nobody else is calling for, and a function that says
        whether the outcome for a key is still current: not any more after ``forget``.

        A call is joined only if whoever leads it knew of a fence at least as new: one that began
        before a delete must not answer a reader who has seen the delete. With ``anew`` only a call
        is joined that began after this one; others are waited for first.

        An error reaches every caller who shared the call. Where the leading caller is cancelled or
        interrupted, the others do not suffer: one of them leads anew.
        """
        outcomes: dict[str, tuple[T, bool]] = {}
        left = dict(fences)
        since = time.monotonic() if anew else 0.0
        while left:
            led: dict[str, _Flight[T]] = {}
            try:
                joined = self._board(left, since, led)
                if led:
                    for key, outcome in (await self._lead(led, call)).items():
                        outcomes[key] = (outcome, False)
            finally:  # wherever a thread was interrupted
                if led:
                    self._land(led)
            for key, (flight, landed) in joined.items():
                await landed.wait()
                if flight.started < since:
                    continue
                if flight.error is not None:
                    raise flight.error
                if flight.outcome:
                    outcomes[key] = (flight.outcome[0], True)
            left = {key: fence for key, fence in left.items() if key not in outcomes}
        return outcomes

    def forget(self, keys: Iterable[str]) -> None:
        """Let nobody join the calls that run for these keys: their outcome may be outdated."""
        if self._flights:
            with self._lock:
                for key in keys:
                    self._flights.pop(key, None)

    def _board(
        self, fences: Mapping[str, int], since: float, led: dict[str, _Flight[T]]
    ) -> dict[str, tuple[_Flight[T], AsyncEvent]]:
        """Enter calls to lead in ``led``; return those to wait for."""
        joined: dict[str, tuple[_Flight[T], AsyncEvent]] = {}
        now = time.monotonic()
        with self._lock:
            for key, fence in fences.items():
                flight = self._flights.get(key)
                if flight is not None and (
                    flight.started < since
                    or (flight.fence >= fence and now - flight.started <= self._max_age_s)
                ):
                    flight.landed = flight.landed or AsyncEvent()
                    joined[key] = flight, flight.landed
                else:
                    flight = led[key] = _Flight(now, fence)  # first: it will be landed
                    self._flights[key] = flight
        return joined

    async def _lead(self, led: dict[str, _Flight[T]], call: AsyncCall[T]) -> dict[str, T]:
        try:
            outcomes = await call(list(led), lambda key: self._flights.get(key) is led[key])
            for key, flight in led.items():
                flight.outcome = (outcomes[key],)
            return outcomes
        except Exception as error:
            for flight in led.values():
                flight.error = error
            raise

    def _land(self, led: dict[str, _Flight[T]]) -> None:
        with self._lock:
            for key, flight in led.items():
                if self._flights.get(key) is flight:
                    del self._flights[key]
        for flight in led.values():
            if flight.landed is not None:
                flight.landed.set()


class _Flight(Generic[T]):
    """A call under way; landed with an outcome, an error, or neither if it was abandoned."""

    __slots__ = ("error", "fence", "landed", "outcome", "started")

    def __init__(self, started: float, fence: int) -> None:
        self.started = started
        self.fence = fence
        #: For who waits; most flights are alone.
        self.landed: AsyncEvent | None = None
        self.outcome: tuple[T] | tuple[()] = ()
        self.error: Exception | None = None
