"""Cancelled and interrupted callers leak no connection and break no neighbour."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pytest
import redis
import redis.asyncio
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from support.interrupts import (
    Interrupted,
    Victim,
    eventually,
    interrupted_when,
    named_connections,
)
from support.scratch import Scratch

import statecache
from statecache import (
    AsyncCachedStateManager,
    AsyncStateManager,
    CachedStateManager,
    StateManager,
)

CODE = str(Path(statecache.__file__).parent)
POOL_SIZE = 4
NEIGHBOURS = 6
#: Calls that are interrupted, and connections that psycopg_pool may lose to that.
INTERRUPTS = 20
SPARE = 3


class TimeLimitError(Exception):
    """What task queues raise in a worker that takes too long."""


def pool_options(scratch: Scratch, size: int, autocommit: bool = True) -> dict[str, Any]:
    return {
        "min_size": size,
        "max_size": size,
        "timeout": 5.0,
        "kwargs": {"autocommit": autocommit, "application_name": scratch.schema},
    }


def backends(scratch: Scratch) -> list[str]:
    """Return what each of the pool's connections is doing, as PostgreSQL sees it."""
    rows = scratch.sql(
        "SELECT state FROM pg_stat_activity WHERE application_name = %s", scratch.schema
    )
    return [state for (state,) in rows]


def at_rest(pool: Any, scratch: Scratch) -> bool:
    """Whether every connection is back in its pool and does nothing."""
    stats = pool.get_stats()
    return (
        stats["pool_available"] == stats["pool_size"] == stats["pool_max"]
        and not stats["requests_waiting"]
        and backends(scratch) == ["idle"] * stats["pool_max"]
    )


def check_victims(scratch: Scratch, loaded: dict[str, Any], tried: dict[str, set[Any]]) -> None:
    """Whatever became of an interrupted write, the manager that made it knows the truth."""
    rows = dict(scratch.sql("SELECT trigger_id, state_data FROM {t}"))
    for name, state in loaded.items():
        assert state == rows.get(name)
        assert state is None or state in tried[name]


# asyncio


@asynccontextmanager
async def opened(
    scratch: Scratch, *, autocommit: bool = True, **changes: Any
) -> AsyncIterator[tuple[AsyncConnectionPool[Any], AsyncCachedStateManager]]:
    client = redis.asyncio.Redis.from_url(scratch.redis_url, client_name=scratch.schema)
    options = pool_options(scratch, POOL_SIZE, autocommit)
    async with (
        AsyncConnectionPool(scratch.database_url, open=False, **options) as pool,
        AsyncCachedStateManager(pool, client, config=scratch.config(**changes)) as manager,
    ):
        await pool.wait()
        yield pool, manager
    await client.aclose()


async def neighbour(manager: AsyncStateManager, name: str, ended: asyncio.Event) -> int:
    """Write distinct values and read each back until told to end; a foreign reply would show."""
    count = 0
    while not ended.is_set():
        state = [name, count]
        await manager.update_state(name, state)
        for _ in range(3):
            assert await manager.load_state(name) == state
        if count % 8 == 7:
            await manager.delete_state(name)
            assert await manager.load_state(name) is None
        count += 1
    return count


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_db_reads": 2},
        {"gather": True},
        {"gather": True, "memory_items": 100, "max_db_reads": 2},
        {"autocommit": False},
    ],
    ids=str,
)
def test_cancelled_at_random(scratch: Scratch, changes: dict[str, Any]) -> None:
    dice = random.Random(1)
    autocommit = changes.pop("autocommit", True)

    async def run() -> None:
        async with opened(scratch, autocommit=autocommit, **changes) as (pool, manager):
            ended = asyncio.Event()
            neighbours = [
                asyncio.create_task(neighbour(manager, f"neighbour {number}", ended))
                for number in range(NEIGHBOURS)
            ]
            tried: dict[str, set[Any]] = {f"victim {number}": set() for number in range(5)}
            cancelled = 0
            for number in range(400):
                name = f"victim {number % len(tried)}"
                call = [
                    manager.load_state(name),
                    manager.update_state(name, number),
                    manager.delete_state(name),
                ]
                chosen = call.pop(dice.choice((0, 0, 1, 1, 1, 2)))
                for other in call:
                    other.close()
                tried[name].add(number)
                task = asyncio.create_task(chosen)
                if number % 2:  # after so many turns of the loop, or so much time
                    for _ in range(dice.randrange(40)):
                        await asyncio.sleep(0)
                else:
                    await asyncio.sleep(dice.uniform(0, 0.01))
                task.cancel()
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                cancelled += isinstance(outcome, asyncio.CancelledError)
                assert outcome is None or isinstance(outcome, int | asyncio.CancelledError)
            ended.set()
            assert min(await asyncio.gather(*neighbours)) > 5
            assert cancelled > 50
            await asyncio.to_thread(eventually, lambda: at_rest(pool, scratch), 10.0)
            loaded = {name: await manager.load_state(name) for name in tried}
            check_victims(scratch, loaded, tried)
            assert manager.get_cache_stats().hits
            async with AsyncExitStack() as stack:
                for _ in range(POOL_SIZE):
                    connection = await stack.enter_async_context(pool.connection())
                    assert connection.autocommit is autocommit, "left as it was"
            assert named_connections(scratch.cache, scratch.schema) <= 2 * (NEIGHBOURS + 1)
        await asyncio.to_thread(
            eventually, lambda: not named_connections(scratch.cache, scratch.schema)
        )

    asyncio.run(run())
    eventually(lambda: not backends(scratch))


def test_cancelled_while_waiting(scratch: Scratch) -> None:
    """At the two places where a caller waits longest: for its row, and for a connection."""

    async def run() -> None:
        async with opened(scratch) as (pool, manager):
            await manager.update_state("t", "before")
            with row_held(scratch):
                tasks = [
                    asyncio.create_task(manager.update_state("t", number))
                    for number in range(2 * POOL_SIZE)
                ]
                await asyncio.to_thread(eventually, lambda: lock_waits(scratch) == POOL_SIZE)
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
            await asyncio.to_thread(eventually, lambda: at_rest(pool, scratch), 10.0)
            assert await manager.load_state("t") == "before"
            await manager.update_state("t", "after")
            assert await manager.load_state("t") == "after"

    asyncio.run(run())


@contextmanager
def row_held(scratch: Scratch) -> Iterator[None]:
    """Let another transaction hold every row: whoever updates one waits in PostgreSQL."""
    with psycopg.connect(scratch.database_url) as holder:
        holder.execute(f"SELECT FROM {scratch.schema}.trigger_state FOR UPDATE")
        yield


def lock_waits(scratch: Scratch) -> int:
    return int(
        scratch.sql(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = %s AND wait_event_type = 'Lock'",
            scratch.schema,
        )[0][0]
    )


# Threads


@contextmanager
def opened_sync(
    scratch: Scratch, size: int, *, spare: int = 0, **changes: Any
) -> Iterator[tuple[ConnectionPool[Any], CachedStateManager]]:
    client = redis.Redis.from_url(scratch.redis_url, client_name=scratch.schema)
    options = pool_options(scratch, size) | {"max_size": size + spare}
    with (
        ConnectionPool(scratch.database_url, **options) as pool,
        CachedStateManager(pool, client, config=scratch.config(**changes)) as manager,
    ):
        pool.wait()
        yield pool, manager
    client.close()


def sync_neighbour(manager: StateManager, name: str, ended: threading.Event) -> int:
    count = 0
    while not ended.is_set():
        state = [name, count]
        manager.update_state(name, state)
        for _ in range(3):
            assert manager.load_state(name) == state
        if count % 8 == 7:
            manager.delete_state(name)
            assert manager.load_state(name) is None
        count += 1
    return count


# Interrupted right after it was made, a socket is closed by the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_threads_interrupted_at_random(scratch: Scratch) -> None:
    dice = random.Random(2)
    # As many connections as callers, and one for the repairer: nobody waits in the pool's queue,
    # where an interrupt loses a connection.
    size = NEIGHBOURS + 2
    with opened_sync(scratch, size, spare=SPARE) as (pool, manager):
        ended = threading.Event()
        neighbours = [
            Victim(partial(sync_neighbour, manager, f"neighbour {number}", ended))
            for number in range(NEIGHBOURS)
        ]
        tried: dict[str, set[Any]] = {f"victim {number}": set() for number in range(5)}
        interrupted = 0
        # A quick machine has ended most calls before they are interrupted: try until enough were.
        for number in itertools.count():
            if interrupted == INTERRUPTS:
                break
            assert number < 5_000, f"only {interrupted} of {number} calls could be interrupted"
            name = f"victim {number % len(tried)}"
            tried[name].add(number)
            calls = (
                partial(manager.load_state, name),
                partial(manager.update_state, name, number),
                partial(manager.delete_state, name),
            )
            victim = Victim(calls[dice.choice((0, 0, 1, 1, 1, 2))])
            time.sleep(dice.uniform(0, 0.003))
            victim.interrupt()
            outcome = victim.end()
            interrupted += isinstance(outcome, Interrupted)
            assert outcome is None or isinstance(outcome, int | Interrupted)
        ended.set()
        assert min(neighbour.end() for neighbour in neighbours) > 5
        loaded = {name: manager.load_state(name) for name in tried}
        check_victims(scratch, loaded, tried)
        # An interrupt can hit the instructions between two lines of the pool, which no code of ours
        # can guard. A leak would show nearly every time.
        eventually(lambda: pool.get_stats()["pool_available"] >= size - SPARE)
        assert named_connections(scratch.cache, scratch.schema) <= 2 * (NEIGHBOURS + 1)
    eventually(lambda: not named_connections(scratch.cache, scratch.schema))
    eventually(lambda: not backends(scratch))
    gc.collect()


class Tracer:
    """Interrupts a thread at the entry of the manager's ``number``-th function."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(CODE):
            self.left -= 1
            if not self.left:
                sys.settrace(None)
                raise Interrupted


@pytest.mark.parametrize(
    ("what", "memory_items"),
    [("load", 0), *itertools.product(["update", "delete", "replace"], [0, 100])],
)
def test_a_thread_interrupted_at_any_function_of_the_manager_s(
    scratch: Scratch, what: str, memory_items: int
) -> None:
    with opened_sync(scratch, 2, spare=4, memory_items=memory_items) as (pool, manager):
        for number in itertools.count(1):
            name, tracer = f"t{number}", Tracer(number)
            manager.update_state(name, "old")
            if what == "load":
                scratch.cache.delete(scratch.prefix + name)
            elif memory_items:
                eventually(partial(is_in_memory, manager, name))
            call = {
                "update": partial(manager.update_state, name, "new"),
                "delete": partial(manager.delete_state, name),
                "replace": partial(
                    manager.update_state, name, "new", expected_version=scratch.version(name)
                ),
                "load": partial(manager.load_state, name),
            }[what]

            def traced(call: Callable[[], Any] = call, tracer: Tracer = tracer) -> None:
                sys.settrace(tracer)
                try:
                    call()
                finally:
                    sys.settrace(None)

            interrupted = isinstance(Victim(traced).end(), Interrupted)
            # Neither this manager nor a thread that comes later is left with what was.
            later = Victim(partial(manager.load_state, name)).end()
            rows = dict(scratch.sql("SELECT trigger_id, state_data FROM {t}"))
            assert later == manager.load_state(name) == rows[name]
            if not interrupted:
                break
        assert number > 15, "there are more functions than that"
        eventually(lambda: pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"])
        eventually(lambda: not manager.get_cache_stats().unrepaired)


def is_in_memory(manager: CachedStateManager, name: str) -> bool:
    before = manager.get_cache_stats().memory_hits
    manager.load_state(name)
    return manager.get_cache_stats().memory_hits > before


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeLimitError])
def test_the_main_thread_interrupted_while_it_waits_for_its_row(
    scratch: Scratch, error: type[BaseException]
) -> None:
    # What commits after it was given up, and after the key was repaired, is seen after the TTL.
    with opened_sync(scratch, POOL_SIZE, ttl_secs=1.0) as (pool, manager):
        manager.update_state("t", "before")
        with row_held(scratch), interrupted_when(lambda: lock_waits(scratch), error):
            manager.update_state("t", "late")
        eventually(lambda: at_rest(pool, scratch))
        # Only after a KeyboardInterrupt does psycopg cancel what the server is doing.
        possible = ("before",) if error is KeyboardInterrupt else ("before", "late")
        assert manager.load_state("t") in possible
        # What was given up may still be committed once it gets its row: then it is seen.
        row = "SELECT state_data FROM {t} WHERE trigger_id = 't'"
        eventually(lambda: [(manager.load_state("t"),)] == scratch.sql(row))
        assert manager.load_state("t") in possible
        manager.update_state("t", "after")
        assert manager.load_state("t") == "after"


@pytest.mark.parametrize(
    "error",
    [
        TimeLimitError,
        pytest.param(
            KeyboardInterrupt,
            marks=pytest.mark.xfail(
                strict=True, reason="psycopg_pool gives a connection to who waits no more"
            ),
        ),
    ],
)
def test_the_main_thread_interrupted_while_it_waits_for_a_connection(
    scratch: Scratch, error: type[BaseException]
) -> None:
    with opened_sync(scratch, POOL_SIZE) as (pool, manager):
        manager.update_state("t", "before")
        with row_held(scratch):
            writers = [Victim(partial(manager.update_state, "t", n)) for n in range(POOL_SIZE)]
            eventually(lambda: lock_waits(scratch) == POOL_SIZE)
            with interrupted_when(lambda: pool.get_stats()["requests_waiting"], error):
                manager.update_state("u", "lost")
        assert [writer.end() for writer in writers] == [None] * POOL_SIZE
        eventually(lambda: at_rest(pool, scratch), 5.0)
        assert manager.load_state("u") is None
        manager.update_state("u", "after")
        assert manager.load_state("u") == "after"
