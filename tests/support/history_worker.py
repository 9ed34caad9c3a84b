"""A process that calls a manager of its own from several threads or tasks, and keeps the history.

``python -m support.history_worker`` reads one line of JSON, a ``WorkerPlan``, and answers "ready".
Then it does what each further line says and answers with the calls that it made, until its stdin
ends: ``{"run": seconds}`` calls at random, ``{"read": seconds}`` loads every key until each that
has a state was a hit, for that long at most.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from statecache import Access, CacheConfig, DatabaseError
from support.history_types import RAISED, Call
from support.managers import Synchronous, open_manager
from support.sabotage import sabotaged_scripts

__all__ = ["WorkerPlan"]


@dataclass(frozen=True)
class WorkerPlan:
    """What a worker is and does."""

    name: str
    kind: str
    seed: int
    database_url: str
    redis_url: str
    keys: list[str]
    #: Fields of ``CacheConfig``.
    config: dict[str, Any]
    #: Threads, or tasks where the manager is asynchronous.
    callers: int = 3
    #: Shares of the calls.
    updates: float = 0.2
    deletes: float = 0.06
    #: Share of the calls that are cancelled while they run, where the manager is asynchronous.
    cancelled: float = 0.03
    #: The longest pause between two calls, in seconds.
    pause_s: float = 0.004
    #: Replaced in the scripts, for a planted bug: (regular expression, replacement).
    sabotage: tuple[str, str] | None = None


#: What the observer was told during the call that runs in this context: key → outcome.
_told: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("told")


def _observe(access: Access) -> None:
    _told.get()[access.trigger_id] = access.outcome


@dataclass
class _Caller:
    """One thread or task; its calls follow from the plan's seed, the worker's name and number."""

    plan: WorkerPlan
    manager: Any
    number: int
    calls: list[Call] = field(default_factory=list)
    writes: int = 0

    def __post_init__(self) -> None:
        self.is_async = self.plan.kind.startswith("Async")
        self.dice = random.Random(f"{self.plan.seed} {self.plan.name} {self.number}")

    async def run(self, seconds: float) -> None:
        """Call at random; awaits nothing where the manager is synchronous."""
        plan, until = self.plan, time.monotonic() + seconds
        while time.monotonic() < until:
            key, dice = self.dice.choice(plan.keys), self.dice.random()
            if dice < plan.updates:
                await self.call("update", key)
            elif dice < plan.updates + plan.deletes:
                await self.call("delete", key)
            else:
                await self.call("load", key)
            await self._sleep(plan.pause_s * self.dice.random())

    async def read(self, seconds: float) -> None:
        """Load every key, those that have a state until it was a hit."""
        until = time.monotonic() + seconds
        for key in self.plan.keys:
            while True:
                call = await self.call("load", key, may_cancel=False)
                if call.outcome in ("hit", "memory") or (
                    call.value is None and call.outcome != RAISED
                ):
                    break
                if time.monotonic() > until:
                    break
                await self._sleep(0.01)

    async def call(self, operation: str, key: str, may_cancel: bool = True) -> Call:
        value, error = None, ""
        told: dict[str, str] = {}
        _told.set(told)
        limit_s = None
        if self.is_async and may_cancel and self.dice.random() < self.plan.cancelled:
            limit_s = 0.02 * self.dice.random()
        method = getattr(self.manager, f"{operation}_state")
        arguments: list[Any] = [key]
        if operation == "update":
            self.writes += 1
            value = f"{self.plan.name}.{self.number}.{self.writes}"
            arguments.append({"value": value, "padding": "x" * self.dice.randrange(200)})
        started = time.monotonic()
        try:
            if self.is_async:
                async with asyncio.timeout(limit_s):
                    state = await method(*arguments)
            else:
                state = method(*arguments)
            if operation == "load":
                value = None if state is None else state["value"]
            outcome = told.get(key, "untold")
        except TimeoutError:
            if limit_s is None:
                raise
            outcome, error = RAISED, "cancelled"
        except DatabaseError as caught:
            outcome, error = RAISED, str(caught)
        ended = time.monotonic()
        call = Call(self.plan.name, operation, key, value, started, ended, outcome, error)
        self.calls.append(call)
        return call

    async def _sleep(self, seconds: float) -> None:
        if self.is_async:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)  # noqa: ASYNC251 - there is no loop


def _run_all(callers: list[_Caller], work: Callable[[_Caller], Coroutine[Any, Any, None]]) -> None:
    """Let all callers work at once, each in a thread, and raise what any of them raised."""

    def to_its_end(caller: _Caller) -> None:
        with suppress(StopIteration):  # a coroutine that awaits nothing ends at the first step
            work(caller).send(None)

    with ThreadPoolExecutor(len(callers)) as pool:
        for running in [pool.submit(to_its_end, caller) for caller in callers]:
            running.result()


async def _gather_all(
    callers: list[_Caller], work: Callable[[_Caller], Coroutine[Any, Any, None]]
) -> None:
    await asyncio.gather(*map(work, callers))


def _answer(answer: Any) -> None:
    # Buffered, whatever PYTHONUNBUFFERED says: a pause of the process may cut a raw write short.
    with open(sys.stdout.fileno(), "w", closefd=False) as out:
        out.write(json.dumps(answer) + "\n")


def _serve(plan: WorkerPlan) -> None:
    config = CacheConfig(**plan.config)
    with (
        sabotaged_scripts(*plan.sabotage) if plan.sabotage else nullcontext(),
        open_manager(
            plan.kind, plan.database_url, plan.redis_url, config, observer=_observe
        ) as manager,
    ):
        called = manager.manager if isinstance(manager, Synchronous) else manager
        callers = [_Caller(plan, called, number) for number in range(plan.callers)]
        _answer("ready")
        for line in sys.stdin:
            ((command, seconds),) = json.loads(line).items()
            working = callers if command == "run" else callers[:1]
            work = partial(getattr(_Caller, command), seconds=seconds)
            if isinstance(manager, Synchronous):
                manager.run(_gather_all(working, work))
            else:
                _run_all(working, work)
            _answer([call for caller in working for call in caller.calls])
            for caller in working:
                caller.calls.clear()


if __name__ == "__main__":
    _serve(WorkerPlan(**json.loads(sys.stdin.readline())))
