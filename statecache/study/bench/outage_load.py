"""Callers whose every answer is checked while the cache is in trouble.

Each key has one writer, which counts up: so it is known at any moment what a read may not be older
than, and which write the database must still hold at the end.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from statecache import Access, AsyncStateManager, StateManager
from statecache.study.troubles.writes import Writes

__all__ = ["Board", "Call", "Caller", "run_tasks", "run_threads"]

KEYS_PER_CALLER = 50
WRITES = 0.2
#: Between calls, so that latencies are not those of a saturated machine.
PAUSE_S = (0.0, 0.008)


class Call(NamedTuple):
    """A call that has ended: when it began, on the monotonic clock, and how long it took."""

    phase: str
    operation: str
    started: float
    seconds: float


class Board:
    """What all callers share: the phase they are in, and what has been written and found."""

    def __init__(self) -> None:
        self.phase = "warm-up"
        self.ended = False
        self.writes = Writes()
        self.callers: list[Caller] = []
        #: When the cache was back, and since then: the first hit, the first entry it took.
        self.back_at = float("inf")
        self.hit_at: float | None = None
        self.stored_at: float | None = None
        #: What each manager loads when all is over: key → count.
        self.at_end: list[dict[str, int]] = []

    def observe(self, access: Access) -> None:
        """Note when a manager uses the cache again."""
        if access.started < self.back_at:
            return
        if self.hit_at is None and access.outcome == "hit":
            self.hit_at = access.ended
        if self.stored_at is None and access.outcome == "committed":
            self.stored_at = access.ended


class Caller:
    """One caller: a writer of its own keys and reader of all, or a reader only (``others``).

    A reader only has a manager of its own and so sees the writes of another one.
    """

    def __init__(self, board: Board, number: int, *, writes: bool) -> None:
        self._board = board
        self._dice = random.Random(f"caller {number}")  # noqa: S311 - to be repeatable
        self.writes = writes
        self._own = [f"flight {number}-{key}" for key in range(KEYS_PER_CALLER)] if writes else []
        for key in self._own:
            board.writes.tried[key] = board.writes.acknowledged[key] = -1
        board.callers.append(self)
        self.calls: list[Call] = []
        #: Phase → calls answered.
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        #: Answers that no order of calls explains, by phase.
        self.wrong: Counter[str] = Counter()
        #: Reads that were older than a write acknowledged before they began: phase, and when.
        self.stale: list[tuple[str, float]] = []
        self._keys: Sequence[str] = ()

    @property
    def own(self) -> Sequence[str]:
        """The keys that this caller alone writes."""
        return self._own

    def pause(self) -> float:
        """Return for how many seconds to wait before the next call."""
        return self._dice.uniform(*PAUSE_S)

    def choose(self) -> tuple[str, Any]:
        """Return the next key and the state to write, ``None`` to read."""
        if self.writes and self._dice.random() < WRITES:
            key = self._dice.choice(self._own)
            return key, self.next_state(key)
        self._keys = self._keys or self._board.writes.keys
        return self._dice.choice(self._keys), None

    def next_state(self, key: str) -> Any:
        """Return the key's next state, which counts as sent from now on."""
        return self._board.writes.next_state(key)

    def floor(self, key: str) -> int:
        """Return the count that a read which begins now may not be older than."""
        return self._board.writes.acknowledged[key]

    def answered(self, key: str, written: Any, read: Any, floor: int, call: Call) -> None:
        """Check the answer and note how long it took."""
        self.calls.append(call)
        self.done[call.phase] += 1
        if written is not None:
            self._board.writes.acknowledged[key] = written["count"]
        elif not self._board.writes.is_possible(key, read):
            self.wrong[call.phase] += 1
        elif read["count"] < floor:
            self.stale.append((call.phase, time.monotonic()))

    def failed(self, error: Exception) -> None:
        """Note an error, which nobody should see."""
        self.errors[f"{self._board.phase}: {type(error).__name__}: {error}"] += 1


def run_threads(managers: Sequence[tuple[Caller, StateManager]], board: Board) -> None:
    """Let every caller call its manager in a thread of its own until the board says the end."""

    def run(caller: Caller, manager: StateManager) -> None:
        while not board.ended:
            time.sleep(caller.pause())
            key, state = caller.choose()
            phase, floor, started = board.phase, caller.floor(key), time.monotonic()
            read: Any = None
            try:
                if state is None:
                    read = manager.load_state(key)
                else:
                    manager.update_state(key, state)
            except Exception as error:  # it is to be counted, whatever it is
                caller.failed(error)
                continue
            operation = "load" if state is None else "update"
            call = Call(phase, operation, started, time.monotonic() - started)
            caller.answered(key, state, read, floor, call)

    threads = [threading.Thread(target=run, args=pair) for pair in managers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def run_tasks(managers: Sequence[tuple[Caller, AsyncStateManager]], board: Board) -> None:
    """The same with tasks of one event loop."""

    async def run(caller: Caller, manager: AsyncStateManager) -> None:
        while not board.ended:
            await asyncio.sleep(caller.pause())
            key, state = caller.choose()
            phase, floor, started = board.phase, caller.floor(key), time.monotonic()
            read: Any = None
            try:
                if state is None:
                    read = await manager.load_state(key)
                else:
                    await manager.update_state(key, state)
            except Exception as error:  # it is to be counted, whatever it is
                caller.failed(error)
                continue
            operation = "load" if state is None else "update"
            call = Call(phase, operation, started, time.monotonic() - started)
            caller.answered(key, state, read, floor, call)

    await asyncio.gather(*(run(*pair) for pair in managers))
