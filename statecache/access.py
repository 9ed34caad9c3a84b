"""What an observer is told about every call of a manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Access", "Observer", "wanted_by"]


class Access(NamedTuple):
    """One completed call of a manager.

    ``outcome`` of a load is ``hit``, ``memory`` for one by the in-process tier, or the reason of
    the miss (see ``CacheStats``), and ``database`` where there is no cache; of an update or delete
    it is ``committed``, ``sent`` where it is committed and on its way to the cache (gathered, with
    an in-process tier), or ``unrepaired`` where it is committed but the cache has not taken it.
    """

    operation: str
    trigger_id: str
    outcome: str
    #: Seconds on the local monotonic clock: when the call began (a load looks the state up right
    #: then), and when it ended.
    started: float
    ended: float
    #: When the call sent the entry that it put into the cache (it missed and filled, or it
    #: wrote); ``None`` where it put none.
    armed: float | None
    #: Bytes of the state's JSON text that was read or written; 0 where there is none.
    size: int = 0


#: Called in the caller's own task or thread: it should be quick and must not raise. One with a
#: method ``wants(trigger_id) -> bool`` is told of the keys only that it wants, which spares the
#: others the cost of telling. The answer for a key must stay the same: it is remembered.
Observer: TypeAlias = Callable[[Access], None]


def wanted_by(observer: Observer | None) -> Callable[[str], bool]:
    """Return what says whether somebody is to be told of a key's accesses."""
    if observer is None:
        return frozenset[str]().__contains__  # costs less than a function of our own
    wants: Callable[[str], bool] = getattr(observer, "wants", lambda _trigger_id: True)
    return wants
