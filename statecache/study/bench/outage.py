"""What callers feel while the cache is dead, hung, slow or resets connections, and afterwards.

``python -m statecache.study.bench.outage`` runs every trouble with threads and with asyncio, on
servers of its own and with the managers' default settings, and writes the figures as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import redis
import redis.asyncio
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from statecache import AsyncCachedStateManager, CacheConfig, CachedStateManager, init_db
from statecache.study.bench.outage_load import Board, Call, Caller, run_tasks, run_threads
from statecache.study.bench.process import OwnServers, own_servers
from statecache.study.bench.trouble_relay import TroubleRelay, running_relay
from statecache.study.environment import machine, packages
from statecache.study.errors import StudyError
from statecache.study.servers import describe

__all__ = ["KINDS", "TROUBLES", "main", "measure_outage"]

FORMAT = 1
KINDS = ("threads", "asyncio")
TROUBLES = ("dead", "hung", "slow", "resetting")

DELAY_MS = 100
#: Bytes of answers after which a connection is reset: within the handshake, or somewhat later.
RESET_AFTER = (1, 1_000)

OPERATIONS = 10_000
CALLERS = 8
#: Readers with a manager of their own, who see the others' writes through the cache only.
OTHERS = 2
WARM_UP_S = 1.0
#: How long the recovery is watched, and how long it is waited for.
RECOVERY_S = 3.0
RECOVERY_LIMIT_S = 30.0
#: How soon the cache is to be used again.
USED_AGAIN_S = 2.0


def measure_outage(own: OwnServers, kind: str, trouble: str, operations: int) -> dict[str, Any]:
    """Return the figures of one trouble for one kind of caller; see ``_figures``.

    The cache is healthy for ``operations`` calls, in trouble for as many, and back again.
    """
    schema = f"outage_{kind}_{trouble}"
    config = CacheConfig(schema=schema, key_prefix=f"{schema}:")
    init_db(own.servers.database_url, schema=schema)
    board = Board()
    writers = [Caller(board, number, writes=True) for number in range(CALLERS)]
    others = [Caller(board, CALLERS + number, writes=False) for number in range(OTHERS)]
    with running_relay(own.servers.redis_url) as relay, _logged() as lines:
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
            with _in_trouble(own, relay, trouble):
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
    return figures | _figures(board, writers, others, held) | {"log_lines": len(lines)}


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
                    board.acknowledged[key] = 0
            board.phase = "warm"
            pairs = [(one, manager if one.writes else other) for one in board.callers]
            run_threads(pairs, board)
            board.at_end = [
                {key: one.load_state(key)["count"] for key in board.keys}
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
                    board.acknowledged[key] = 0
            board.phase = "warm"
            pairs = [(one, manager if one.writes else other) for one in board.callers]
            await run_tasks(pairs, board)
            board.at_end = [
                {key: (await one.load_state(key))["count"] for key in board.keys}
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


@contextmanager
def _in_trouble(own: OwnServers, relay: TroubleRelay, trouble: str) -> Iterator[None]:
    """Make the trouble; after the block the cache answers again."""
    cache = own.cache
    begin: dict[str, Callable[[], None]] = {
        "dead": cache.kill,
        "hung": cache.stop,
        "slow": lambda: relay.delay(DELAY_MS),
        "resetting": lambda: relay.reset(*RESET_AFTER),
    }
    end = {"dead": cache.start, "hung": cache.go_on}
    begin[trouble]()
    try:
        yield
    finally:
        end.get(trouble, relay.heal)()


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect what the managers log instead of showing it."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("statecache")
    log.addHandler(handler)
    log.propagate = False
    try:
        yield lines
    finally:
        log.propagate = True
        log.removeHandler(handler)


def _pass(board: Board, over: Callable[[], bool]) -> None:
    """Wait until a phase is over; raises ``StudyError`` where that takes far too long."""
    until = time.monotonic() + 300.0
    while not over():
        if time.monotonic() > until:
            raise StudyError(f"The phase {board.phase} does not end: please report this.")
        time.sleep(0.01)


def _count(callers: Sequence[Caller], phase: str) -> int:
    return sum(caller.done[phase] for caller in callers)


# The figures.


def _figures(
    board: Board, writers: Sequence[Caller], others: Sequence[Caller], held: dict[str, int]
) -> dict[str, Any]:
    """Return what one case found; latencies in ms, other times in seconds."""
    calls = [call for caller in writers for call in caller.calls]
    everybody = [*writers, *others]
    errors = sum((caller.errors for caller in everybody), Counter())
    late = [at for caller in others for phase, at in caller.stale if phase == "recovery"]
    healthy, outage = _latencies(calls, "healthy"), _latencies(calls, "outage")
    return {
        "operations": sum(call.phase == "outage" for call in calls),
        "errors": errors.total(),
        "errors_by_text": dict(errors.most_common(10)),
        "wrong_answers": sum(caller.wrong.total() for caller in everybody),
        "acknowledged_writes": sum(count + 1 for count in board.acknowledged.values()),
        "lost_writes": sum(held.get(key, -1) < n for key, n in board.acknowledged.items()),
        "stale_reads": {
            # By the manager that wrote, at any time.
            "own": sum(len(caller.stale) for caller in writers),
            # By another manager: the cache has acknowledged nothing of what it was not told of.
            "others_healthy": _stale(others, "healthy"),
            "others_outage": _stale(others, "outage"),
            "others_recovery": len(late),
            "others_last_s": round(max(late) - board.back_at, 4) if late else None,
            "at_the_end": sum(
                found[key] < held.get(key, -1) for found in board.at_end for key in found
            ),
        },
        "latency_ms": {
            "healthy": healthy,
            "outage": outage,
            "added": {
                operation: {
                    name: round(outage[operation][name] - value, 3)
                    for name, value in healthy[operation].items()
                }
                for operation in healthy
            },
        },
        "used_again_s": _since(board.hit_at, board.back_at),
        "written_again_s": _since(board.stored_at, board.back_at),
    }


def _latencies(calls: Sequence[Call], phase: str) -> dict[str, dict[str, float]]:
    chosen = [call for call in calls if call.phase == phase]
    found = {}
    for operation in ("all", "load", "update"):
        seconds = [call.seconds for call in chosen if operation in ("all", call.operation)]
        p50, p99, p999, worst = np.percentile(seconds, [50, 99, 99.9, 100]) * 1e3
        found[operation] = {
            "p50": round(float(p50), 3),
            "p99": round(float(p99), 3),
            "p99.9": round(float(p999), 3),
            "max": round(float(worst), 3),
        }
    return found


def _stale(callers: Sequence[Caller], phase: str) -> int:
    return sum(one == phase for caller in callers for one, _at in caller.stale)


def _since(at: float | None, start: float) -> float | None:
    return None if at is None else round(at - start, 4)


def _goals(case: dict[str, Any]) -> dict[str, bool]:
    stale = case["stale_reads"]
    return {
        "no errors": case["errors"] == 0,
        "right answers": case["wrong_answers"] == 0,
        "no lost writes": case["lost_writes"] == 0,
        "never older than the own write": stale["own"] == 0,
        "others never older while healthy": stale["others_healthy"] == 0,
        "nothing stale in the end": stale["at_the_end"] == 0,
        "logged once": case["log_lines"] <= 4,
        "used again in 2 s": (case["used_again_s"] or 1e9) <= USED_AGAIN_S,
    }


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
                cases.append(case | {"goals": _goals(case)})
                sys.stderr.write(_line(cases[-1]) + "\n")
    text = json.dumps({"format": FORMAT, **about, "cases": cases}, indent=1)
    if chosen.out is None:
        print(text)  # noqa: T201
    else:
        chosen.out.write_text(text + "\n")
    return 0 if all(all(case["goals"].values()) for case in cases) else 1


def _line(case: dict[str, Any]) -> str:
    added = case["latency_ms"]["added"]["all"]
    missed = [goal for goal, met in case["goals"].items() if not met]
    return (
        f"{case['callers']:8} {case['trouble']:10} {case['operations']} calls, "
        f"{case['errors']} errors, {case['lost_writes']} lost, "
        f"added p50 {added['p50']:.2f} p99 {added['p99']:.2f} max {added['max']:.1f} ms, "
        f"used again after {case['used_again_s']} s; "
        f"{'missed: ' + ', '.join(missed) if missed else 'all goals met'}"
    )


if __name__ == "__main__":
    sys.exit(main())
