"""Keys whose cache entry may be older than PostgreSQL, because putting the newer one failed.

The manager that wrote must not read its own write back older: until such a key is repaired, or
until whatever the cache still holds must have expired, its loads go to PostgreSQL.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Unrepaired"]

#: The outcome of a write is unknown: its version, too.
UNKNOWN = 1 << 63


class Unrepaired:
    """A bounded map of key → version that the cache failed to take; safe from any thread.

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
        self._keys: dict[str, tuple[int, float]] = {}
        self._all_until = 0.0

    def add(self, key: str, version: int = UNKNOWN) -> None:
        """Remember that the cache may hold the key at less than ``version``."""
        with self._lock:
            now = self._clock()
            if len(self._keys) >= self._limit and key not in self._keys:
                self._keys = {k: mark for k, mark in self._keys.items() if mark[1] > now}
                if len(self._keys) >= self._limit:
                    self._keys.clear()
                    self._all_until = now + self._life_s
                    return
            known = self._keys.get(key, (0, 0.0))[0]
            self._keys[key] = (max(version, known), now + self._life_s)

    def __contains__(self, key: str) -> bool:
        if not self._keys and not self._all_until:  # the healthy path costs no lock
            return False
        with self._lock:
            now = self._clock()
            if self._all_until > now:
                return True
            self._all_until = 0.0
            mark = self._keys.get(key)
            if mark is None:
                return False
            if mark[1] > now:
                return True
            del self._keys[key]
            return False

    def repaired(self, key: str, version: int) -> None:
        """Forget the key if the cache has taken it at ``version`` or later."""
        if not self._keys:
            return
        with self._lock:
            mark = self._keys.get(key)
            if mark is not None and mark[0] <= version:
                del self._keys[key]

    def __len__(self) -> int:
        return len(self._keys)
