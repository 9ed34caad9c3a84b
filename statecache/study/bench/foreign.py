"""A second process that writes to some of the ids while a mix runs.

It has a manager of its own on the same table, and with a cache on the same entries.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import redis
from psycopg_pool import ConnectionPool

from statecache import CacheConfig, CachedStateManager, StateManager
from statecache.study.bench.ledger import Write
from statecache.study.bench.stage import document
from statecache.study.errors import StudyError

if TYPE_CHECKING:
    from statecache.study.servers import Servers

__all__ = ["FIRST_NUMBER", "Foreign", "foreign_writer"]

#: Numbers of its writes begin here, so that they differ from the first process's.
FIRST_NUMBER = 1 << 40

#: Between two of its writes, in seconds: a steady neighbour, not a competitor for the cores.
PAUSE_S = 0.01

START_TIMEOUT_S = 60.0


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
def foreign_writer(
    servers: Servers, configs: dict[str, tuple[CacheConfig, bool]], ids: Sequence[str]
) -> Iterator[Foreign]:
    """Run the writer beside the block; ``configs`` is variant → (configuration, with a cache)."""
    # Not forked: this process holds an event loop, threads and connections.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_main,
        args=(theirs, servers.database_url, servers.redis_url, configs, list(ids)),
        daemon=True,
    )
    process.start()
    theirs.close()
    try:
        _wait_until_ready(ours)
        yield Foreign(ours)
    finally:
        ours.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _wait_until_ready(pipe: Connection) -> None:
    try:
        if pipe.poll(START_TIMEOUT_S):
            pipe.recv()
            return
    except EOFError:
        pass
    raise StudyError("the second process of the benchmark did not start: see what it said above.")


def _main(
    pipe: Connection,
    database_url: str,
    redis_url: str,
    configs: dict[str, tuple[CacheConfig, bool]],
    ids: list[str],
) -> None:
    # Ctrl-C reaches the whole group; the first process ends this one by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number = FIRST_NUMBER
    with ExitStack() as stack:
        pool = stack.enter_context(
            ConnectionPool(database_url, min_size=1, max_size=1, kwargs={"autocommit": True})
        )
        client = stack.enter_context(redis.Redis.from_url(redis_url))
        managers: dict[str, StateManager] = {}
        for variant, (config, cached) in configs.items():
            if cached:
                manager: StateManager = CachedStateManager(pool, client, config=config)
            else:
                manager = StateManager(pool, config=config)
            managers[variant] = stack.enter_context(manager)
        pool.wait()
        try:
            pipe.send("ready")
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
        except (EOFError, BrokenPipeError):
            return
