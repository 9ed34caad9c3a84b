"""The tier in memory, between managers and processes: nobody keeps what another one changed."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from psycopg_pool import ConnectionPool
from support.cache_server import CacheServer
from support.interrupts import Victim, eventually
from support.managers import CACHED
from support.relay import relays
from support.scratch import Scratch

from statecache import CachedStateManager
from statecache._sync.cache import StateCache
from statecache._sync.link import Link
from statecache._sync.listener import TRUST_S, Listener
from statecache.lookup import Row
from statecache.memory import MemoryTier
from statecache.repair import Unrepaired

#: The tier forgets nothing by itself: what a test sees change, it was told.
TIER = {"memory_items": 100, "memory_ttl_secs": 600.0, "ttl_secs": 600.0}


@pytest.fixture(params=CACHED)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def other(kind: str) -> str:
    """The kind of manager that writes, where ``kind`` reads."""
    return next(one for one in CACHED if one != kind)


@pytest.fixture(scope="module")
def cache_server() -> Iterator[CacheServer]:
    with CacheServer() as server:
        yield server


def is_in_memory(manager: Any, name: str = "t") -> bool:
    before = manager.get_cache_stats().memory_hits
    manager.load_state(name)
    return bool(manager.get_cache_stats().memory_hits > before)


def keep(manager: Any, name: str = "t") -> Any:
    """Load a state until it comes from memory; return it."""
    eventually(lambda: is_in_memory(manager, name))
    return manager.load_state(name)


# Changes


def by_sql(scratch: Scratch, change: Callable[[], None]) -> None:
    """Write behind the managers' backs, which only ``change`` tells them."""
    scratch.sql("UPDATE {t} SET state_data = '2'")
    change()


CHANGES: dict[str, tuple[Any, Callable[[Any, Scratch], None]]] = {
    "update": (2, lambda manager, _: manager.update_state("t", 2)),
    "update_states": (2, lambda manager, _: manager.update_states({"t": 2, "u": 3})),
    "delete": (None, lambda manager, _: manager.delete_state("t")),
    "delete_states": (None, lambda manager, _: manager.delete_states(["u", "t"])),
    "cleanup_expired": (None, lambda manager, _: manager.cleanup_expired(0)),
    "invalidate": (2, lambda manager, at: by_sql(at, lambda: manager.invalidate(["t"]))),
    "invalidate_all": (2, lambda manager, at: by_sql(at, manager.invalidate_all)),
}


def test_what_another_manager_changes_is_seen(scratch: Scratch, kind: str, other: str) -> None:
    with scratch.manager(kind, **TIER) as reader, scratch.manager(other, **TIER) as writer:
        for name, (due, change) in CHANGES.items():
            writer.update_state("t", 1)
            eventually(lambda: reader.load_state("t") == 1)
            assert keep(reader) == 1
            change(writer, scratch)
            assert writer.load_state("t") == due, name
            eventually(lambda due=due: reader.load_state("t") == due)  # type: ignore[misc]


def test_own_writes_are_seen_at_once_and_answered_from_memory(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, **TIER) as manager:
        manager.update_state("t", 0)
        keep(manager)
        for n in range(1, 30):
            manager.update_state("t", n)
            assert is_in_memory(manager)
            assert manager.load_state("t") == n
        commands = manager.get_cache_stats().cache_commands
        for _ in range(100):
            assert manager.load_state("t") == 29
        assert manager.get_cache_stats().cache_commands == commands
        manager.delete_state("t")
        assert manager.load_state("t") is None
        manager.update_state("t", "again")
        assert manager.load_state("t") == "again"


def test_callers_share_no_object(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, **TIER) as manager:
        mine = {"window": [1, 2]}
        manager.update_state("t", mine)
        mine["window"].append(3)
        found = keep(manager)
        assert found == {"window": [1, 2]}
        found["window"].clear()
        assert manager.load_state("t") == {"window": [1, 2]}


def test_the_tier_is_bounded_and_holds_what_was_used_last(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, **TIER | {"memory_items": 5}) as manager:
        manager.update_states({f"t{n}": n for n in range(20)})
        keep(manager, "t0")
        for n in range(20):
            manager.load_state(f"t{n}")
        assert all(is_in_memory(manager, f"t{n}") for n in range(15, 20))
        assert not any(is_in_memory(manager, f"t{n}") for n in range(15))


def test_invalidate_all_reaches_states_that_the_cache_no_longer_holds(
    scratch: Scratch, kind: str, other: str
) -> None:
    with scratch.manager(kind, **TIER) as reader, scratch.manager(other) as writer:
        writer.update_state("t", 1)
        assert keep(reader) == 1
        scratch.cache.delete(scratch.prefix + "t")  # evicted
        by_sql(scratch, writer.invalidate_all)
        eventually(lambda: reader.load_state("t") == 2)


# Trouble


def test_a_put_that_fails_drops_the_own_entry(
    scratch: Scratch, kind: str, cache_server: CacheServer
) -> None:
    with scratch.manager(kind, redis_url=cache_server.url, **TIER) as manager:
        manager.update_state("t", 1)
        assert keep(manager) == 1
        cache_server.fill_up()  # it refuses entries, but goes on telling of changes
        try:
            manager.update_state("t", 2)
            assert manager.get_cache_stats().puts == 1
            assert manager.load_state("t") == 2
        finally:
            cache_server.make_room()
        eventually(lambda: keep(manager) == 2)


def test_a_load_under_way_keeps_nothing_that_a_failed_put_made_old(
    scratch: Scratch, cache_server: CacheServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cache_server.url
    with (
        scratch.manager("CachedStateManager", redis_url=url, **TIER) as manager,
        scratch.manager("CachedStateManager", redis_url=url) as other,
    ):
        other.update_states({"t": "old", "u": 1})
        keep(manager, "u")
        asked, goes_on = threading.Event(), threading.Event()
        is_unrepaired = Unrepaired.__contains__

        def slowly(self: Unrepaired, key: str) -> bool:
            """Let another thread have its turn right after the answer."""
            answer = is_unrepaired(self, key)
            if key == "t" and threading.current_thread() is not threading.main_thread():
                asked.set()
                assert goes_on.wait(30)
            return answer

        monkeypatch.setattr(Unrepaired, "__contains__", slowly)
        loader = Victim(lambda: manager.load_state("t"))
        assert asked.wait(30)
        cache_server.fill_up()
        try:
            manager.update_state("t", "new")
            goes_on.set()
            assert loader.end() == "old", "it began before the update had ended"
            assert manager.load_state("t") == "new"
        finally:
            cache_server.make_room()


WRITTEN_AROUND: dict[str, tuple[str, Callable[[Any], None], Any]] = {
    "invalidate": ("UPDATE {t} SET state_data = '2'", lambda manager: manager.invalidate(["t"]), 2),
    "invalidate_all": (
        "UPDATE {t} SET state_data = '2'",
        lambda manager: manager.invalidate_all(),
        2,
    ),
    "delete_state": ("DELETE FROM {t}", lambda manager: manager.delete_state("t"), None),
}


@pytest.mark.parametrize("call", WRITTEN_AROUND)
def test_after_its_own_call_a_manager_knows_without_being_told(
    scratch: Scratch, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement, invalidate, due = WRITTEN_AROUND[call]
    told, heard = threading.Event(), Listener._heard

    def late(self: Listener, message: bytes) -> None:
        assert told.wait(30)
        heard(self, message)

    monkeypatch.setattr(Listener, "_heard", late)
    with scratch.manager("CachedStateManager", **TIER) as manager:
        manager.update_states({"t": 1, "u": 1})
        keep(manager, "u")
        scratch.sql(statement)
        fence_off = StateCache._fence_off

        def overtaken(self: StateCache, *arguments: Any) -> bool:
            """Let Redis answer a load before it gets the fence."""
            assert manager.load_state("t") == 1
            return fence_off(self, *arguments)

        monkeypatch.setattr(StateCache, "_fence_off", overtaken)
        invalidate(manager)
        assert manager.load_state("t") == due
        told.set()


TROUBLES = ("listener killed", "server killed", "server stopped", "black hole", "cut off")


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_cannot_be_heard_is_not_trusted(
    scratch: Scratch, kind: str, other: str, cache_server: CacheServer, trouble: str
) -> None:
    server = cache_server
    with relays() as open_relay:
        relay = open_relay((server.host, server.port))
        begin, end = {
            "listener killed": (
                lambda: server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub"),
                lambda: None,
            ),
            "server killed": (server.kill, server.start),
            "server stopped": (server.stop, server.go_on),
            "black hole": (relay.hold, relay.release),
            "cut off": (lambda: (relay.refuse(), relay.cut()), relay.accept),
        }[trouble]
        quick = {"timeout_ms": 100, "breaker_max_wait_ms": 100}
        with (
            scratch.manager(
                kind, redis_url=server.url_at(relay.host, relay.port), **TIER | quick
            ) as reader,
            scratch.manager(other, redis_url=server.url, **quick) as writer,
        ):
            writer.update_state("t", 1)
            assert keep(reader) == 1
            begin()
            try:
                writer.update_state("t", 2)
                time_s = 10 * TRUST_S  # the bound is TRUST_S; a busy machine may be late
                eventually(lambda: reader.load_state("t") == 2, time_s)
            finally:
                end()
            eventually(lambda: is_in_memory(reader))
            assert reader.load_state("t") == 2
            writer.update_state("t", 3)
            eventually(lambda: reader.load_state("t") == 3)


def test_a_load_from_before_the_subscription_is_not_kept(scratch: Scratch) -> None:
    """What it read may have changed before anybody listened."""
    memory = MemoryTier(10, 600)
    client = redis.Redis.from_url(scratch.redis_url)
    server = client.connection_pool.connection_kwargs
    with relays() as open_relay:
        relay = open_relay((server["host"], server["port"]))
        relayed = redis.Redis(
            host=relay.host, port=relay.port, username=server.get("username"),
            password=server.get("password"),
        )  # fmt: skip
        listener = Listener(Link(relayed, 1.0), scratch.prefix + "\0changed", memory)
        relay.hold()
        listener.start()
        try:
            eventually(lambda: relay.requests)  # it is about to listen
            since = memory.changes
            relay.release()

            def is_trusted() -> bool:
                memory.store({"probe": Row(b"1", 1)}, memory.changes)
                return memory.get("probe") is not None

            eventually(is_trusted)
            memory.store({"t": Row(b"1", 1)}, since)
            assert memory.get("t") is None
        finally:
            listener.close()
            client.close()
            relayed.close()


def test_a_manager_that_is_forgotten_stops_listening_at_once(scratch: Scratch) -> None:
    def listeners() -> int:
        return sum(thread.name == "statecache-listener" for thread in threading.enumerate())

    client = redis.Redis.from_url(scratch.redis_url)
    before = listeners()
    with ConnectionPool(scratch.database_url, kwargs={"autocommit": True}, open=True) as pool:
        manager = CachedStateManager(pool, client, config=scratch.config(**TIER))
        manager.update_state("t", 1)
        keep(manager)
        assert listeners() == before + 1
        gc.disable()  # nothing in it refers to itself
        try:
            del manager
            eventually(lambda: listeners() == before)
        finally:
            gc.enable()
    client.close()


# Processes

_CHILD = """
import os, sys, time
from redis import Redis
from psycopg_pool import ConnectionPool
from statecache import CacheConfig, CachedStateManager

database_url, redis_url, schema, prefix, forks = sys.argv[1:]
config = CacheConfig(
    schema=schema, key_prefix=prefix, timeout_ms=1000, memory_items=10, memory_ttl_secs=600
)

def until(holds):
    ends = time.monotonic() + 30
    while not holds():
        if time.monotonic() > ends:
            print("too late", flush=True)
            os._exit(1)
        time.sleep(0.01)

def is_in_memory():
    before = manager.get_cache_stats().memory_hits
    manager.load_state("t")
    return manager.get_cache_stats().memory_hits > before

def follow():
    until(is_in_memory)
    print("kept", manager.load_state("t"), flush=True)
    until(lambda: manager.load_state("t") == 2)
    until(is_in_memory)
    print("kept", manager.load_state("t"), flush=True)

with ConnectionPool(database_url, min_size=1, kwargs={"autocommit": True}) as pool:
    with CachedStateManager(pool, Redis.from_url(redis_url), config=config) as manager:
        if forks == "no":
            follow()
            manager.update_state("t", 3)
        else:
            until(is_in_memory)  # the parent listens
            pid = os.fork()
            if pid == 0:  # it reads what is cached: the pool's connections are the parent's
                until(lambda: not is_in_memory())  # what it inherited is no longer trusted
                follow()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            until(lambda: manager.load_state("t") == 2)
"""


@pytest.mark.parametrize("forks", ["no", "yes"])
def test_another_process_sees_what_this_one_writes(
    scratch: Scratch, kind: str, forks: str, tmp_path: Path
) -> None:
    script = tmp_path / "child.py"
    script.write_text(_CHILD)
    with scratch.manager(kind, **TIER) as manager:
        manager.update_state("t", 1)
        assert keep(manager) == 1
        with subprocess.Popen(
            [sys.executable, str(script), scratch.database_url, scratch.redis_url,
             scratch.schema, scratch.prefix, forks],
            stdout=subprocess.PIPE, text=True,
        ) as child:  # fmt: skip
            assert child.stdout is not None
            assert child.stdout.readline() == "kept 1\n"
            manager.update_state("t", 2)
            assert child.stdout.readline() == "kept 2\n"
            if forks == "no":
                eventually(lambda: manager.load_state("t") == 3)
        assert child.returncode == 0
