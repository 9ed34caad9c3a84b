"""A second process that writes to some of the ids while a mix runs.

It has a manager of its own on the same table, and with a cache on the same entries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import redis
from psycopg_pool import ConnectionPool

from statecache import CacheConfig, CachedStateManager, StateManager
from statecache.study.bench.neighbour import running_neighbour
from statecache.study.harness.documents import document
from statecache.study.harness.ledger import Write
from statecache.study.servers import Servers

__all__ = ["FIRST_NUMBER", "Foreign", "running_foreign", "writing_meanwhile"]

#: Numbers of its writes begin here, so that they differ from the first process's.
FIRST_NUMBER = 1 << 40

#: Between two of its writes, in seconds: a steady neighbour, not a competitor for the cores.
PAUSE_S = 0.01


class Foreign:
    """The writer as the benchmark sees it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def start(self, variant: str) -> None:
        """Let it write to the variant's table from now on."""
        self._pipe.send(variant)

    def stop(self) -> list[Write]:
        """Let it stop, and return the writes that were acknowledged to it."""
        self._pipe.send(None)
        writes: list[Write] = self._pipe.recv()
        return writes


@contextmanager
def writing_meanwhile(foreign: Foreign | None, variant: str) -> Iterator[list[Write]]:
    """Let it write during the block; the list yielded holds its writes afterwards."""
    writes: list[Write] = []
    if foreign is None:
        yield writes
        return
    foreign.start(variant)
    try:
        yield writes
    finally:
        writes += foreign.stop()


@contextmanager
def running_foreign(
    servers: Servers, configs: Mapping[str, tuple[CacheConfig, bool]], ids: Sequence[str]
) -> Iterator[Foreign]:
    """Run the writer beside the block; ``configs`` is variant → (configuration, with a cache)."""
    urls = servers.database_url, servers.redis_url
    with running_neighbour(_main, *urls, dict(configs), list(ids)) as pipe:
        yield Foreign(pipe)


def _main(
    pipe: Connection,
    database_url: str,
    redis_url: str,
    configs: dict[str, tuple[CacheConfig, bool]],
    ids: list[str],
) -> None:
    number = FIRST_NUMBER
    with ExitStack() as stack:
        pool = stack.enter_context(
            ConnectionPool(database_url, min_size=1, max_size=1, kwargs={"autocommit": True})
        )
        client = stack.enter_context(redis.Redis.from_url(redis_url))
        managers: dict[str, StateManager] = {}
        for variant, (config, cached) in configs.items():
            manager = (
                CachedStateManager(pool, client, config=config)
                if cached
                else StateManager(pool, config=config)
            )
            managers[variant] = stack.enter_context(manager)
        pool.wait()
        pipe.send(True)
        while True:
            manager = managers[pipe.recv()]
            writes: list[Write] = []
            while not pipe.poll(PAUSE_S):
                trigger_id = ids[number % len(ids)]
                began = time.monotonic()
                manager.update_state(trigger_id, document(number))
                writes.append(Write(trigger_id, number, began, time.monotonic()))
                number += 1
            pipe.recv()
            pipe.send(writes)
