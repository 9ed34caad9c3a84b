"""What callers feel while the cache is dead, hung, slow or resets connections, and afterwards.

``python -m statecache.study.bench.outage`` runs every trouble with threads and with asyncio, on
servers of its own and with the managers' default settings, and writes the figures as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import redis
import redis.asyncio
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from statecache import AsyncCachedStateManager, CacheConfig, CachedStateManager, init_db
from statecache.study.bench.outage_figures import figures_of, goals_met, line_of
from statecache.study.bench.outage_load import Board, Caller, run_tasks, run_threads
from statecache.study.environment import machine, packages
from statecache.study.errors import StudyError
from statecache.study.servers import describe
from statecache.study.troubles.causes import in_trouble, trouble_of
from statecache.study.troubles.logs import collected_log
from statecache.study.troubles.own_servers import OwnServers, own_servers
from statecache.study.troubles.relay import running_relay

__all__ = ["KINDS", "TROUBLES", "main", "measure_outage"]

FORMAT = 1
KINDS = ("threads", "asyncio")
TROUBLES = ("dead", "hung", "slow", "resetting")

OPERATIONS = 10_000
CALLERS = 8
#: Readers with a manager of their own, who see the others' writes through the cache only.
OTHERS = 2
WARM_UP_S = 1.0
#: How long the recovery is watched, and how long it is waited for.
RECOVERY_S = 3.0
RECOVERY_LIMIT_S = 30.0


def measure_outage(own: OwnServers, kind: str, trouble: str, operations: int) -> dict[str, Any]:
    """Return the figures of one trouble for one kind of caller; see ``figures_of``.

    The cache is healthy for ``operations`` calls, in trouble for as many, and back again.
    """
    schema = f"outage_{kind}_{trouble}"
    config = CacheConfig(schema=schema, key_prefix=f"{schema}:")
    init_db(own.servers.database_url, schema=schema)
    board = Board()
    writers = [Caller(board, number, writes=True) for number in range(CALLERS)]
    others = [Caller(board, CALLERS + number, writes=False) for number in range(OTHERS)]
    with running_relay(own.servers.redis_url) as relay, collected_log() as lines:
        addresses = own.servers.database_url, relay.address(own.servers.redis_url)
        load = threading.Thread(target=_LOADS[kind], args=(addresses, config, board))
        load.start()
        # Servers end with the thread that started them: this one stays, the callers' does not.
        try:
            _pass(board, lambda: board.phase == "warm")
            board.phase = "warm-up"
            time.sleep(WARM_UP_S)
            board.phase = "healthy"
            _pass(board, lambda: _count(writers, "healthy") >= operations)
            lines.clear()
            with in_trouble(trouble_of(trouble, relay, own.cache, own.empty_cache)):
                board.phase, began = "outage", time.monotonic()
                _pass(board, lambda: _count(writers, "outage") >= operations)
            board.back_at, board.phase = time.monotonic(), "recovery"
            time.sleep(RECOVERY_S)
            until = time.monotonic() + RECOVERY_LIMIT_S
            _pass(board, lambda: board.hit_at is not None or time.monotonic() > until)
        finally:
            board.ended = True
            load.join()
    seconds = board.back_at - began
    with psycopg.connect(own.servers.database_url) as database:
        query = f"SELECT trigger_id, (state_data->>'count')::bigint FROM {schema}.trigger_state"  # noqa: S608
        held: dict[str, int] = dict(database.execute(query.encode()).fetchall())
    figures = {"callers": kind, "trouble": trouble, "seconds": round(seconds, 3)}
    return figures | figures_of(board, writers, others, held) | {"log_lines": len(lines)}


# The load, in a thread beside the one that makes the trouble.


def _threads(addresses: tuple[str, str], config: CacheConfig, board: Board) -> None:
    database_url, redis_url = addresses
    client = redis.Redis.from_url(redis_url)
    with ConnectionPool(database_url, **_POOL) as pool, client:
        pool.wait()
        with (
            CachedStateManager(pool, client, config=config, observer=board.observe) as manager,
            CachedStateManager(pool, client, config=config) as other,
        ):
            for caller in board.callers:
                for key in caller.own:
                    manager.update_state(key, caller.next_state(key))
                    board.writes.acknowledged[key] = 0
            board.phase = "warm"
            pairs = [(one, manager if one.writes else other) for one in board.callers]
            run_threads(pairs, board)
            board.at_end = [
                {key: one.load_state(key)["count"] for key in board.writes.keys}
                for one in (manager, other)
            ]


def _asyncio(addresses: tuple[str, str], config: CacheConfig, board: Board) -> None:
    asyncio.run(_tasks(addresses, config, board))


async def _tasks(addresses: tuple[str, str], config: CacheConfig, board: Board) -> None:
    database_url, redis_url = addresses
    client = redis.asyncio.Redis.from_url(redis_url)
    async with AsyncConnectionPool(database_url, open=False, **_POOL) as pool, client:
        await pool.wait()
        async with (
            AsyncCachedStateManager(pool, client, config=config, observer=board.observe) as manager,
            AsyncCachedStateManager(pool, client, config=config) as other,
        ):
            for caller in board.callers:
                for key in caller.own:
                    await manager.update_state(key, caller.next_state(key))
                    board.writes.acknowledged[key] = 0
            board.phase = "warm"
            pairs = [(one, manager if one.writes else other) for one in board.callers]
            await run_tasks(pairs, board)
            board.at_end = [
                {key: (await one.load_state(key))["count"] for key in board.writes.keys}
                for one in (manager, other)
            ]


_LOADS: dict[str, Callable[[tuple[str, str], CacheConfig, Board], None]] = {
    "threads": _threads,
    "asyncio": _asyncio,
}
#: As many connections as callers: nobody waits for one.
_POOL: dict[str, Any] = {
    "min_size": CALLERS + OTHERS,
    "max_size": CALLERS + OTHERS,
    "kwargs": {"autocommit": True},
}


def _pass(board: Board, over: Callable[[], bool]) -> None:
    """Wait until a phase is over; raises ``StudyError`` where that takes far too long."""
    until = time.monotonic() + 300.0
    while not over():
        if time.monotonic() > until:
            raise StudyError(f"The phase {board.phase} does not end: please report this.")
        time.sleep(0.01)


def _count(callers: Sequence[Caller], phase: str) -> int:
    return sum(caller.done[phase] for caller in callers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print JSON; the exit status is 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--operations", type=int, default=OPERATIONS, help="calls in each phase")
    parser.add_argument("--callers", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--trouble", choices=TROUBLES, nargs="+", default=list(TROUBLES))
    parser.add_argument("--out", type=Path, help="write the JSON there instead of stdout")
    chosen = parser.parse_args(arguments)
    cases = []
    with own_servers() as own:
        about = {"machine": machine(), "packages": packages(), "servers": describe(own.servers)}
        for kind in chosen.callers:
            for trouble in chosen.trouble:
                case = measure_outage(own, kind, trouble, chosen.operations)
                cases.append(case | {"goals": goals_met(case)})
                sys.stderr.write(line_of(cases[-1]) + "\n")
    text = json.dumps({"format": FORMAT, **about, "cases": cases}, indent=1)
    if chosen.out is None:
        print(text)  # noqa: T201
    else:
        chosen.out.write_text(text + "\n")
    return 0 if all(all(case["goals"].values()) for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
