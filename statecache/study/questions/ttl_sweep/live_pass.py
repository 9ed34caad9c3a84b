"""One pass of a stream over live managers, each with a schema and a key prefix of its own.

That is what lets the servers' own counters be laid beside the managers', to the operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pandas as pd
import redis.asyncio
from psycopg import sql
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from statecache import (
    Access,
    AsyncCachedStateManager,
    AsyncStateManager,
    CacheConfig,
    CacheStats,
    init_db,
)
from statecache.study.counting import ServerCounts, count
from statecache.study.engine import INITIAL_STATE, TriggerEngine
from statecache.study.errors import StudyError
from statecache.study.harness.outages import outages_named
from statecache.study.questions.ttl_sweep.live_replay import LiveLog, Subject, replay_live
from statecache.study.servers import Servers, open_database
from statecache.study.workspace import Workspace, open_workspace

__all__ = ["PassRecord", "Variant", "run_pass"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A manager under test; ``ttl_ms`` is wall-clock milliseconds, ``None`` without a cache."""

    name: str
    ttl_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PassRecord:
    """What one pass recorded, by variant.

    ``statements`` is PostgreSQL's own count, ``None`` where the server does not keep one.
    """

    log: LiveLog
    stats: dict[str, CacheStats]
    statements: dict[str, int] | None


async def run_pass(
    stream: pd.DataFrame,
    variants: Sequence[Variant],
    servers: Servers,
    *,
    time_scale: float,
    timeout_ms: int,
    on_progress: Callable[[float], None],
) -> PassRecord:
    """Replay the stream on all variants at once and check what the servers say of it.

    Raises ``StudyError`` where an event was not counted exactly once in the final states, where
    a server or the cache failed, or where managers and servers count differently.
    """
    names = [variant.name for variant in variants]
    with outages_named(servers), open_workspace(servers, names) as workspace:
        schemas = {name: workspace.schema(name) for name in names}
        for schema in schemas.values():
            _prepare_table(servers, schema, sorted(set(stream["key"])))
        async with AsyncExitStack() as stack:
            managers, subjects = {}, {}
            for variant in variants:
                accesses: list[Access] = []
                manager = await stack.enter_async_context(
                    _manager(variant, servers, workspace, timeout_ms, accesses)
                )
                managers[variant.name] = manager
                subjects[variant.name] = Subject(TriggerEngine(manager), accesses)
            before = count(servers, list(schemas.values()))
            log = await replay_live(
                stream, subjects, time_scale=time_scale, on_progress=on_progress
            )
            counted = count(servers, list(schemas.values())) - before
            stats = {name: manager.get_cache_stats() for name, manager in managers.items()}
        for schema in schemas.values():
            _check_every_event_counted(servers, schema, stream)
    statements = None
    if counted.statements is not None:
        statements = {name: counted.statements[schema] for name, schema in schemas.items()}
    _check_counters(stats, statements, counted)
    return PassRecord(log, stats, statements)


def _prepare_table(servers: Servers, schema: str, keys: Sequence[str]) -> None:
    """Make the table with a state for every route, as after a year of service."""
    init_db(servers.database_url, schema=schema)
    table = sql.Identifier(schema, "trigger_state")
    fill = sql.SQL(
        "INSERT INTO {} (trigger_id, state_data) SELECT key, %s FROM unnest(%s::text[]) key"
    )
    with open_database(servers) as connection:
        # A vacuum in the middle of a pass would be one variant's bad luck.
        connection.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = false)").format(table))
        connection.execute(fill.format(table), [Jsonb(INITIAL_STATE), list(keys)])
        connection.execute(sql.SQL("ANALYZE {}").format(table))


@asynccontextmanager
async def _manager(
    variant: Variant,
    servers: Servers,
    workspace: Workspace,
    timeout_ms: int,
    accesses: list[Access],
) -> AsyncIterator[AsyncStateManager]:
    """Yield a manager whose connections and statements are warm and whose counters are zero."""
    schema = workspace.schema(variant.name)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            AsyncConnectionPool(
                servers.database_url, min_size=4, max_size=4, kwargs={"autocommit": True}
            )
        )
        if variant.ttl_ms is None:
            config = CacheConfig(schema=schema)
            await _warm(AsyncStateManager(pool, config=config))
            yield AsyncStateManager(pool, config=config, observer=accesses.append)
            return
        config = CacheConfig(
            schema=schema,
            key_prefix=workspace.key_prefix(variant.name),
            ttl_secs=variant.ttl_ms / 1000,
            timeout_ms=timeout_ms,
        )
        client = redis.asyncio.Redis.from_url(servers.redis_url)
        stack.push_async_callback(client.aclose)
        async with AsyncCachedStateManager(pool, client, config=config) as manager:
            await _warm(manager)
        yield await stack.enter_async_context(
            AsyncCachedStateManager(pool, client, config=config, observer=accesses.append)
        )


async def _warm(manager: AsyncStateManager) -> None:
    """Prepare the statements on the pool's connections and load the script into the server."""
    for _ in range(8):
        await manager.update_state("warm-up", dict(INITIAL_STATE))
        await manager.load_state("warm-up")
    await manager.delete_state("warm-up")


def _check_every_event_counted(servers: Servers, schema: str, stream: pd.DataFrame) -> None:
    """Compare the counts in the final states with the events of the stream, route by route."""
    query = sql.SQL(
        "SELECT trigger_id, (state_data->>'count')::int FROM {} WHERE state_data->>'count' <> '0'"
    )
    with open_database(servers) as connection:
        rows = connection.execute(query.format(sql.Identifier(schema, "trigger_state"))).fetchall()
    expected = Counter(stream.loc[stream["kind"] == "event", "key"])
    if dict(rows) != dict(expected):
        counted = sum(number for _key, number in rows)
        raise StudyError(
            f"the final states in {schema} count {counted} events, the stream has "
            f"{expected.total()}: the manager lost or repeated updates, please report this."
        )


def _check_counters(
    stats: dict[str, CacheStats], statements: dict[str, int] | None, counted: ServerCounts
) -> None:
    errors = Counter[str]()
    for one in stats.values():
        errors.update(one.errors_by_reason)
    if errors:
        raise StudyError(
            f"the cache failed {errors.total()} times during the pass ({dict(errors)}): the "
            "machine is too busy for timeout_ms; raise it or try again."
        )
    if statements is not None:
        for name, one in stats.items():
            _compare(
                f"PostgreSQL statements of {name}", one.db_reads + one.db_writes, statements[name]
            )
    cached = [one for one in stats.values() if one.enabled]
    lookups = sum(map(lookups_of, cached))
    scripts = sum(one.cache_commands.get("EVALSHA", 0) for one in cached)
    _compare("GET commands", lookups, counted.redis_commands.get("get", 0))
    _compare("EVALSHA commands", scripts, counted.redis_commands.get("evalsha", 0))


def lookups_of(stats: CacheStats) -> int:
    """Return how many loads asked the cache."""
    unasked = ("bypassed", "unrepaired")
    return stats.hits + stats.misses - sum(stats.misses_by_reason.get(name, 0) for name in unasked)


def _compare(what: str, manager: int, server: int) -> None:
    if manager != server:
        raise StudyError(
            f"the managers count {manager} {what}, the server counts {server}: is anybody else "
            "using these servers?"
        )
