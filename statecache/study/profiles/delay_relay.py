"""A relay in front of a server, in a process of its own, that adds a round trip's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from statecache.study.errors import ServersError
from statecache.study.profiles import _delay_relay
from statecache.study.relay_process import RelayProcess

__all__ = ["DelayRelay", "RelayUse", "running_delay_relay"]


@dataclass(frozen=True, slots=True)
class RelayUse:
    """What a relay has done since it started.

    ``cpu_s`` is its own CPU time in seconds. ``late`` of the ``delivered`` pieces were passed on
    more than .25 ms after they were due: under a load that leaves the relay no core.
    """

    cpu_s: float
    delivered: int
    late: int


class DelayRelay(RelayProcess):
    """The relay's process; at first it leads nowhere and adds nothing."""

    def lead_to(self, host: str, port: int) -> None:
        """Let connections from now on lead there; raises ``ServersError`` where nobody answers."""
        answer = self.tell(target=[host, port])
        if "error" in answer:
            raise ServersError(f"The server at {host}:{port} does not answer: {answer['error']}.")

    def add(self, round_trip_s: float) -> None:
        """Let bytes from now on arrive later, by half of that in each direction."""
        self.tell(delay_s=round_trip_s / 2)

    def use(self) -> RelayUse:
        """Return what it has done."""
        return RelayUse(**self.tell())


@contextmanager
def running_delay_relay() -> Iterator[DelayRelay]:
    """Run a relay beside the block."""
    with DelayRelay.running(_delay_relay.__file__) as relay:
        yield relay
