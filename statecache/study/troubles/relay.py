"""A relay in front of a server, in a process of its own: slow, silent or gone at will."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from statecache.study.profiles.addresses import cache_address
from statecache.study.relay_process import RelayProcess
from statecache.study.troubles import _relay

__all__ = ["TroubleRelay", "running_relay"]


class TroubleRelay(RelayProcess):
    """The relay's process, seen by whoever started it."""

    def delay(self, milliseconds: float) -> None:
        """Let every answer of the server arrive that much later; throughput is not limited."""
        self.tell(delay_s=milliseconds / 1000)

    def reset(self, least: int, most: int) -> None:
        """Reset each connection after that many bytes of answers, those that are open at once."""
        self.tell(reset_after=[least, most])

    def forget_subscribers(self) -> None:
        """Pass nothing on, in either direction, on connections that have subscribed to anything.

        Both ends stay open and nobody is told, as with a firewall that has forgotten them. So it
        is with those that subscribe later.
        """
        self.tell(forget_subscribers=True)

    def refuse(self) -> None:
        """Reset all connections, and new ones as soon as they are made, as if nobody was there."""
        self.tell(refuse=True)

    def hold(self) -> None:
        """Keep what clients send until it may pass again; connections stay, new ones are made."""
        self.tell(hold=True)

    def heal(self) -> None:
        """Be a cable again; connections that were forgotten are reset."""
        self.tell()


@contextmanager
def running_relay(url: str) -> Iterator[TroubleRelay]:
    """Run a relay to the server at ``url`` beside the block."""
    host, port = cache_address(url)
    with TroubleRelay.running(_relay.__file__, host, str(port)) as relay:
        yield relay
