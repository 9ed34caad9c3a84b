"""Keys whose cache entry may be older than PostgreSQL, because putting the newer one failed.

The manager that wrote must not read its own write back older: until such a key is repaired, its
loads go to PostgreSQL.
"""

from __future__ import annotations

from itertools import islice

from statecache.forking import new_lock

__all__ = ["ANY_VERSION", "Mark", "Unrepaired"]

#: Newer than any version: whatever the cache holds is to go.
ANY_VERSION = 1 << 63


class Mark:
    """What is known of a key: the version that the cache failed to take.

    It is ``None`` where the outcome of a write is unknown, and ``ANY_VERSION`` where whatever the
    cache holds is to go.
    """

    __slots__ = ("version",)

    def __init__(self, version: int | None) -> None:
        self.version = version


class Unrepaired:
    """A bounded map of key → mark; safe from any thread.

    A mark stays until the cache has taken the version, or a fence: how long an outdated entry lives
    is up to whoever put it. Where more than ``limit`` keys come together, all keys count.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._lock = new_lock()
        self._marks: dict[str, Mark] = {}
        self._all: Mark | None = None

    def add(self, key: str, version: int | None = None) -> None:
        """Remember that the cache may hold the key at less than ``version``."""
        with self._lock:
            held = self._marks.get(key)
            if held is None and len(self._marks) >= self._limit:
                self._forget_each()
                return
            if held is not None:
                version = _stronger(version, held.version)
            self._marks[key] = Mark(version)

    def add_all(self) -> None:
        """Remember that the cache may hold any key at less than its version."""
        with self._lock:
            self._forget_each()

    def __contains__(self, key: str) -> bool:
        # In this order: when all keys come to count, they do so before each is forgotten.
        return key in self._marks or self._all is not None

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
            return dict(islice(self._marks.items(), limit))

    def settle(self, key: str, mark: Mark) -> None:
        """Forget the key, unless it was marked anew since ``some`` returned this mark."""
        with self._lock:
            if self._marks.get(key) is mark:
                del self._marks[key]

    @property
    def all_keys(self) -> Mark | None:
        """The mark of all keys, if they count."""
        return self._all

    def settle_all(self, mark: Mark) -> None:
        """Forget that all keys were marked, unless they were marked anew since."""
        with self._lock:
            if self._all is mark:
                self._all = None

    def _forget_each(self) -> None:
        """Let all keys count; in this order, no key is ever without a mark."""
        self._all = Mark(ANY_VERSION)
        self._marks.clear()

    def __len__(self) -> int:
        return len(self._marks) + (self._all is not None)


def _stronger(one: int | None, other: int | None) -> int | None:
    """Return what is to be remembered of two marks of a key."""
    if ANY_VERSION in (one, other):
        return ANY_VERSION
    return None if one is None or other is None else max(one, other)
