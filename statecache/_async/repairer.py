"""Brings the cache up to date with what it failed to take."""

from __future__ import annotations

import logging
import time

from statecache._acompat import AsyncBackground
from statecache._async.cache import AsyncStateCache
from statecache._async.table import AsyncStateTable
from statecache.errors import StateCacheError
from statecache.outside_writes import EVERY_KEY
from statecache.repair import ANY_VERSION, Unrepaired

__all__ = ["AsyncRepairer"]

log = logging.getLogger("statecache")

#: Pause between attempts while something is left, in seconds; the breaker spaces the cache's own.
RETRY_S = 0.05

BATCH = 256


class AsyncRepairer:
    """Fences off, in the background, entries that may be older than PostgreSQL.

    They are those that this manager could not put (``unrepaired``) and, where ``poll_s`` is not 0,
    those that any process noted in the table of dirty keys.
    """

    def __init__(
        self, table: AsyncStateTable, cache: AsyncStateCache, unrepaired: Unrepaired, poll_s: float
    ) -> None:
        self._table = table
        self._cache = cache
        self._unrepaired = unrepaired
        self._poll_s = poll_s
        self._background = AsyncBackground("statecache-repairer", self._run)

    def start(self) -> None:
        """Begin, unless it runs already; it ends when nothing is left to do."""
        self._background.start()

    async def aclose(self) -> None:
        """Stop; what is left is repaired by others, or gone with its time to live."""
        await self._background.aclose()

    async def _run(self) -> None:
        next_poll = time.monotonic()
        while self._background.goes_on:
            try:
                done = await self._repair_own()
                if self._poll_s and time.monotonic() >= next_poll:
                    next_poll = time.monotonic() + self._poll_s
                    await self._repair_noted()
            except StateCacheError as error:  # PostgreSQL does not answer: later
                log.debug("nothing was repaired: %s", error)
                done = False
            if done and not self._poll_s:
                return
            await self._background.pause(min(self._poll_s, 1.0) if done else RETRY_S)

    async def _repair_own(self) -> bool:
        """Fence off what this manager could not put; return whether nothing is left."""
        if until := self._unrepaired.all_until:  # too many to have remembered each
            if not await self._cache.invalidate_all():
                return False
            self._unrepaired.settle_all(until)
        marks = self._unrepaired.some(BATCH)
        unknown = [key for key, mark in marks.items() if mark.version is None]
        rows = await self._table.read(unknown, settled=True)
        wrong: list[str] = []  # whatever the cache holds of these
        versions: dict[str, int] = {}
        for key, mark in marks.items():
            version = rows[key].version if key in rows else mark.version
            if version is None or version == ANY_VERSION:
                wrong.append(key)
            else:
                versions[key] = version
        if wrong and await self._cache.invalidate(wrong):
            for key in wrong:
                self._unrepaired.settle(key, marks[key])
        for key, outcome in (await self._cache.fence(versions)).items():
            if outcome.settled:
                self._unrepaired.settle(key, marks[key])
        return len(self._unrepaired) == 0

    async def _repair_noted(self) -> None:
        """Fence off what any process noted."""
        while versions := await self._table.marked():
            if EVERY_KEY in versions:
                if not await self._cache.invalidate_all():
                    return
                await self._table.unmark({EVERY_KEY: versions[EVERY_KEY]})
                continue
            outcomes = await self._cache.fence(versions)
            settled = {key: versions[key] for key, out in outcomes.items() if out.settled}
            await self._table.unmark(settled)
            if len(settled) < len(versions):
                return
