"""Hears what other processes changed, for the in-process tier."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import hiredis

from statecache._acompat import AsyncBackground
from statecache._async.link import AsyncLink
from statecache.memory import MemoryTier
from statecache.outside_writes import EVERY_KEY
from statecache.wire import AsyncFeed

__all__ = ["AsyncListener"]

log = logging.getLogger("statecache")

#: How often the connection proves that it is alive, in seconds: a silent one is not "lost".
PING_S = 0.25
#: How long the tier is trusted after an answered ping was sent, in seconds: the bound on how long
#: a change can go unnoticed.
TRUST_S = 1.0
#: Pause before connecting again, in seconds.
RETRY_S = 0.1


def _pack(*command: bytes) -> bytes:
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type] # its stub: one word only


_PING = _pack(b"PING")


class AsyncListener(AsyncBackground):
    """Subscribes to the channel of changes, and says how long the tier can be trusted.

    What was published before a ping was sent has arrived when its answer has: the order of replies
    on one connection is kept.
    """

    def __init__(
        self,
        link: AsyncLink,
        channel: str,
        memory: MemoryTier,
        is_own: Callable[[bytes], bool] = lambda _message: False,
    ) -> None:
        self._link = link
        self._subscribe = _pack(b"SUBSCRIBE", channel.encode())
        self._memory = memory
        self._is_own = is_own
        super().__init__("statecache-listener", self._follow)

    async def aclose(self) -> None:
        """Stop listening; the tier is not to be trusted afterwards."""
        await super().aclose()
        self._memory.clear()

    async def _follow(self) -> None:
        while self.goes_on:
            self._memory.clear()  # after a fork, say
            feed = AsyncFeed(self._link.connect(), self._heard)
            try:
                await feed.connect(TRUST_S)
                await feed.send(self._subscribe)
                if await feed.next_reply(TRUST_S) is not None:
                    # Loads under way may have read what changed before this was listening.
                    self._memory.clear()
                    await self._listen(feed)
            except Exception as error:  # whatever ails the cache: the tier is bypassed meanwhile
                log.debug("no changes are heard: %s: %s", type(error).__name__, error)
            finally:
                self._memory.clear()
                await feed.disconnect()
            await self.pause(RETRY_S)

    async def _listen(self, feed: AsyncFeed) -> None:
        pinged: float | None = None
        next_ping = 0.0
        while self.goes_on:
            now = time.monotonic()
            if pinged is not None and now > pinged + TRUST_S:
                return  # it is silent
            if pinged is None and now >= next_ping:
                await feed.send(_PING)
                pinged, next_ping = now, now + PING_S
            reply = await feed.next_reply(PING_S)
            if reply is not None and reply[0] == b"pong" and pinged is not None:
                self._memory.trust(pinged + TRUST_S)
                pinged = None

    def _heard(self, message: bytes) -> None:
        """Hear of changes; what this process put itself it knows."""
        if self._is_own(message):
            return
        changes = _parse(message)
        if EVERY_KEY in changes:
            self._memory.clear()
        else:
            self._memory.changed(changes)


def _parse(message: bytes) -> dict[str, int]:
    """Return trigger_id → version; see lua/put.lua and lua/fence.lua for the form."""
    _publisher, *changes = message.decode(errors="replace").split("\0")
    return {change[16:]: int(change[:16], 16) for change in changes}
