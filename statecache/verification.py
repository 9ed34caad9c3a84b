"""What a comparison of cached states with PostgreSQL found."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Difference", "Verification"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A cached state that is not what PostgreSQL holds; version 0 is that of no state."""

    trigger_id: str
    cached_version: int
    database_version: int

    @property
    def kind(self) -> str:
        """How they differ.

        ``stale``: the cache is behind. ``ahead``: PostgreSQL is, it has lost a write (a failover,
        a restored backup). ``content``: same version, another state (a write behind the managers'
        back).
        """
        if self.cached_version == self.database_version:
            return "content"
        return "stale" if self.cached_version < self.database_version else "ahead"


@dataclass(frozen=True, slots=True)
class Verification:
    """Of ``checked`` cached states, those that differed, twice in a row."""

    checked: int = 0
    differences: list[Difference] = field(default_factory=list)
    #: Whether the cache answered to the end; else fewer states were checked than there are.
    complete: bool = True
