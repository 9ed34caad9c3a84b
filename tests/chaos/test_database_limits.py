"""Limits that protect callers from a hung PostgreSQL, and PostgreSQL from its callers."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg
import pytest
from support.database_trouble import fails_clearly, in_time, recovered, use, waiting
from support.interrupts import Victim, eventually
from support.managers import CACHED, KINDS
from support.scratch import Scratch

from statecache import DatabaseError
from statecache.lookup import Lookup
from statecache.study.troubles.own_servers import OwnServers
from statecache.watchdog import StatementLimit, _watch

#: Far above the limits of 0.3 s: who is still waiting after it hangs.
HANGS_S = 8.0


@contextmanager
def hung(own: OwnServers) -> Iterator[None]:
    """Connections stay, nothing answers."""
    own.database.stop()
    try:
        yield
    finally:
        own.database.go_on()


@pytest.mark.parametrize("kind", KINDS)
def test_a_hung_postgresql_is_an_error_in_time(kind: str, own: OwnServers, corner: Scratch) -> None:
    with corner.manager(kind) as patient:
        patient.update_states({"t": "before", "hit": "before"})
    with corner.manager(kind, pool_timeout=0.3, db_timeout_ms=300) as manager:
        in_time(lambda: use(manager, "warm"))
        corner.cache.delete(corner.prefix + "t")
        with hung(own):
            for call in (
                lambda: manager.load_state("t"),
                lambda: manager.update_state("u", "late"),
                lambda: manager.load_states(["t", "v"]),
                lambda: manager.load_versioned("t"),
                lambda: manager.delete_state("t"),
                manager.get_state_count,
            ):
                began = time.monotonic()
                fails_clearly(call, corner.database_url)
                assert time.monotonic() - began < HANGS_S
                if kind in CACHED:
                    assert manager.load_state("hit") == "before"
        eventually(lambda: recovered(manager, "w"))
        for number in range(20):
            in_time(lambda: use(manager, f"after {number}"))  # noqa: B023 - called at once
        # What lay in a stopped server's socket may have been done after all.
        assert in_time(lambda: manager.load_state("u")) == truth(corner, "u")


def truth(corner: Scratch, name: str) -> Any:
    rows = corner.sql("SELECT state_data FROM {t} WHERE trigger_id = %s", name)
    return rows[0][0] if rows else None


@pytest.mark.parametrize("kind", KINDS)
def test_a_statement_that_waits_for_a_lock_is_given_up(kind: str, corner: Scratch) -> None:
    # What was given up may be done all the same when the lock is free: then the TTL is the bound.
    with corner.manager(kind, db_timeout_ms=300, ttl_secs=2.0) as manager:
        in_time(lambda: manager.update_state("t", "before"))
        with table_locked(corner):
            fails_clearly(lambda: manager.update_state("t", "late"), corner.database_url)
            fails_clearly(lambda: manager.load_state("u"), corner.database_url)
        eventually(lambda: recovered(manager, "w"))
        assert not waiting(corner)
        eventually(lambda: in_time(lambda: manager.load_state("t")) == truth(corner, "t"))


@contextmanager
def table_locked(corner: Scratch) -> Iterator[None]:
    """Let every statement on the table wait, reads included."""
    with psycopg.connect(corner.database_url) as connection:
        connection.execute(f"LOCK TABLE {corner.schema}.trigger_state IN ACCESS EXCLUSIVE MODE")
        yield


def test_the_connection_of_a_statement_that_ends_as_it_is_given_up_serves_nobody(
    corner: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang_up = StatementLimit.hang_up

    def slowly(self: StatementLimit) -> None:
        time.sleep(0.2)
        hang_up(self)

    monkeypatch.setattr(StatementLimit, "hang_up", slowly)
    with psycopg.connect(corner.database_url) as connection:
        limit = StatementLimit(connection, 0.1)
        with limit:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            eventually(lambda: limit not in _watch.running)  # it was too late by a moment
        assert connection.closed, "a pool gives it to nobody any more"


def test_what_is_due_to_be_refreshed_answers_while_postgresql_does_not(corner: Scratch) -> None:
    """Also beside what is missing, in one batch, and only while the cache still has it."""
    changes = {"early_refresh": 1_000.0, "gather": True, "db_timeout_ms": 300}
    with corner.manager("AsyncCachedStateManager", **changes) as manager:
        load = manager.manager.load_state
        in_time(lambda: manager.update_state("t", 1))
        # Fetches seem to take so long that every hit is due.
        manager.manager._store._lifetimes.note_fetch(1e9)

        async def together() -> list[Any]:
            return await asyncio.gather(load("t"), load("missing"), return_exceptions=True)

        with table_locked(corner):
            valid, missing = manager.run(together())
            assert valid == 1
            assert isinstance(missing, DatabaseError)
            # A load whose batch was cancelled leaves what the cache said then.
            manager.manager._store._fetcher._missed["t"] = Lookup(b"1", "early")
            corner.cache.delete(corner.prefix + "t")
            fails_clearly(lambda: manager.load_state("t"), corner.database_url)


@pytest.mark.parametrize("kind", CACHED)
def test_a_write_that_lands_after_its_time_out(kind: str, corner: Scratch) -> None:
    """Nobody can know of it; the cache catches up after the TTL."""
    with corner.manager(kind, db_timeout_ms=300, ttl_secs=2.0) as manager:
        in_time(lambda: manager.update_state("t", "before"))
        stopped = backends(corner)
        for backend in stopped:
            backend.send_signal(signal.SIGSTOP)
        try:
            fails_clearly(lambda: manager.update_state("t", "late"), corner.database_url)
            eventually(lambda: recovered(manager, "w"))
            assert in_time(lambda: manager.load_state("t")) == "before"
        finally:
            for backend in stopped:
                backend.send_signal(signal.SIGCONT)
        eventually(lambda: truth(corner, "t") == "late")
        eventually(lambda: in_time(lambda: manager.load_state("t")) == "late")


def backends(corner: Scratch) -> list[psutil.Process]:
    """Return the server's processes that serve the manager's pool."""
    rows = corner.sql(
        "SELECT pid FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return [psutil.Process(pid) for (pid,) in rows]


LIMIT = 2


@pytest.mark.parametrize("kind", KINDS)
def test_reads_of_postgresql_are_limited(kind: str, corner: Scratch) -> None:
    with corner.manager(kind, max_db_reads=LIMIT, db_timeout_ms=20_000) as manager:
        for number in range(6):
            manager.update_state(f"t{number}", number)
            corner.cache.delete(f"{corner.prefix}t{number}")
        with table_locked(corner):
            readers = [load(manager, f"t{number}") for number in range(6)]
            eventually(lambda: len(waiting(corner)) == LIMIT)
            time.sleep(0.2)  # others would come, if they could
            assert len(waiting(corner)) == LIMIT
        assert [reader.end() for reader in readers] == list(range(6))


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_too_long_for_a_read_is_told_so(kind: str, corner: Scratch) -> None:
    with corner.manager(kind, max_db_reads=LIMIT, db_timeout_ms=500) as manager:
        in_time(lambda: manager.update_states({f"t{number}": number for number in range(6)}))
        corner.cache.delete(*(f"{corner.prefix}t{number}" for number in range(5)))
        with table_locked(corner):
            readers = [load(manager, f"t{number}") for number in range(5)]
            outcomes = [reader.end() for reader in readers]
            if kind in CACHED:
                assert manager.load_state("t5") == 5, "a hit needs no read"
        assert {type(outcome) for outcome in outcomes} == {DatabaseError}
        assert any("STATE_CACHE_MAX_DB_READS" in str(outcome) for outcome in outcomes)
        # Every slot has been given back.
        eventually(lambda: recovered(manager, "u"))
        corner.cache.delete(*(f"{corner.prefix}t{number}" for number in range(5)))
        readers = [
            Victim(lambda name=f"t{number}": in_time(lambda: manager.load_state(name)))
            for number in range(5)
        ]
        assert [reader.end() for reader in readers] == list(range(5))


@pytest.mark.parametrize("kind", CACHED)
def test_postgresql_is_protected_when_the_cache_dies(
    kind: str, own: OwnServers, corner: Scratch
) -> None:
    names = [f"t{number}" for number in range(12)]
    with corner.manager(kind, max_db_reads=LIMIT, db_timeout_ms=20_000) as manager:
        for name in names:
            manager.update_state(name, name)
            assert manager.load_state(name) == name
        assert manager.get_cache_stats().db_reads == 0
        own.cache.kill()
        try:
            with table_locked(corner):
                readers = [load(manager, name) for name in names]
                eventually(lambda: len(waiting(corner)) == LIMIT)
                time.sleep(0.2)  # others would come, if they could
                assert len(waiting(corner)) == LIMIT
            assert [reader.end() for reader in readers] == names
        finally:
            own.cache.start()


def load(manager: Any, name: str) -> Victim:
    return Victim(lambda: manager.load_state(name))
