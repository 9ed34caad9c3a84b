"""The cache server's clock, as far as a client can know it."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ServerClock"]

#: Two clocks drift apart by less than a millisecond in this time (100 ppm).
MAX_AGE_S = 10.0


class ServerClock:
    """Tells the server's time from its latest reply, never later than it really is.

    A reply that says T was sent before it arrived, so T + (now - arrival) is at most the server's
    time now: a deadline reckoned from it can only be too early, which drops a fill and harms
    nobody. Safe from any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: tuple[float, float] | None = None  # (server ms, arrival)

    def observe(self, server_ms: float) -> None:
        """Take the time that a reply which has just arrived carries, in ms since the epoch."""
        self._known = (server_ms, self._clock())

    @property
    def is_known(self) -> bool:
        """Whether a reply came recently enough to reckon by."""
        known = self._known
        return known is not None and self._clock() - known[1] <= MAX_AGE_S

    def at(self, instant: float) -> int:
        """Return the server's time in ms at an instant of the local monotonic clock, in seconds.

        Raises ``LookupError`` before the first reply.
        """
        known = self._known
        if known is None:
            raise LookupError("the server has not told its time yet: observe a reply first.")
        server_ms, arrival = known
        return int(server_ms + (instant - arrival) * 1000)
