"""What was written and acknowledged: so that every answer and every row can be checked.

Each key counts up, one write after the other. So it is known at any moment what a read may not be
older than, and which write the database must still hold at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["Writes"]

BALLAST: Final = "x" * 60


class Writes:
    """Counts by key; of a key only one write may be under way at a time."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        #: Key → the newest count that a writer has sent, and that a manager has acknowledged;
        #: −1 before the first.
        self.tried: dict[str, int] = dict.fromkeys(keys, -1)
        self.acknowledged: dict[str, int] = dict(self.tried)

    @property
    def keys(self) -> list[str]:
        """Every key, sorted."""
        return sorted(self.acknowledged)

    @property
    def total(self) -> int:
        """Acknowledged writes in all."""
        return sum(count + 1 for count in self.acknowledged.values())

    def next_state(self, key: str) -> dict[str, Any]:
        """Return the key's next state, which counts as sent from now on."""
        self.tried[key] += 1
        return {"key": key, "count": self.tried[key], "ballast": BALLAST}

    def is_possible(self, key: str, read: Any) -> bool:
        """Return whether somebody has sent what was read."""
        return (
            isinstance(read, dict)
            and read.get("key") == key
            and 0 <= read.get("count", -1) <= self.tried[key]
        )

    def lost(self, held: Mapping[str, int]) -> int:
        """Return of how many keys the row, key → count, is older than what was acknowledged."""
        return sum(held.get(key, -1) < count for key, count in self.acknowledged.items())
