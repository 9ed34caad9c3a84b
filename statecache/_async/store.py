"""What a manager does with encoded states where there is PostgreSQL alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from statecache._acompat import AsyncOutcome
from statecache._async.table import AsyncStateTable
from statecache.codec import decode_state
from statecache.config import CacheConfig
from statecache.errors import DatabaseError, InvalidState, VersionConflict
from statecache.gathering import AsyncGatheredReads, AsyncGatheredWrites
from statecache.lookup import Found, Moment, Row, Written
from statecache.memory import MemoryTier
from statecache.stats import CacheStats, Tally
from statecache.verification import Verification

__all__ = ["AsyncStore", "decoded"]

#: Deleted rows keep their version at least this long, so that re-creation is ordered behind them.
PURGE_AFTER_S = 86_400.0


class AsyncStore:
    """Reads and writes states whose ids and values have been checked, one statement a call."""

    #: Whether what is written is passed on to another server.
    _tells_a_cache = False

    def __init__(self, table: AsyncStateTable, config: CacheConfig, tally: Tally) -> None:
        self._table = table
        self._config = config
        self._tally = tally
        #: Answers loads, once there is such a short way.
        self.short_way: MemoryTier | None = None
        self._reads, self._writes = None, None
        if config.gather:
            self._reads = AsyncGatheredReads(self._find_many)
            self._writes = AsyncGatheredWrites(
                self._commit,
                self._pass_on,
                self._in_doubt,
                tally,
                early=self._early,
                halves=self._tells_a_cache,
            )

    async def load(self, trigger_id: str) -> tuple[Any, Found]:
        """Return the decoded state, and what was found."""
        if self._reads is not None:
            found = await self._reads.call(trigger_id)
        else:
            row = (await self._table.read([trigger_id])).get(trigger_id)
            found = Found(None if row is None else row.payload, "database")
        return decoded(trigger_id, found.payload), found

    async def load_many(self, trigger_ids: list[str]) -> dict[str, tuple[Any, Found]]:
        """Return the same for many, in one round trip."""
        found = await self._find_many(trigger_ids)
        return {key: await self._decode(key, found[key]) for key in trigger_ids}

    def write(self, trigger_id: str, encoded: bytes | None) -> AsyncOutcome:
        """Store the state, or delete it where it is ``None``; gathered where that is wanted."""
        if self._writes is not None:
            found: AsyncOutcome = self._writes.call(trigger_id, encoded)
            return found
        return self._write_alone(trigger_id, encoded)

    async def write_many(self, states: Mapping[str, bytes | None]) -> dict[str, Found]:
        """Store the states, delete those that are ``None``; return what became of each."""
        try:
            return await self._pass_on(await self._commit(states))
        except Exception:
            raise
        except BaseException as error:  # cancelled or interrupted, perhaps after the commit
            self._in_doubt(states, error)
            raise

    async def replace(self, trigger_id: str, encoded: bytes, version: int) -> Found:
        """Store the state if its version is this one, or raise ``VersionConflict``."""
        mark, moment, changes = self._marks(), await self._begin(), self._changes()
        try:
            row = await self._table.replace(trigger_id, encoded, version, mark=mark)
            if row is not None:
                return (await self._pass_on(Written({trigger_id: row}, moment, mark, changes)))[
                    trigger_id
                ]
        except InvalidState:
            raise
        except BaseException as error:
            self._in_doubt([trigger_id], error)
            raise
        raise VersionConflict(
            f"the state of {trigger_id!r} is no longer at version {version}: load_versioned "
            "it again, apply the change to what it is now, and retry."
        )

    async def clean_up(self, retention_s: float) -> int:
        """Delete states not updated for that long, in batches; return how many."""
        deleted, moment, changes = 0, await self._begin(), self._changes()
        try:
            async for rows in self._table.expire(retention_s):
                deleted += len(rows)
                await self._pass_on(Written(rows, moment, False, changes))
                moment, changes = await self._begin(), self._changes()
        except BaseException as error:
            self._in_doubt(None, error)
            raise
        await self._table.purge(max(PURGE_AFTER_S, 2 * self._config.longest_ttl_secs))
        return deleted

    # What concerns the cache.

    def stats(self, ttl_secs: float) -> CacheStats:
        """Return the counters."""
        return self._tally.snapshot(enabled=False, ttl_secs=ttl_secs)

    async def invalidate(self, trigger_ids: list[str]) -> None:
        """Make every manager read these states from PostgreSQL next time."""

    async def invalidate_all(self) -> None:
        """Make every manager read all states from PostgreSQL next time."""

    async def warm(self, limit: int, trigger_ids: list[str] | None) -> int:  # noqa: ARG002
        """Put states into the cache, these or those updated last; return how many it took."""
        return 0

    async def verify(self, sample: int) -> Verification:  # noqa: ARG002
        """Compare cached states with PostgreSQL."""
        return Verification()

    async def settle(self) -> None:
        """Wait until gathered writes have been passed on."""
        if self._writes is not None:
            await self._writes.settle()

    async def aclose(self) -> None:
        """Close the table's pool if it is our own."""
        await self._table.aclose()

    # The steps of a load and of a write.

    async def _find_many(self, trigger_ids: list[str]) -> dict[str, Found]:
        rows = await self._table.read(trigger_ids)
        return {
            trigger_id: Found(rows[trigger_id].payload if trigger_id in rows else None, "database")
            for trigger_id in trigger_ids
        }

    async def _decode(self, trigger_id: str, found: Found) -> tuple[Any, Found]:
        return decoded(trigger_id, found.payload), found

    async def _write_alone(self, trigger_id: str, encoded: bytes | None) -> Found:
        return (await self.write_many({trigger_id: encoded}))[trigger_id]

    async def _commit(self, states: Mapping[str, bytes | None]) -> Written:
        """Store the states, delete those that are ``None``."""
        deletes = [key for key, encoded in states.items() if encoded is None]
        updates = {key: encoded for key, encoded in states.items() if encoded is not None}
        mark, moment, changes = self._marks(), await self._begin(), self._changes()
        try:
            rows: dict[str, Row] = {}
            rows |= await self._table.write(updates, mark=mark)
            rows |= await self._table.delete(deletes, mark=mark)
        except InvalidState:
            if rows:  # of what was refused nothing was written, but that may be the deletes only
                self._in_doubt(rows, None)
            raise
        except BaseException as error:
            self._in_doubt(states, error)
            raise
        if not updates.keys() <= rows.keys():
            self._in_doubt(states, None)
            raise DatabaseError(
                "PostgreSQL did not store the state: a trigger on the table keeps it from doing so."
            )
        for key in deletes:
            rows.setdefault(key, Row(None, 0))
        return Written(rows, moment, mark, changes)

    def _marks(self) -> bool:
        """Return whether written keys are to be noted as dirty in the same statement.

        They are where no cache is told of them.
        """
        return self._config.repair_poll_secs > 0

    async def _begin(self) -> Moment | None:
        """Return what is to be known of the instant before PostgreSQL is told."""
        return None

    def _changes(self) -> int:
        """Return how many changes the in-process tier knows of."""
        return 0

    def _early(self, written: Written) -> tuple[Written, dict[str, Found]]:
        """Return the outcomes where nobody has to wait until all others have heard of it."""
        return written, {}

    async def _pass_on(self, written: Written) -> dict[str, Found]:
        """Tell whoever has to know of it, and return the outcomes."""
        if not written.marked:
            await self._mark({key: row.version for key, row in written.rows.items()})
        return dict.fromkeys(written.rows, Found(None, "committed"))

    def _in_doubt(
        self, trigger_ids: Iterable[str] | None, error: BaseException | None = None
    ) -> None:
        """Hear of writes that were cancelled, or cut off while committing: they may stand.

        ``None`` is any key.
        """

    async def _mark(self, versions: Mapping[str, int]) -> None:
        """Let others repair what this process may not live to."""
        if self._config.repair_poll_secs and versions:
            try:
                await self._table.mark(versions)
            except DatabaseError:  # the write itself stands
                self._tally.add("error:mark:DatabaseError")


def decoded(trigger_id: str, payload: bytes | None) -> Any:
    """Return a state that PostgreSQL holds; SQL by hand can store what no manager would."""
    try:
        return None if payload is None else decode_state(payload)
    except ValueError as error:
        raise DatabaseError(
            f"the state of {trigger_id!r} in PostgreSQL is beyond what can be read ({error}): "
            "write it anew."
        ) from None
