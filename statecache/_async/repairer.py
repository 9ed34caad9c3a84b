"""Brings the cache up to date with what it failed to take."""

from __future__ import annotations

import logging
import time

from statecache._acompat import AsyncBackground
from statecache._async.cache import AsyncStateCache
from statecache._async.table import AsyncStateTable
from statecache.errors import StateCacheError
from statecache.outside_writes import EVERY_KEY
from statecache.repair import ANY_VERSION, Mark, Unrepaired

__all__ = ["AsyncRepairer"]

log = logging.getLogger("statecache")

#: Pause between attempts while something is left, in seconds; the breaker spaces the cache's own.
RETRY_S = 0.05

BATCH = 256


class AsyncRepairer(AsyncBackground):
    """Fences off, in the background, entries that may be older than PostgreSQL.

    They are those that this manager could not put (``unrepaired``) and, where ``poll_s`` is not 0,
    those that any process noted in the table of dirty keys; without the latter it ends when nothing
    is left to do. What is left when it is closed is repaired by others, or gone with its time to
    live.
    """

    def __init__(
        self, table: AsyncStateTable, cache: AsyncStateCache, unrepaired: Unrepaired, poll_s: float
    ) -> None:
        self._table = table
        self._cache = cache
        self._unrepaired = unrepaired
        self._poll_s = poll_s
        super().__init__("statecache-repairer", self._repair)

    async def _repair(self) -> None:
        next_poll = time.monotonic()
        while self.goes_on:
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
            await self.pause(min(self._poll_s, 1.0) if done else RETRY_S)

    async def _repair_own(self) -> bool:
        """Fence off what this manager could not put; return whether nothing is left."""
        if mark := self._unrepaired.all_keys:  # too many to have remembered each
            if not await self._cache.invalidate_all():
                return False
            self._unrepaired.settle_all(mark)
        marks = self._unrepaired.some(BATCH)
        known = {key: mark for key, mark in marks.items() if mark.version is not None}
        wrong = [key for key, mark in known.items() if mark.version == ANY_VERSION]
        await self._fence({k: m.version or 0 for k, m in known.items() if k not in wrong}, marks)
        # Of a write whose outcome is unknown the version is, too; PostgreSQL may be down.
        unknown = [key for key in marks if key not in known]
        rows = await self._table.read(unknown, settled=True)
        # A row that somebody is writing, perhaps on behalf of nobody, is left until that has ended.
        ended = {key: row.version for key, row in rows.items() if row.version}
        await self._fence(ended, marks)
        wrong += [key for key in unknown if key not in rows]
        if wrong and await self._cache.invalidate(wrong):
            for key in wrong:
                self._unrepaired.settle(key, marks[key])
        return len(self._unrepaired) == 0

    async def _fence(self, versions: dict[str, int], marks: dict[str, Mark]) -> None:
        if versions:
            for key, outcome in (await self._cache.fence(versions)).items():
                if outcome.settled:
                    self._unrepaired.settle(key, marks[key])

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
