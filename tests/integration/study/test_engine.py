from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio
from psycopg_pool import AsyncConnectionPool
from support.scratch import Scratch

from statecache import AsyncCachedStateManager, AsyncStateManager
from statecache.study.engine import INITIAL_STATE, RouteState, Rule, TriggerEngine, evaluate

KINDS = ("AsyncStateManager", "AsyncCachedStateManager")
KEYS = ("JFK-LAX", "JFK-SFO", "LGA-ORD", "EWR-MIA", "EWR-ÅÄÖ")
RULE = Rule(weight=0.3, threshold_min=15.0)

Event = tuple[str, float]


def stream(count: int = 300, seed: int = 20130204) -> list[Event]:
    draw = random.Random(seed)
    return [
        (draw.choice(KEYS), round(draw.gauss(15, 30), draw.randint(0, 9))) for _ in range(count)
    ]


def folded(events: list[Event]) -> tuple[dict[str, RouteState], dict[str, list[bool]]]:
    """Return by key the final state, and which events fire, computed in memory."""
    states: dict[str, RouteState] = {}
    fired = defaultdict(list)
    for key, delay in events:
        states[key], fires = evaluate(states.get(key, INITIAL_STATE), delay, RULE)
        fired[key].append(fires)
    return states, dict(fired)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def opened(kind: str, scratch: Scratch) -> AsyncIterator[AsyncStateManager]:
    pool: AsyncConnectionPool = AsyncConnectionPool(
        scratch.database_url, min_size=1, max_size=5, kwargs={"autocommit": True}, open=False
    )
    async with pool:
        if kind == "AsyncStateManager":
            yield AsyncStateManager(pool, config=scratch.config())
            return
        client = redis.asyncio.Redis.from_url(scratch.redis_url)
        try:
            async with AsyncCachedStateManager(pool, client, config=scratch.config()) as manager:
                yield manager
        finally:
            await client.aclose()


def run(
    kind: str, scratch: Scratch, scenario: Callable[[AsyncStateManager], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with opened(kind, scratch) as manager:
            await scenario(manager)

    asyncio.run(main())


def stored(scratch: Scratch) -> dict[str, RouteState]:
    return dict(scratch.sql("SELECT trigger_id, state_data FROM {t}"))


def test_a_stream_leaves_the_states_that_folding_it_gives(kind: str, scratch: Scratch) -> None:
    events = stream()
    states, fired = folded(events)
    assert any(any(fires) for fires in fired.values()), "the stream makes triggers fire"

    async def scenario(manager: AsyncStateManager) -> None:
        engine = TriggerEngine(manager, RULE)
        told = defaultdict(list)
        for key, delay in events:
            told[key].append(await engine.handle(key, delay))
        assert dict(told) == fired
        assert {key: await engine.look(key) for key in states} == states
        if kind == "AsyncCachedStateManager":
            assert manager.get_cache_stats().hits > len(events) / 2, "the cache had its part in it"

    run(kind, scratch, scenario)
    assert stored(scratch) == states


def test_keys_overlap_without_touching_each_other(kind: str, scratch: Scratch) -> None:
    events = stream(seed=20130610)
    states, fired = folded(events)

    async def scenario(manager: AsyncStateManager) -> None:
        engine = TriggerEngine(manager, RULE)

        async def of_key(key: str) -> list[bool]:
            return [await engine.handle(key, delay) for name, delay in events if name == key]

        told = await asyncio.gather(*(of_key(key) for key in states))
        assert dict(zip(states, told, strict=True)) == fired

    run(kind, scratch, scenario)
    assert stored(scratch) == states


def test_a_second_engine_goes_on_where_the_first_ended(kind: str, scratch: Scratch) -> None:
    events = stream()
    states, _fired = folded(events)

    def handle(part: list[Event]) -> Callable[[AsyncStateManager], Awaitable[None]]:
        async def scenario(manager: AsyncStateManager) -> None:
            engine = TriggerEngine(manager, RULE)
            for key, delay in part:
                await engine.handle(key, delay)

        return scenario

    run(kind, scratch, handle(events[:100]))
    scratch.cache.delete(*(scratch.prefix + key for key in KEYS))
    run(kind, scratch, handle(events[100:]))
    assert stored(scratch) == states


def test_a_look_returns_the_state_and_changes_nothing(kind: str, scratch: Scratch) -> None:
    async def scenario(manager: AsyncStateManager) -> None:
        engine = TriggerEngine(manager)
        assert await engine.look("JFK-LAX") is None
        assert stored(scratch) == {}
        await engine.handle("JFK-LAX", 150.0)
        before = scratch.sql("SELECT * FROM {t}")
        for _ in range(3):
            assert await engine.look("JFK-LAX") == {"ema": 30.0, "count": 1, "fired": 1}
        assert scratch.sql("SELECT * FROM {t}") == before

    run(kind, scratch, scenario)
