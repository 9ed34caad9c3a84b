"""A second process that reads through its in-process tier until it sees a write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import redis.asyncio
from psycopg_pool import AsyncConnectionPool

from statecache import AsyncCachedStateManager, CacheConfig
from statecache.study.bench.neighbour import running_neighbour
from statecache.study.errors import StudyError
from statecache.study.servers import Servers

__all__ = ["Watcher", "running_watcher"]

#: A load that takes less than this did not ask anybody: Redis takes several times as long.
LOCAL_S = 40e-6
#: How long to wait for the tier to hold a state, in seconds.
HOLD_TIMEOUT_S = 15.0
SIGHT_TIMEOUT_S = 120.0


class Watcher:
    """The reader as the benchmark sees it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def watch(self, trigger_id: str, number: int) -> None:
        """Let it read this id until it sees this write; return once it holds an older one."""
        self._pipe.send((trigger_id, number))
        if not self._pipe.recv():
            raise StudyError(
                f"the second process did not hold a state of its own within {HOLD_TIMEOUT_S:g} s: "
                "is the machine too busy?"
            )

    def seen(self) -> float:
        """Return when it saw the write, in seconds of the system's monotonic clock."""
        if not self._pipe.poll(SIGHT_TIMEOUT_S):
            raise StudyError(f"a write was not seen within {SIGHT_TIMEOUT_S:g} s: please report.")
        return float(self._pipe.recv())


@contextmanager
def running_watcher(servers: Servers, redis_url: str, config: CacheConfig) -> Iterator[Watcher]:
    """Run the reader beside the block."""
    with running_neighbour(_main, servers.database_url, redis_url, config) as pipe:
        yield Watcher(pipe)


def _main(pipe: Connection, database_url: str, redis_url: str, config: CacheConfig) -> None:
    asyncio.run(_watch(pipe, database_url, redis_url, config))


async def _watch(pipe: Connection, database_url: str, redis_url: str, config: CacheConfig) -> None:
    async with (
        AsyncConnectionPool(
            database_url, min_size=1, max_size=1, kwargs={"autocommit": True}, open=False
        ) as pool,
        redis.asyncio.Redis.from_url(redis_url) as client,
        AsyncCachedStateManager(pool, client, config=config) as manager,
    ):
        pipe.send(True)
        while True:
            while not pipe.poll():  # noqa: ASYNC110 - the tier's listener goes on meanwhile
                await asyncio.sleep(0)
            trigger_id, number = pipe.recv()
            pipe.send(await _hold(manager, trigger_id))
            while not await _is_seen(manager, trigger_id, number):  # noqa: ASYNC110 - measured
                await asyncio.sleep(0)
            pipe.send(time.monotonic())


async def _is_seen(manager: AsyncCachedStateManager, trigger_id: str, number: int) -> bool:
    return bool((await manager.load_state(trigger_id))["count"] >= number)


async def _hold(manager: AsyncCachedStateManager, trigger_id: str) -> bool:
    """Load until the tier answers; return whether it came to that."""
    until = time.monotonic() + HOLD_TIMEOUT_S
    while time.monotonic() < until:
        started = time.perf_counter()
        await manager.load_state(trigger_id)
        if time.perf_counter() - started < LOCAL_S:
            return True
        await asyncio.sleep(0)
    return False
