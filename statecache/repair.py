"""Keys whose cache entry may be older than PostgreSQL, because putting the newer one failed.

The manager that wrote must not read its own write back older: until such a key is repaired, or
until whatever the cache still holds must have expired, its loads go to PostgreSQL.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

__all__ = ["ANY_VERSION", "Mark", "Unrepaired"]

#: Newer than any version: whatever the cache holds is to go.
ANY_VERSION = 1 << 63


class Mark(NamedTuple):
    """What is known of a key: the version that the cache failed to take, and until when it counts.

    The version is ``None`` where the outcome of a write is unknown.
    """

    version: int | None
    until: float


class Unrepaired:
    """A bounded map of key → mark; safe from any thread.

    ``life_s`` is how long an outdated entry can live at most. Where more than ``limit`` keys come
    together, all keys count as unrepaired for that long.
    """

    def __init__(
        self, life_s: float, limit: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._life_s = life_s
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._marks: dict[str, Mark] = {}
        self._all_until = 0.0

    def add(self, key: str, version: int | None = None) -> None:
        """Remember that the cache may hold the key at less than ``version``."""
        with self._lock:
            now = self._clock()
            if len(self._marks) >= self._limit and key not in self._marks:
                self._forget_old(now)
                if len(self._marks) >= self._limit:
                    self._marks.clear()
                    self._all_until = now + self._life_s
                    return
            held = self._marks.get(key)
            if held is not None:
                version = _stronger(version, held.version)
            self._marks[key] = Mark(version, now + self._life_s)

    def add_all(self) -> None:
        """Remember that the cache may hold any key at less than its version."""
        with self._lock:
            self._marks.clear()
            self._all_until = self._clock() + self._life_s

    def __contains__(self, key: str) -> bool:
        if not self._marks and not self._all_until:  # the healthy path costs no lock
            return False
        with self._lock:
            now = self._clock()
            if self._all_until > now:
                return True
            self._all_until = 0.0
            mark = self._marks.get(key)
            if mark is None:
                return False
            if mark.until > now:
                return True
            del self._marks[key]
            return False

    def repaired(self, key: str, version: int) -> None:
        """Forget the key if the cache has taken it at ``version`` or later."""
        if not self._marks:
            return
        with self._lock:
            mark = self._marks.get(key)
            if mark is not None and mark.version is not None and mark.version <= version:
                del self._marks[key]

    def some(self, limit: int) -> dict[str, Mark]:
        """Return keys with their marks."""
        with self._lock:
            self._forget_old(self._clock())
            return dict(islice(self._marks.items(), limit))

    def settle(self, key: str, mark: Mark) -> None:
        """Forget the key, unless it was marked anew since ``some`` returned this mark."""
        with self._lock:
            if self._marks.get(key) is mark:
                del self._marks[key]

    @property
    def all_until(self) -> float:
        """Until when all keys count as unrepaired, 0 for not at all."""
        return self._all_until

    def settle_all(self, until: float) -> None:
        """Forget that all keys were, unless that is newer than ``all_until`` was."""
        with self._lock:
            if self._all_until == until:
                self._all_until = 0.0

    def __len__(self) -> int:
        return len(self._marks)

    def _forget_old(self, now: float) -> None:
        old = [key for key, mark in self._marks.items() if mark.until <= now]
        for key in old:
            del self._marks[key]


def _stronger(one: int | None, other: int | None) -> int | None:
    """Return what is to be remembered of two marks of a key."""
    if ANY_VERSION in (one, other):
        return ANY_VERSION
    return None if one is None or other is None else max(one, other)
