"""A hit in Redis against redis-py's own GET, and a hit in the process against its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cachetools
import orjson

from statecache import CacheStats
from statecache.study.bench.rows import AT_MOST, Findings, Goal, Row, paired_row
from statecache.study.bench.stage import Stage
from statecache.study.bench.yardsticks import cashews_client_side
from statecache.study.errors import StudyError
from statecache.study.harness.documents import document, trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.harness.timing import TimedRound, cycle, interleave, timed, timed_async

__all__ = ["measure_hits", "measure_local_hits"]

#: Ids that take turns, so that no single entry is measured.
IDS = trigger_ids(64)
POOL_SIZE = 2
CALLERS = 32


async def measure_hits(stage: Stage) -> Findings:
    """``load_state`` on a hit against ``orjson.loads(client.get(key))`` with its default pool."""
    with stage.workspace(["hits"], IDS) as workspace:
        async with Opening(stage.servers) as opening:
            config = stage.config(workspace, "hits")
            sync = opening.cached(opening.pool(POOL_SIZE), config)
            asynchronous = await opening.async_cached(await opening.async_pool(POOL_SIZE), config)
            client: Any = opening.client()
            async_client: Any = opening.async_client()
            plain = f"{workspace.key_prefix('hits')}plain:"
            for trigger_id in IDS:
                sync.load_state(trigger_id)
                client.set(plain + trigger_id, orjson.dumps(document(0)), ex=3_600)

            def get(trigger_id: str) -> Any:
                return orjson.loads(client.get(plain + trigger_id))

            async def async_get(trigger_id: str) -> Any:
                return orjson.loads(await async_client.get(plain + trigger_id))

            ids = cycle(IDS, stage.effort.calls)
            many = cycle(IDS, stage.effort.concurrent_calls)
            rounds = {
                "sync": timed(sync.load_state, ids),
                "sync redis-py": timed(get, ids),
                "sync redis-py again": timed(get, ids),
                "async": timed_async(asynchronous.load_state, ids),
                "async redis-py": timed_async(async_get, ids),
                "async redis-py again": timed_async(async_get, ids),
                "callers": timed_async(asynchronous.load_state, many, CALLERS),
                "callers redis-py": timed_async(async_get, many, CALLERS),
            }
            measured = await _measure(
                stage, opening, rounds, [sync.get_cache_stats, asynchronous.get_cache_stats]
            )
    against = "redis-py get + orjson.loads, its default pool"
    row = _rows_of(measured, against)
    goal = Goal(AT_MOST, 1.05)
    at_once = f"load_state, hit in Redis, async, {CALLERS} callers"
    return Findings(
        [
            row("hit_sync", "load_state, hit in Redis, sync", "sync", "sync redis-py", goal),
            row("hit_async", "load_state, hit in Redis, async", "async", "async redis-py", goal),
            row("hit_async_callers", at_once, "callers", "callers redis-py", None),
            row(
                "hit_sync_noise", "noise: it against itself", "sync redis-py again", "sync redis-py"
            ),
            row(
                "hit_async_noise",
                "noise: it against itself, async",
                "async redis-py again",
                "async redis-py",
            ),
        ]
    )


async def measure_local_hits(stage: Stage) -> Findings:
    """``load_state`` on a hit in the process against cashews and against cachetools."""
    with stage.workspace(["local"], IDS) as workspace:
        async with Opening(stage.servers) as opening:
            config = stage.config(workspace, "local", memory_items=10_000)
            sync = opening.cached(opening.pool(POOL_SIZE), config)
            asynchronous = await opening.async_cached(await opening.async_pool(POOL_SIZE), config)
            prefix = f"{workspace.key_prefix('local')}cashews:"
            cashews = await opening.enter_async_context(
                cashews_client_side(stage.servers.redis_url, prefix)
            )
            held: cachetools.TTLCache[str, bytes] = cachetools.TTLCache(10_000, 3_600.0)
            for trigger_id in IDS:
                sync.load_state(trigger_id)
                await asynchronous.load_state(trigger_id)
                await cashews.set(trigger_id, document(0), expire=3_600)
                held[trigger_id] = orjson.dumps(document(0))

            def decode(trigger_id: str) -> Any:
                return orjson.loads(held[trigger_id])

            ids = cycle(IDS, stage.effort.local_calls)
            rounds = {
                "sync": timed(sync.load_state, ids),
                "async": timed_async(asynchronous.load_state, ids),
                "cashews": timed_async(cashews.get, ids),
                "cachetools": timed(decode, ids),
                "cachetools again": timed(decode, ids),
            }
            measured = await _measure(
                stage, opening, rounds, [sync.get_cache_stats, asynchronous.get_cache_stats]
            )
    row = _rows_of(measured, "cachetools.TTLCache + orjson.loads, without a lock")
    cashews_row = _rows_of(measured, "cashews client-side hit")
    what = "load_state, hit in the process"
    return Findings(
        [
            cashews_row("local_cashews", f"{what}, async", "async", "cashews", Goal(AT_MOST, 0.5)),
            row("local_cachetools", f"{what}, sync", "sync", "cachetools", Goal(AT_MOST, 1.3)),
            row("local_async_cachetools", f"{what}, async", "async", "cachetools"),
            row("local_noise", "noise: it against itself", "cachetools again", "cachetools"),
        ]
    )


async def _measure(
    stage: Stage,
    opening: Opening,
    rounds: Mapping[str, TimedRound],
    stats: list[Callable[[], CacheStats]],
) -> dict[str, list[float]]:
    """Run the rounds; raise ``StudyError`` where a load was not a hit."""
    before = [read().misses for read in stats]
    measured = await interleave(
        rounds, pairs=stage.effort.pairs, seed=stage.seed, on_turn=stage.progress
    )
    opening.check()
    missed = sum(read().misses for read in stats) - sum(before)
    if missed:
        raise StudyError(f"{missed} loads missed where every one should hit: please report this.")
    return measured


def _rows_of(measured: Mapping[str, list[float]], against: str) -> Callable[..., Row]:
    def row(name: str, what: str, ours: str, theirs: str, goal: Goal | None = None) -> Row:
        both = measured[ours], measured[theirs]
        return paired_row(name, what, against, both, goal=goal, scale=1e6, unit="µs")

    return row
