"""Gathers concurrent calls into calls of a batch function, without delaying any.

For asyncio only. What callers ask for in one turn of the event loop, and while a batch is under
way, makes up the next batch. Nobody waits for others to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from statecache.begun import Begun
from statecache.errors import ConfigError, InvalidState
from statecache.lanes import Gatherer, answer, fail
from statecache.stats import Tally

__all__ = ["AsyncGatheredReads", "AsyncGatheredWrites", "GatheredReads", "GatheredWrites"]

T = TypeVar("T")
V = TypeVar("V")

#: Keys in a batch at most, and bytes of what is written.
MAX_KEYS = 512
MAX_BYTES = 4 << 20

#: As many writes make the statement's own cost small.
WORTH_A_BATCH = 48

#: Batches of reads under way at a time: one that waits for PostgreSQL must not hold up hits.
READ_LANES = 2

#: Commits under way at a time: a second one, of other keys, while the first waits for the disk.
WRITE_LANES = 2

ReadMany: TypeAlias = Callable[[list[str]], Awaitable[Mapping[str, T | Exception]]]


class AsyncGatheredReads(Gatherer[dict[str, list[asyncio.Future[T]]]], Generic[T]):
    """Calls ``read_many`` for what callers ask for one by one; who asks for the same, shares.

    An outcome that is an exception is raised to who asked for that key.
    """

    def __init__(self, read_many: ReadMany[T]) -> None:
        self._read_many = read_many
        super().__init__(READ_LANES)

    def _begin(self) -> None:
        super()._begin()
        self._waiting: dict[str, list[asyncio.Future[T]]] = {}

    def call(self, key: str) -> asyncio.Future[T]:
        """Return what will be the outcome for the key."""
        lanes = self._lanes_here()
        # Everybody gets a future of their own: a caller who is cancelled cancels it.
        future: asyncio.Future[T] = lanes.loop.create_future()
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = [future]
            lanes.offer()
        else:
            waiting.append(future)
        return future

    def _next(self) -> dict[str, list[asyncio.Future[T]]] | None:
        if not self._waiting:
            return None
        batch = self._waiting
        if len(batch) > MAX_KEYS:
            return {key: self._waiting.pop(key) for key in list(batch)[:MAX_KEYS]}
        self._waiting = {}
        return batch

    async def _run(
        self, batch: dict[str, list[asyncio.Future[T]]], _leave: Callable[[], None]
    ) -> None:
        try:
            outcomes = await self._read_many(list(batch))
        except BaseException as error:
            for futures in batch.values():
                fail(futures, error)
            if not isinstance(error, Exception):
                raise
            return
        for key, futures in batch.items():
            outcome = outcomes[key]
            if isinstance(outcome, Exception):
                fail(futures, outcome)
            else:
                answer(futures, outcome)

    def _drop(self, batch: dict[str, list[asyncio.Future[T]]]) -> None:
        for futures in batch.values():
            fail(futures, asyncio.CancelledError())


class AsyncGatheredWrites(Gatherer["dict[str, _Write[T]]"], Generic[T, V]):
    """Commits what callers write one by one (``None`` deletes), in order per key.

    ``commit`` writes a batch, and ``pass_on`` says what became of each key. Of several writes to a
    key that meet in one batch, the last one counts; each caller is answered when it is committed
    and passed on, or as soon as passing on has begun, where ``early`` returns outcomes. A
    refused state is its own caller's error, all else every caller's. ``in_doubt`` hears of keys of
    a batch that was cancelled, perhaps between commit and passing on.

    A second batch is committed beside the first where enough writes to other keys wait. With
    ``halves`` a batch takes half of many that wait, and of fewer where no other is under way: while
    it is passed on the others are committed, else all would wait for either server in turn.
    """

    def __init__(
        self,
        commit: Callable[[dict[str, bytes | None]], Awaitable[V]],
        pass_on: Callable[[V], Coroutine[Any, Any, dict[str, T]]],
        in_doubt: Callable[[Iterable[str]], None],
        tally: Tally,
        *,
        early: Callable[[V], tuple[V, Mapping[str, T]]],
        halves: bool,
    ) -> None:
        self._halves = halves
        self._commit = commit
        self._pass_on = pass_on
        self._in_doubt, self._early = in_doubt, early
        self._tally = tally
        super().__init__(WRITE_LANES)

    def _begin(self) -> None:
        super()._begin()
        self._waiting: dict[str, _Write[T]] = {}
        #: Keys that are being committed, for whose end their next writes wait; versions order the
        #: rest.
        self._committing: set[str] = set()
        #: What is being passed on though its callers have been answered.
        self._passed_on: list[dict[str, _Write[T]]] = []

    def _move(self) -> None:
        left = self._passed_on
        super()._move()
        for part in left:
            self._in_doubt(part)

    def call(self, key: str, encoded: bytes | None) -> asyncio.Future[T]:
        """Return what will be the outcome of this write."""
        lanes = self._lanes_here()
        future: asyncio.Future[T] = lanes.loop.create_future()
        write = self._waiting.get(key)
        if write is None:
            self._waiting[key] = _Write(encoded, future)
        else:
            write.outdo(encoded, future)
            self._tally.add("write_absorbed")
        lanes.offer()
        return future

    def is_passed_on(self, key: str) -> bool:
        """Whether a write whose caller has been answered is still being passed on."""
        return any(key in part for part in self._passed_on)

    def _next(self) -> dict[str, _Write[T]] | None:
        least = WORTH_A_BATCH if self._committing else 1
        if len(self._waiting) < least:
            return None
        batch: dict[str, _Write[T]] = {}
        size = 0
        most = MAX_KEYS
        many = WORTH_A_BATCH if self._lanes is None or self._lanes.idle else 2 * WORTH_A_BATCH
        if self._halves and len(self._waiting) >= many:
            most = min(most, (len(self._waiting) + 1) // 2)
        for key, write in self._waiting.items():
            if len(batch) == most or size > MAX_BYTES:
                break
            if key not in self._committing:
                batch[key] = write
                size += len(write.encoded or b"")
        if len(batch) < least and size <= MAX_BYTES:
            return None
        for key in batch:
            del self._waiting[key]
        self._committing.update(batch)
        return batch

    async def _run(self, batch: dict[str, _Write[T]], leave: Callable[[], None]) -> None:
        committing = self._committing  # those of another event loop are another set
        try:
            try:
                committed = await self._commit_all(batch)
            finally:
                committing.difference_update(batch)
            for part, written in committed:
                await self._answer(part, written, leave)
        except BaseException as error:
            self._in_doubt(batch)
            _fail_all(batch, error)
            raise

    async def _answer(
        self, part: dict[str, _Write[T]], written: V, leave: Callable[[], None]
    ) -> None:
        """Answer the callers, and leave the lane: what they write next can join the next batch."""
        written, early = self._early(written)
        passing_on = Begun(self._pass_on(written))
        if passing_on.is_over or not early:
            if not passing_on.is_over:
                leave()  # that one can be committed while this one is passed on
            _answer_all(part, await passing_on)
            return
        passed_on = self._passed_on
        passed_on.append(part)
        _answer_all(part, early)
        leave()
        try:
            await passing_on
        finally:
            passed_on.remove(part)

    def _drop(self, batch: dict[str, _Write[T]]) -> None:
        self._committing.difference_update(batch)
        _fail_all(batch, asyncio.CancelledError())

    async def _commit_all(
        self, batch: dict[str, _Write[T]]
    ) -> list[tuple[dict[str, _Write[T]], V]]:
        """Commit what is not refused, in as few parts as it takes."""
        committed = []
        left = [batch]
        while left:
            part = left.pop()
            try:
                states = {key: write.encoded for key, write in part.items()}
                committed.append((part, await self._commit(states)))
            except InvalidState as error:
                left += _without_refused(part, error)
            except Exception as error:
                _fail_all(part, error)
        return committed


class _Write(Generic[T]):
    """What is to be written to a key, and who waits for it."""

    __slots__ = ("encoded", "futures", "outdone")

    def __init__(self, encoded: bytes | None, future: asyncio.Future[T]) -> None:
        self.encoded = encoded
        self.futures = [future]
        #: The states it outdid, oldest first: one of them counts where what outdid it is refused.
        self.outdone: list[bytes | None] = []

    def outdo(self, encoded: bytes | None, future: asyncio.Future[T]) -> None:
        """Let the last caller's state count."""
        self.outdone.append(self.encoded)
        self.encoded = encoded
        self.futures.append(future)

    def refuse(self, error: InvalidState) -> _Write[T] | None:
        """Fail the caller whose state was refused; return what is to be written instead."""
        fail([self.futures.pop()], error)
        if not self.outdone:
            return None
        self.encoded = self.outdone.pop()
        return self


def _without_refused(
    batch: dict[str, _Write[T]], error: InvalidState
) -> Iterator[dict[str, _Write[T]]]:
    """Yield halves, to find out which state was refused; it is dropped where it is found."""
    keys = list(batch)
    if len(keys) > 1:
        for half in (keys[len(keys) // 2 :], keys[: len(keys) // 2]):
            yield {key: batch[key] for key in half}
        return
    write = batch[keys[0]].refuse(error)
    if write is not None:
        yield {keys[0]: write}


def _answer_all(batch: dict[str, _Write[T]], outcomes: Mapping[str, T]) -> None:
    for key, write in batch.items():
        answer(write.futures, outcomes[key])


def _fail_all(batch: dict[str, _Write[T]], error: BaseException) -> None:
    for write in batch.values():
        fail(write.futures, error)


def _refuse(*_parts: object, **_options: object) -> Any:
    """Refuse: threads have no turns of an event loop to gather in."""
    raise ConfigError(
        "gather is True, which needs asyncio: set it to False (STATE_CACHE_GATHER), or use "
        "AsyncStateManager or AsyncCachedStateManager."
    )


#: The twins that managers with threads find here.
GatheredReads: Any = _refuse
GatheredWrites: Any = _refuse
