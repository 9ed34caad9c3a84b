"""What the table and the cache say: plain values that pass between the modules."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

__all__ = ["NOTHING", "TROUBLE", "Fetched", "Found", "Lookup", "Moment", "Put", "Row", "Written"]

#: The payload of "there is no such state": JSON's null, which no state is.
NOTHING: Final = b"null"

#: Reasons of a miss that say that the cache is in trouble, rather than without the state.
TROUBLE: Final = frozenset({"error", "bypassed"})


class Row(NamedTuple):
    """A row as PostgreSQL returns it; ``payload`` is JSON text, ``None`` where there is no state.

    Version 0 stands for a row that never was.
    """

    payload: bytes | None
    version: int


class Lookup(NamedTuple):
    """What the cache said: the payload of a hit, or else the reason of a miss."""

    payload: bytes | None = None
    reason: str = ""
    #: Of the entry that was met, 0 for none; a fence's, too.
    version: int = 0
    #: How long the caller has waited for the cache, in seconds.
    spent_s: float = 0.0


class Found(NamedTuple):
    """What a load found, or became of a write, which has no payload.

    ``outcome`` and ``armed`` are for the observer (``Access``).
    """

    payload: bytes | None
    outcome: str
    armed: float | None = None


class Fetched(NamedTuple):
    """What a read of PostgreSQL brought, for all who share it."""

    payload: bytes | None
    #: When it was sent to the cache, monotonic seconds; ``None`` where it was not stored.
    armed: float | None = None
    #: Whether the cache said that nothing newer was put since the read began.
    vouched: bool = False


class Written(NamedTuple):
    """Rows that were written, and when."""

    #: Version 0 is that of a row which there was not to delete.
    rows: dict[str, Row]
    #: Before PostgreSQL was told; ``None`` where the cache is left alone.
    moment: Moment | None
    #: Whether they were noted as dirty in the same statement.
    marked: bool
    #: How many changes the in-process tier knew of before PostgreSQL was told.
    changes: int = 0
    #: Whether that tier has them already.
    kept: bool = False


class Moment(NamedTuple):
    """An instant before the database is asked, or told, as the cache knows it."""

    #: Seconds of the local monotonic clock.
    at: float
    #: Lost with the cache's contents: a cache that was emptied takes nothing from before.
    epoch: bytes
    #: What is left of the time that the call may wait for the cache, in seconds.
    left_s: float


class Put(enum.Enum):
    """What became of an entry that was to be put."""

    STORED = 1
    #: The cache holds something newer, or a fence that this entry may not pass.
    SUPERSEDED = 0
    #: It came after its deadline.
    LATE = -1
    #: The cache did not take it, or nobody knows.
    FAILED = -2

    #: Whether the cache certainly holds this version or a newer one, or sends readers on.
    settled: bool

    def __init__(self, value: int) -> None:
        self.settled = value >= 0
