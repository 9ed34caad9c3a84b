"""The read paths: by hand on psycopg, and through other cache libraries."""

from __future__ import annotations

from typing import Any

import orjson
import redis
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from statecache.study.bench.rows import AT_LEAST, AT_MOST, Findings, Goal, Row, paired_row
from statecache.study.bench.stage import Stage
from statecache.study.bench.yardsticks import (
    AsyncLoader,
    Loader,
    Yardstick,
    aiocache_through,
    cashews_through,
    dogpile_through,
)
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.harness.timing import TimedRound, cycle, interleave, timed, timed_async

__all__ = ["measure_paths", "measure_reads"]

IDS = trigger_ids(128)
HITTING, MISSING = IDS[:64], IDS[64:]
POOL_SIZE = 8
CALLERS = 32


async def measure_reads(stage: Stage) -> Findings:
    """The managers without a cache against the same SELECT by hand: the baseline is honest."""
    with stage.workspace(["reads"], IDS) as workspace:
        async with Opening(stage.servers) as opening:
            config = stage.config(workspace, "reads")
            pool, async_pool = opening.pool(POOL_SIZE), await opening.async_pool(POOL_SIZE)
            sync = opening.manager(pool, config)
            asynchronous = await opening.async_manager(async_pool, config)
            read = by_hand(pool, workspace.schema("reads"))
            async_read = async_by_hand(async_pool, workspace.schema("reads"))

            async def async_load(trigger_id: str) -> Any:
                return orjson.loads(await async_read(trigger_id))

            calls = cycle(IDS, stage.effort.calls)
            many = cycle(IDS, stage.effort.concurrent_calls)
            rounds = {
                "sync": timed(sync.load_state, calls),
                "sync hand": timed(lambda trigger_id: orjson.loads(read(trigger_id)), calls),
                "async": timed_async(asynchronous.load_state, calls),
                "async hand": timed_async(async_load, calls),
                "callers": timed_async(asynchronous.load_state, many, CALLERS),
                "callers hand": timed_async(async_load, many, CALLERS),
            }
            # Five per cent is little to be told from chance.
            pairs = 3 * stage.effort.pairs
            seconds = await interleave(rounds, pairs=pairs, seed=stage.seed, on_turn=stage.progress)
    rates = {name: [1 / one for one in values] for name, values in seconds.items()}

    def row(kind: str, what: str) -> Row:
        return paired_row(
            f"reads_{kind}",
            what,
            "the same SELECT by hand on psycopg, autocommit, same pool",
            (rates[kind], rates[f"{kind} hand"]),
            goal=Goal(AT_LEAST, 0.95),
            unit="reads/s",
        )

    return Findings(
        [
            row("sync", "StateManager reads, throughput"),
            row("async", "AsyncStateManager reads, throughput"),
            row("callers", f"AsyncStateManager reads, {CALLERS} callers, throughput"),
        ]
    )


async def measure_paths(stage: Stage) -> Findings:
    """Hit and miss through Redis against dogpile.cache, cashews and aiocache."""
    with stage.workspace(["paths"], IDS) as workspace:
        async with Opening(stage.servers) as opening:
            config = stage.config(workspace, "paths")
            schema, prefix = workspace.schema("paths"), workspace.key_prefix("paths")
            pool, async_pool = opening.pool(POOL_SIZE), await opening.async_pool(POOL_SIZE)
            sync = opening.cached(pool, config)
            asynchronous = await opening.async_cached(async_pool, config)
            url, read = stage.servers.redis_url, async_by_hand(async_pool, schema)
            subjects = {
                "sync": Yardstick(sync.load_state, lambda one: prefix + one),
                "async": Yardstick(asynchronous.load_state, lambda one: prefix + one),
                "dogpile.cache": dogpile_through(url, f"{prefix}dogpile:", by_hand(pool, schema)),
                "cashews": await opening.enter_async_context(
                    cashews_through(url, f"{prefix}cashews:", read)
                ),
                "aiocache": await opening.enter_async_context(
                    aiocache_through(url, f"{prefix}aiocache:", read)
                ),
            }
            rounds = await _path_rounds(stage, subjects, opening.client())
            measured = await interleave(
                rounds, pairs=stage.effort.pairs, seed=stage.seed, on_turn=stage.progress
            )
            opening.check()
    return Findings(
        [
            paired_row(
                f"{path}_{peer}",
                f"load_state, {path} path, {kind}",
                peer,
                (measured[f"{kind} {path}"], measured[f"{peer} {path}"]),
                goal=Goal(AT_MOST, 1.0),
                scale=1e6,
                unit="µs",
            )
            for kind, peer in (
                ("sync", "dogpile.cache"),
                ("async", "cashews"),
                ("async", "aiocache"),
            )
            for path in ("hit", "miss")
        ]
    )


async def _path_rounds(
    stage: Stage, subjects: dict[str, Yardstick], client: redis.Redis
) -> dict[str, TimedRound]:
    rounds: dict[str, TimedRound] = {}
    for name, subject in subjects.items():
        waits = name not in ("sync", "dogpile.cache")
        run = timed_async if waits else timed
        # An id misses once a round, so there are as many as calls; those that hit stay there.
        miss = run(subject.load, MISSING[: stage.effort.calls])
        rounds[f"{name} miss"] = _after_forgetting(client, subject, miss)
        hit = rounds[f"{name} hit"] = run(subject.load, cycle(HITTING, stage.effort.calls))
        await hit()
    return rounds


def _after_forgetting(client: redis.Redis, subject: Yardstick, measure: TimedRound) -> TimedRound:
    async def run() -> float:
        client.unlink(*map(subject.key, MISSING))
        return await measure()

    return run


def by_hand(pool: ConnectionPool[Any], schema: str) -> Loader:
    """Return what reads a state's text as one would write it by hand."""
    select = _select(schema).as_bytes(None)

    def read(trigger_id: str) -> str:
        with pool.connection() as connection:
            row = connection.execute(select, (trigger_id,)).fetchone()
        assert row is not None  # noqa: S101 - every id is loaded
        return str(row[0])

    return read


def async_by_hand(pool: AsyncConnectionPool[Any], schema: str) -> AsyncLoader:
    """Return the same for coroutines."""
    select = _select(schema).as_bytes(None)

    async def read(trigger_id: str) -> str:
        async with pool.connection() as connection:
            row = await (await connection.execute(select, (trigger_id,))).fetchone()
        assert row is not None  # noqa: S101 - every id is loaded
        return str(row[0])

    return read


def _select(schema: str) -> sql.Composed:
    # The alias lets the servers' counters know whose statement this is.
    return sql.SQL(
        "SELECT state_data::text, version FROM {}.trigger_state AS {} WHERE trigger_id = %s"
    ).format(sql.Identifier(schema), sql.Identifier(schema))
