"""What the cache did not take is repaired: by whoever wrote it, or by others who poll."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.cache_server import CacheServer
from support.database_trouble import locked, waiting
from support.interrupts import eventually
from support.managers import CACHED, KINDS
from support.relay import Relay, relays
from support.scratch import Scratch

from statecache import DatabaseError, init_db
from statecache.study._supervisor import free_port

POLL_S = 0.1
#: Entries live for minutes: within a test only repair makes them right.
POLLING = {"repair_poll_secs": POLL_S}
QUICK = {"timeout_ms": 200, "breaker_max_wait_ms": 100}


@pytest.fixture(params=CACHED)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def cache_server() -> Iterator[CacheServer]:
    with CacheServer() as server:
        yield server


def nowhere() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


def dirty(scratch: Scratch) -> dict[str, int]:
    return dict(
        scratch.database.execute(
            f"SELECT trigger_id, version FROM {scratch.schema}.trigger_state_dirty"
        ).fetchall()
    )


def held(server: CacheServer, scratch: Scratch, name: str) -> bytes:
    found: bytes | None = server.client.get(scratch.prefix + name)
    return found or b""


# One's own


def test_failed_puts_are_repaired_without_anybody_reading(
    scratch: Scratch, kind: str, cache_server: CacheServer
) -> None:
    states = {f"t{n}": 2 for n in range(600)}  # more than a batch
    with scratch.manager(kind, redis_url=cache_server.url, **QUICK) as manager:
        manager.update_states(dict.fromkeys(states, 1))
        cache_server.fill_up()
        try:
            manager.update_states(states)
            manager.delete_state("t0")
            assert manager.get_cache_stats().unrepaired == 600
            assert held(cache_server, scratch, "t1").endswith(b"1"), "the cache holds the old"
            assert manager.load_states(states) == states | {"t0": None}
        finally:
            cache_server.make_room()
        eventually(lambda: not manager.get_cache_stats().unrepaired)
        reads = manager.get_cache_stats().db_reads
    with scratch.manager(kind, redis_url=cache_server.url, **QUICK) as another:
        assert another.load_states(states) == states | {"t0": None}
    assert reads == 1, "repair itself needs no reads: it knows the versions"


def test_what_came_together_over_the_limit_is_all_invalidated(
    scratch: Scratch, kind: str, cache_server: CacheServer
) -> None:
    with scratch.manager(kind, redis_url=cache_server.url, **QUICK) as manager:
        bare = getattr(manager, "manager", manager)
        bare._store._unrepaired._limit = 10
        manager.update_states({f"t{n}": 1 for n in range(30)})
        cache_server.fill_up()
        try:
            for n in range(30):
                manager.update_state(f"t{n}", 2)
                assert manager.load_state(f"t{n}") == 2
        finally:
            cache_server.make_room()
        eventually(lambda: not len(bare._store._unrepaired))
        with scratch.manager(kind, redis_url=cache_server.url, **QUICK) as another:
            found = another.load_states(f"t{n}" for n in range(30))
            assert set(found.values()) == {2}
            assert another.get_cache_stats().hits == 0
        manager.load_state("t3")
        eventually(lambda: manager.load_state("t3") == 2 and manager.get_cache_stats().hits)


def test_an_invalidation_that_failed_is_done_later(
    scratch: Scratch, kind: str, cache_server: CacheServer
) -> None:
    """What it is for: the version of what the cache holds does not tell that it is wrong."""
    with (
        relays() as open_relay,
        scratch.manager(kind, redis_url=cache_server.url, **QUICK) as reader,
    ):
        relay = open_relay((cache_server.host, cache_server.port))
        url = cache_server.url_at(relay.host, relay.port)
        with scratch.manager(kind, redis_url=url, **QUICK) as manager:
            manager.update_states({"t": 1, "gone": 1})
            assert reader.load_states(["t", "gone"]) == {"t": 1, "gone": 1}
            relay.refuse()
            relay.cut()
            scratch.sql("UPDATE {t} SET state_data = '2' WHERE trigger_id = 't'")
            scratch.sql("DELETE FROM {t} WHERE trigger_id = 'gone'")
            manager.invalidate(["t"])
            manager.delete_state("gone")  # there is nothing to delete, the cache is to know
            assert manager.load_states(["t", "gone"]) == {"t": 2, "gone": None}
            relay.accept()
            eventually(lambda: not manager.get_cache_stats().unrepaired)
            assert reader.load_states(["t", "gone"]) == {"t": 2, "gone": None}
            assert manager.load_states(["t", "gone"]) == {"t": 2, "gone": None}


# Somebody else's


def test_others_catch_up_with_a_writer_that_is_gone(
    scratch: Scratch, kind: str, cache_server: CacheServer
) -> None:
    with (
        relays() as open_relay,
        scratch.manager(kind, redis_url=cache_server.url, **QUICK, **POLLING) as reader,
    ):
        relay = open_relay((cache_server.host, cache_server.port))
        url = cache_server.url_at(relay.host, relay.port)
        with scratch.manager(kind, redis_url=url, **QUICK, **POLLING) as writer:
            writer.update_states({"t": 1, "u": 1, "v": 1})
            assert reader.load_states(list("tuv")) == {"t": 1, "u": 1, "v": 1}
            relay.refuse()
            relay.cut()
            writer.update_state("t", 2)
            writer.delete_state("u")
        # The reader polls once it has something to do with PostgreSQL.
        reader.update_state("other", 1)
        eventually(lambda: reader.load_states(list("tuv")) == {"t": 2, "u": None, "v": 1})
        eventually(lambda: not dirty(scratch))


WRITES: dict[str, Callable[[Any], None]] = {
    "update": lambda manager: manager.update_state("t", 2),
    "update_states": lambda manager: manager.update_states({"t": 2, "u": 2}),
    "replace": lambda manager: manager.update_state(
        "t", 2, expected_version=manager.load_versioned("t")[1]
    ),
    "delete": lambda manager: manager.delete_state("t"),
    "cleanup": lambda manager: manager.cleanup_expired(0),
}


@contextmanager
def uncached(scratch: Scratch, name: str) -> Iterator[Any]:
    """Yield a manager that tells no cache: a plain one, a disabled one, or one that is cut off."""
    with ExitStack() as stack:
        if name in KINDS:
            yield stack.enter_context(scratch.manager(name, **POLLING))
        elif name.startswith("disabled"):
            kind = name.split()[1]
            yield stack.enter_context(scratch.manager(kind, enabled=False, **POLLING))
        else:
            kind = name.split()[1]
            url = nowhere()
            yield stack.enter_context(scratch.manager(kind, redis_url=url, **POLLING, **QUICK))


@pytest.mark.parametrize(
    "without",
    [
        "StateManager",
        "AsyncStateManager",
        *(f"disabled {kind}" for kind in CACHED),
        *(f"unreachable {kind}" for kind in CACHED),
    ],
)
def test_a_mixed_fleet_agrees(scratch: Scratch, without: str) -> None:
    with (
        scratch.manager("CachedStateManager", **POLLING) as reader,
        uncached(scratch, without) as writer,
    ):
        for name, write in WRITES.items():
            reader.update_states({"t": 1, "u": 1})
            assert reader.load_state("t") == 1
            write(writer)
            due = writer.load_state("t")
            assert due != 1, name
            eventually(lambda due=due: reader.load_state("t") == due)  # type: ignore[misc]
        eventually(lambda: not dirty(scratch))


def test_without_polling_nothing_is_noted(scratch: Scratch) -> None:
    with scratch.manager("StateManager") as manager:
        manager.update_state("t", 1)
    with scratch.manager("CachedStateManager", redis_url=nowhere()) as manager:
        manager.update_state("t", 2)
    assert dirty(scratch) == {}


def test_managers_that_reach_the_cache_note_nothing(scratch: Scratch, kind: str) -> None:
    scratch.database.execute(
        f"CREATE FUNCTION {scratch.schema}.refuse() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RAISE 'noted'; END $$"
    )
    scratch.database.execute(
        f"CREATE TRIGGER refuse BEFORE INSERT ON {scratch.schema}.trigger_state_dirty "
        f"EXECUTE FUNCTION {scratch.schema}.refuse()"
    )
    with scratch.manager(kind, **POLLING) as manager:
        for write in WRITES.values():
            manager.update_states({"t": 1, "u": 1})
            write(manager)
        assert manager.get_cache_stats().errors == 0


def test_what_is_noted_anew_meanwhile_stays_noted(scratch: Scratch) -> None:
    with scratch.manager("CachedStateManager") as manager:
        table = manager._table
        table.mark({"t": 5, "u": 5})
        seen = table.marked()
        table.mark({"t": 6})
        table.mark({"t": 4})
        table.unmark(seen)
        assert dirty(scratch) == {"t": 6}
        table.unmark(table.marked())
        assert dirty(scratch) == {}


def test_nothing_is_forgotten_that_the_cache_did_not_take(
    scratch: Scratch, kind: str, cache_server: CacheServer
) -> None:
    with scratch.manager(kind, redis_url=cache_server.url, **QUICK, **POLLING) as poller:
        poller.update_state("t", 1)
        cache_server.fill_up()
        try:
            with scratch.manager("StateManager", **POLLING) as plain:
                plain.update_state("t", 2)
            errors = poller.get_cache_stats().errors
            eventually(lambda: poller.get_cache_stats().errors >= errors + 3)  # it tried
            assert list(dirty(scratch)) == ["t"]
        finally:
            cache_server.make_room()
        eventually(lambda: not dirty(scratch))
        assert poller.load_state("t") == 2


# Outside writes

INSERT = "INSERT INTO {t} (trigger_id, state_data) VALUES ('t', '2')"

BY_HAND = {
    "UPDATE": ("UPDATE {t} SET state_data = '2' WHERE trigger_id = 't'", 2),
    "DELETE": ("DELETE FROM {t} WHERE trigger_id = 't'", None),
    "DELETE + INSERT": (f"DELETE FROM {{t}} WHERE trigger_id = 't'; {INSERT}", 2),
    "TRUNCATE": ("TRUNCATE {t}", None),
    "soft DELETE": (
        "UPDATE {t} SET state_data = NULL, deleted_at = now() WHERE trigger_id = 't'",
        None,
    ),
}


def test_writes_by_hand_are_caught(scratch: Scratch, kind: str) -> None:
    init_db(scratch.database_url, schema=scratch.schema, outside_writes=True)
    with scratch.manager(kind, **POLLING) as writer, scratch.manager(kind, **POLLING) as reader:
        for name, (statement, due) in BY_HAND.items():
            writer.update_states({"t": 1, "u": 1})
            assert reader.load_state("t") == 1
            before = scratch.version("t")
            for one in statement.split("; "):
                scratch.sql(one)
            eventually(lambda due=due: reader.load_state("t") == due)  # type: ignore[misc]
            assert writer.load_state("t") == due, name
            writer.update_state("t", 3)
            assert reader.load_state("t") == 3
            assert scratch.version("t") > before
            eventually(lambda: not dirty(scratch))


def test_a_state_that_is_given_another_id_by_hand(scratch: Scratch, kind: str) -> None:
    init_db(scratch.database_url, schema=scratch.schema, outside_writes=True)
    changes = POLLING | {"negative_ttl_secs": 300.0}
    with scratch.manager(kind, **changes) as writer, scratch.manager(kind, **changes) as reader:
        for version in ("version", "version + 1"):
            writer.update_state("old", 1)
            writer.update_state("new", "before")
            scratch.sql("DELETE FROM {t} WHERE trigger_id = 'new'")
            eventually(lambda: reader.load_state("new") is None)
            assert reader.load_state("old") == 1
            eventually(lambda: not dirty(scratch))
            scratch.sql(
                f"UPDATE {{t}} SET trigger_id = 'new', version = {version} WHERE trigger_id = 'old'"
            )
            eventually(lambda: reader.load_states(["old", "new"]) == {"old": None, "new": 1})
            writer.update_states({"old": 2, "new": 3})
            assert reader.load_states(["old", "new"]) == {"old": 2, "new": 3}


def test_managers_own_writes_are_no_outside_writes(scratch: Scratch) -> None:
    init_db(scratch.database_url, schema=scratch.schema, outside_writes=True)
    for kind in KINDS:
        with scratch.manager(kind) as manager:
            for write in WRITES.values():
                manager.update_states({"t": 1, "u": 1})
                write(manager)
            scratch.sql("UPDATE {t} SET version = version + 1, deleted_at = now() - '9y'::interval")
            manager.cleanup_expired(0)  # removes rows
            assert scratch.sql("SELECT count(*) FROM {t}") == [(0,)]
    assert dirty(scratch) == {}


def test_the_triggers_go_when_they_are_no_longer_wanted(scratch: Scratch) -> None:
    def triggers() -> int:
        found = scratch.sql(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal",
            f"{scratch.schema}.trigger_state",
        )
        return int(found[0][0])

    for wanted, count in ((True, 3), (True, 3), (None, 3), (False, 0), (False, 0), (None, 0)):
        init_db(scratch.database_url, schema=scratch.schema, outside_writes=wanted)
        assert triggers() == count
    with scratch.manager("StateManager") as manager:
        manager.update_state("t", 1)
    scratch.sql("UPDATE {t} SET state_data = '2'")
    scratch.sql("TRUNCATE {t}")
    assert dirty(scratch) == {}


# Writes whose outcome is unknown


def test_an_update_that_was_cancelled_while_it_commits_is_repaired(scratch: Scratch) -> None:
    kind = "AsyncCachedStateManager"
    with scratch.manager(kind) as manager, scratch.manager(kind) as reader:
        manager.update_state("t", 1)
        assert reader.load_state("t") == 1

        async def cancelled() -> None:
            task = asyncio.create_task(manager.manager.update_state("t", 2))
            await asyncio.to_thread(eventually, lambda: waiting(scratch))
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

        with locked(scratch, "t"):
            manager.run(cancelled())
            assert manager.get_cache_stats().unrepaired == 1
            assert manager.load_state("t") == 1
        eventually(lambda: not manager.get_cache_stats().unrepaired)
        (state,) = scratch.sql("SELECT state_data FROM {t}")[0]
        assert manager.load_state("t") == reader.load_state("t") == state


@contextmanager
def far_manager(scratch: Scratch, kind: str) -> Iterator[tuple[Any, Relay]]:
    """Yield a manager and the relay that leads it to PostgreSQL."""
    server = scratch.database.info
    with relays() as open_relay:
        relay = open_relay((server.host, server.port))
        address = scratch.database_url.replace(f":{server.port}/", f":{relay.port}/")
        with replace(scratch, database_url=address).manager(kind) as manager:
            yield manager, relay


def test_an_update_whose_answer_is_lost_is_repaired(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind) as reader, far_manager(scratch, kind) as (manager, relay):
        manager.update_state("t", 1)
        assert reader.load_state("t") == 1
        due = scratch.version("t") + 1
        relay.delay(to_client=(60.0, 60.0))

        def cut() -> None:
            eventually(lambda: scratch.version("t") == due)
            relay.delay()
            relay.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(DatabaseError):
            manager.update_state("t", 2)
        thread.join()
        assert manager.load_state("t") == 2
        eventually(lambda: not manager.get_cache_stats().unrepaired)
        assert reader.load_state("t") == 2


def unrepaired(manager: Any) -> int:
    return int(manager.get_cache_stats().unrepaired)


def looked_at(manager: Any, times: int) -> None:
    """Wait until the repairer has asked PostgreSQL so often; nobody else does."""
    reads = manager.get_cache_stats().db_reads
    eventually(lambda: manager.get_cache_stats().db_reads >= reads + times)


def test_a_row_that_is_held_holds_up_no_other_repair(scratch: Scratch, kind: str) -> None:
    init_db(scratch.database_url, schema=scratch.schema, outside_writes=True)
    with (
        scratch.manager(kind, **POLLING) as reader,
        scratch.manager(kind, **POLLING, db_timeout_ms=300) as manager,
    ):
        names = ["held", "free", "by hand"]
        manager.update_states(dict.fromkeys(names, 1))
        assert reader.load_states(names) == dict.fromkeys(names, 1)
        with locked(scratch, "held"):
            with locked(scratch, "free"):
                for name in ("held", "free"):
                    with pytest.raises(DatabaseError):
                        manager.update_state(name, 2)
                assert unrepaired(manager) == 2
            eventually(lambda: unrepaired(manager) == 1)
            assert reader.load_state("free") == manager.load_state("free") == 2
            scratch.sql("UPDATE {t} SET state_data = '2' WHERE trigger_id = 'by hand'")
            eventually(lambda: reader.load_state("by hand") == 2)
            assert unrepaired(manager) == 1
        eventually(lambda: not unrepaired(manager))
        assert reader.load_state("held") == 2


def test_an_interrupted_cleanup_leaves_no_key_to_be_trusted(scratch: Scratch) -> None:
    kind = "AsyncCachedStateManager"
    with scratch.manager(kind, memory_items=10) as manager, scratch.manager(kind) as reader:
        manager.update_state("t", 1)
        assert reader.load_state("t") == manager.load_state("t") == 1
        committed = asyncio.Event()
        expire = manager.manager._table.expire

        async def lost(retention_s: float) -> AsyncIterator[Any]:
            """Commit a batch of which nobody learns any more."""
            async for _rows in expire(retention_s):
                committed.set()
                await asyncio.sleep(60)
                yield {}

        async def cancelled() -> None:
            manager.manager._table.expire = lost
            task = asyncio.create_task(manager.manager.cleanup_expired(0))
            await committed.wait()
            task.cancel()
            await asyncio.wait([task])

        manager.run(cancelled())
        assert manager.load_state("t") is None
        eventually(lambda: not unrepaired(manager))
        assert reader.load_state("t") is None


def test_repair_waits_for_a_write_that_nobody_waits_for(scratch: Scratch, kind: str) -> None:
    """Its connection is gone, but PostgreSQL is still to commit it."""
    with scratch.manager(kind) as reader, far_manager(scratch, kind) as (manager, relay):
        manager.update_state("t", 1)
        assert reader.load_state("t") == 1

        def cut() -> None:
            eventually(lambda: waiting(scratch))
            relay.cut()

        with locked(scratch, "t"):
            thread = threading.Thread(target=cut)
            thread.start()
            with pytest.raises(DatabaseError):
                manager.update_state("t", 2)
            thread.join()
            looked_at(manager, 3)
            assert unrepaired(manager) == 1
            assert len(waiting(scratch)) == 1, "the write itself; nobody else waits"
        eventually(lambda: not unrepaired(manager))
        eventually(lambda: scratch.sql("SELECT state_data FROM {t}") == [(2,)])
        assert manager.load_state("t") == 2
        assert reader.load_state("t") == 2
