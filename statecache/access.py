"""What an observer is told about every call of a manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Access", "Observer"]


class Access(NamedTuple):
    """One completed call of a manager.

    ``outcome`` of a load is ``hit``, ``memory`` for one by the in-process tier, or the reason of
    the miss (see ``CacheStats``), and ``database`` where there is no cache; of an update or delete
    it is ``committed``, or ``unrepaired`` where it is committed but the cache has not taken it.
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


#: Called in the caller's own task or thread: it should be quick and must not raise.
Observer: TypeAlias = Callable[[Access], None]
