"""The troubles a cache can be in, and how each is made: to its process, or by a relay before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from statecache.study.troubles.own_servers import ServerProcess
from statecache.study.troubles.relay import TroubleRelay

__all__ = ["DELAY_MS", "Trouble", "in_trouble", "trouble_of"]

DELAY_MS: Final = 100
#: Bytes of answers after which a connection is reset: within the handshake, or somewhat later.
RESET_AFTER: Final = 1, 1_000


@dataclass(frozen=True, slots=True)
class Trouble:
    """How a trouble begins and ends; both block until it is so."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]


def _nothing() -> None:
    return


def trouble_of(
    name: str,
    relay: TroubleRelay,
    cache: ServerProcess | None,
    empty: Callable[[], None],
) -> Trouble:
    """Return the trouble: none, dead, hung, slow, resetting, emptied or restarted.

    ``cache`` is the server's process where it is ours. Where it is not, what would be done to the
    process is done by the relay, which then has to lie between it and the managers; a relay always
    slows and resets. ``empty`` removes what the cache holds.
    """

    def back_without_data() -> None:
        empty()
        relay.heal()

    def cut() -> None:
        relay.refuse()
        back_without_data()

    troubles = [
        Trouble("none", _nothing, _nothing),
        Trouble("slow", lambda: relay.delay(DELAY_MS), relay.heal),
        Trouble("resetting", lambda: relay.reset(*RESET_AFTER), relay.heal),
        Trouble("emptied", empty, _nothing),
    ]
    if cache is None:
        troubles += [
            Trouble("dead", relay.refuse, back_without_data),
            Trouble("hung", relay.hold, relay.heal),
            Trouble("restarted", cut, _nothing),
        ]
    else:

        def restart() -> None:
            cache.kill()
            cache.start()

        troubles += [
            Trouble("dead", cache.kill, cache.start),
            Trouble("hung", cache.stop, cache.go_on),
            Trouble("restarted", restart, _nothing),
        ]
    return {one.name: one for one in troubles}[name]


@contextmanager
def in_trouble(trouble: Trouble) -> Iterator[None]:
    """Make the trouble during the block; after it the cache answers again."""
    trouble.begin()
    try:
        yield
    finally:
        trouble.end()
