"""Gathered calls through real managers: few statements, and every promise of a single call kept."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import psycopg
import pytest
from support.interrupts import eventually
from support.managers import KINDS
from support.scratch import Scratch

from statecache import ConfigError, InvalidState

ASYNC = tuple(kind for kind in KINDS if kind.startswith("Async"))


@pytest.fixture(params=ASYNC)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


async def together(*calls: Any) -> list[Any]:
    """Make all calls at once; nothing may hang."""
    async with asyncio.timeout(30):
        return await asyncio.gather(*calls, return_exceptions=True)


def rows(scratch: Scratch) -> dict[str, Any]:
    return dict(scratch.sql("SELECT trigger_id, state_data FROM {t} WHERE deleted_at IS NULL"))


def refuse_thirteen(scratch: Scratch) -> None:
    scratch.sql("ALTER TABLE {t} ADD CHECK (state_data IS DISTINCT FROM '13')")


def test_concurrent_loads_are_few_commands_and_statements(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, gather=True) as manager:
        manager.update_states({f"t{n}": n for n in range(100)})
        for n in range(100):
            scratch.cache.delete(f"{scratch.prefix}t{n}")
        for _ in range(2):  # from PostgreSQL, then from the cache if there is one
            ids = [f"t{n}" for n in range(100)] * 2
            found = manager.run(together(*(manager.manager.load_state(one) for one in ids)))
            assert found == list(range(100)) * 2
        stats = manager.get_cache_stats()
        if "Cached" in kind:
            assert stats.db_reads == 1
            assert stats.cache_commands["MGET"] == 2
            assert "GET" not in stats.cache_commands
            assert (stats.hits, stats.misses) == (200, 200)
        else:
            assert stats.db_reads == 2


def test_every_caller_gets_a_value_of_its_own(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, gather=True) as manager:
        manager.update_state("t", {"window": [1]})
        one, two = manager.run(together(*(manager.manager.load_state("t") for _ in range(2))))
        one["window"].clear()
        assert two == {"window": [1]}


def test_concurrent_updates_are_few_statements_and_all_are_stored(
    scratch: Scratch, kind: str
) -> None:
    with scratch.manager(kind, gather=True) as manager:
        update = manager.manager.update_state
        manager.run(together(*(update(f"t{n}", n) for n in range(300))))
        # A cached manager passes on one half while it commits the other.
        assert manager.get_cache_stats().db_writes <= 10
        assert rows(scratch) == {f"t{n}": n for n in range(300)}

        async def writer(name: str) -> None:
            for n in range(10):
                await update(name, n)
                assert await manager.manager.load_state(name) == n

        outcomes = manager.run(together(*(writer(f"t{n}") for n in range(50))))
        assert outcomes == [None] * 50
        assert manager.get_cache_stats().db_writes < 250, "of 500 updates"
        assert rows(scratch) == {f"t{n}": 9 if n < 50 else n for n in range(300)}
    with scratch.manager(kind) as another:
        assert another.load_states(f"t{n}" for n in range(300)) == rows(scratch)


def test_writes_of_one_key_keep_their_order(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, gather=True) as manager:
        bare = manager.manager
        for last in (bare.update_state("t", 2), bare.delete_state("t")):
            due = 2 if last.__name__ == "update_state" else None
            first = bare.update_state("t", 1)
            between = bare.update_state("t", 0) if due is None else bare.delete_state("t")
            assert manager.run(together(first, between, last)) == [None] * 3
            assert manager.load_state("t") == due
        stats = manager.get_cache_stats()
        assert stats.writes_absorbed == 4
        assert stats.db_writes == 2

        async def in_turns() -> None:
            """Each begins when the one before is under way."""
            tasks = []
            for n in range(60):
                call = bare.update_state("t", n) if n % 3 else bare.delete_state("t")
                tasks.append(asyncio.create_task(call))
                await asyncio.sleep(0.001 * (n % 2))
            await together(*tasks)

        manager.run(in_turns())
        assert manager.load_state("t") == 59
        assert rows(scratch) == {"t": 59}


def test_a_state_that_postgresql_refuses_is_its_own_caller_s_error(
    scratch: Scratch, kind: str
) -> None:
    refuse_thirteen(scratch)
    with scratch.manager(kind, gather=True) as manager:
        calls = [manager.manager.update_state(f"t{n}", n) for n in range(40)]
        calls += [manager.manager.delete_state("absent")]
        calls += [manager.manager.update_state("t5", 13)]
        found = manager.run(together(*calls))
        assert [n for n, one in enumerate(found) if one is not None] == [13, 41]
        assert all(isinstance(found[n], InvalidState) for n in (13, 41))
        assert rows(scratch) == {f"t{n}": n for n in range(40) if n != 13}
        ids = [f"t{n}" for n in range(40)]
        loaded = manager.load_states(ids)
        assert [loaded[one] for one in ids] == [None if n == 13 else n for n in range(40)]


def test_cancelled_callers_disturb_nobody(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, gather=True) as manager:
        bare = manager.manager

        async def half_is_cancelled() -> list[Any]:
            updates = [asyncio.create_task(bare.update_state(f"t{n}", n)) for n in range(40)]
            await asyncio.sleep(0)
            loads = [asyncio.create_task(bare.load_state(f"t{n}")) for n in range(40)]
            await asyncio.sleep(0)
            for task in (*updates[::2], *loads[::2]):
                task.cancel()
            return await together(*updates, *loads)

        for _ in range(5):
            found = manager.run(half_is_cancelled())
            assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
            assert found[1:40:2] == [None] * 20
            assert not [one for one in found[41::2] if isinstance(one, BaseException)]
        assert manager.load_states(f"t{n}" for n in range(1, 40, 2)) == {
            f"t{n}": n for n in range(1, 40, 2)
        }
        for name, state in rows(scratch).items():
            assert manager.load_state(name) == state


def test_settled_or_closed_a_manager_has_told_the_cache(scratch: Scratch) -> None:
    outcomes: list[Any] = []
    for last in range(5):
        with scratch.manager(
            "AsyncCachedStateManager", gather=True, memory_items=10, observer=outcomes.append
        ) as manager:
            for n in range(10):
                manager.update_state("t", [last, n])
                manager.settle()
                assert told(scratch)
            manager.update_state("t", last)
        assert told(scratch)
    assert {access.outcome for access in outcomes} == {"sent"}


_DIES = """
import asyncio, os, sys
import redis.asyncio
from psycopg_pool import AsyncConnectionPool
from statecache import AsyncCachedStateManager, CacheConfig

database_url, redis_url, schema, prefix = sys.argv[1:]
config = CacheConfig(
    schema=schema, key_prefix=prefix, timeout_ms=1000, gather=True, memory_items=10
)

async def main():
    client = redis.asyncio.Redis.from_url(redis_url)
    pool = AsyncConnectionPool(database_url, open=False, kwargs={"autocommit": True})
    async with pool:
        manager = AsyncCachedStateManager(pool, client, config=config)
        await manager.update_state("t", "first")
        await manager.settle()
        await manager.update_state("t", "last")
        os._exit(0)

asyncio.run(main())
"""


def test_a_process_that_dies_once_it_is_answered_has_told_the_cache(scratch: Scratch) -> None:
    addresses = [scratch.database_url, scratch.redis_url, scratch.schema, scratch.prefix]
    for _ in range(3):
        subprocess.run([sys.executable, "-c", _DIES, *addresses], check=True, timeout=60)
        assert rows(scratch) == {"t": "last"}
        eventually(lambda: told(scratch))


def told(scratch: Scratch) -> bool:
    """Whether the cache has what PostgreSQL has."""
    entry = scratch.entry("t")
    return entry is not None and entry[0] == scratch.version("t")


def test_closing_leaves_nobody_waiting(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, gather=True) as manager:
        bare = manager.manager

        async def closed_meanwhile() -> list[Any]:
            calls = [asyncio.create_task(bare.update_state(f"t{n}", n)) for n in range(20)]
            await asyncio.sleep(0)
            calls += [asyncio.create_task(bare.load_state(f"t{n}")) for n in range(20)]
            await asyncio.sleep(0)
            await bare.aclose()
            return await together(*calls)

        assert manager.run(closed_meanwhile())[:20] == [None] * 20
        assert rows(scratch) == {f"t{n}": n for n in range(20)}


def test_a_deadlock_with_somebody_else_is_retried(scratch: Scratch, kind: str) -> None:
    with (
        scratch.manager(kind, gather=True, db_timeout_ms=30_000) as manager,
        psycopg.connect(scratch.database_url) as foreign,
    ):
        manager.update_states({"a": 0, "b": 0})
        table = f"{scratch.schema}.trigger_state"
        # It must wait longer than the manager before it looks for a deadlock: the manager loses.
        foreign.execute("SET deadlock_timeout = '20s'")
        foreign.execute(f"UPDATE {table} SET state_data = '1' WHERE trigger_id = 'b'")
        bare = manager.manager
        written: list[Any] = []

        def write() -> None:
            written.extend(
                manager.run(together(bare.update_state("a", 2), bare.update_state("b", 2)))
            )

        thread = threading.Thread(target=write)
        thread.start()
        try:
            eventually(lambda: waits_for_a_lock(scratch))  # it holds "a" and waits for "b"
            foreign.execute(f"UPDATE {table} SET state_data = '1' WHERE trigger_id = 'a'")
            foreign.commit()
        finally:
            thread.join(30)
        assert written == [None, None]
        assert rows(scratch) == {"a": 2, "b": 2}
        assert manager.load_states(["a", "b"]) == {"a": 2, "b": 2}


def waits_for_a_lock(scratch: Scratch) -> bool:
    found = scratch.sql(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s",
        f"%{scratch.schema}%",
    )
    return bool(found)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("Async")])
def test_threads_cannot_gather(scratch: Scratch, kind: str) -> None:
    with pytest.raises(ConfigError, match="asyncio"), scratch.manager(kind, gather=True):
        pass
