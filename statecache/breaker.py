"""When to leave an ailing cache alone: a circuit breaker without I/O.

Closed, every call passes. After ``threshold`` failures in a row it opens and no call passes until
a pause is over; then it is half open: one call at a time may try. A success closes it, a failure
doubles the pause, up to ``max_wait_ms``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from statecache.forking import new_lock

__all__ = ["Breaker"]

FIRST_WAIT_MS = 50

#: Seconds without a failure after which an episode of trouble is over.
QUIET_S = 1.0


class Breaker:
    """Decides whether a call of the cache may be tried; safe from any thread."""

    def __init__(
        self,
        threshold: int,
        max_wait_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._max_wait_s = max_wait_ms / 1000
        self._clock = clock
        self._lock = new_lock()
        self._failures = 0
        self._wait_s = 0.0
        self._retry_at = 0.0
        self._probing = False
        self._in_trouble = False
        self._failed_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are being turned away, probes apart."""
        return self._failures >= self._threshold

    def allows(self) -> bool:
        """Return whether a call may be tried now; half open, only one caller gets a yes."""
        if self._failures < self._threshold:
            return True
        with self._lock:
            now = self._clock()
            if now < self._retry_at:
                return False
            # Whoever comes next waits for this probe's outcome, or for another pause.
            self._retry_at = now + self._wait_s
            self._probing = True
            return True

    def succeeded(self) -> bool:
        """Note a call that worked; return whether it ended an episode of trouble."""
        if not self._in_trouble:
            return False
        with self._lock:
            self._failures, self._wait_s, self._probing = 0, 0.0, False
            # What fails now and then goes on failing: an episode is over after a quiet time.
            if self._clock() - self._failed_at < QUIET_S:
                return False
            ended, self._in_trouble = self._in_trouble, False
            return ended

    def failed(self) -> bool:
        """Note a call that failed; return whether it began an episode of trouble."""
        with self._lock:
            begins, self._in_trouble, self._failed_at = not self._in_trouble, True, self._clock()
            self._failures += 1
            # Calls already under way when it opened fail, too: only a probe lengthens the pause.
            if self._failures == self._threshold or self._probing:
                self._probing = False
                longer = self._wait_s * 2 if self._wait_s else FIRST_WAIT_MS / 1000
                self._wait_s = min(longer, self._max_wait_s)
                self._retry_at = self._clock() + self._wait_s
            return begins
