"""The cache fails in every way it can: callers never feel more than the time-out."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import redis
from support.managers import CACHED
from support.scratch import Scratch

from statecache import DatabaseError
from statecache.study._supervisor import free_port


@pytest.fixture(params=CACHED)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def settings(cache: redis.Redis, **changes: Any) -> Iterator[None]:
    """Change the server's settings for a while."""
    before = {name: cache.config_get(name)[name] for name in changes}
    for name, value in changes.items():
        cache.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            cache.config_set(name, value)


@pytest.fixture
def stopped(servers: Any, scratch: Scratch) -> Iterator[Callable[[], None]]:
    """Stop the cache server's process as a debugger would: connections stay, nothing answers."""
    if not servers.embedded:
        pytest.skip("the Redis in REDIS_URL is not ours to stop: unset it for this test")
    process = psutil.Process(scratch.cache.info("server")["process_id"])

    def stop() -> None:
        process.send_signal(signal.SIGSTOP)

    yield stop
    process.send_signal(signal.SIGCONT)
    assert scratch.cache.ping()


def use(manager: Any, name: str = "t") -> None:
    """Every operation, with its right answer."""
    manager.update_state(name, {"n": 1})
    assert manager.load_state(name) == {"n": 1}
    manager.update_state(name, {"n": 2})
    assert manager.load_state(name) == {"n": 2}
    manager.delete_state(name)
    assert manager.load_state(name) is None
    manager.update_state(name, {"n": 3})
    assert manager.load_state(name) == {"n": 3}


def test_nobody_listens(kind: str, scratch: Scratch, caplog: pytest.LogCaptureFixture) -> None:
    url = f"redis://:hidden@127.0.0.1:{free_port()}/0"
    with (
        caplog.at_level(logging.WARNING, "statecache"),
        scratch.manager(kind, redis_url=url) as manager,
    ):
        for _ in range(20):
            use(manager)
            assert manager.load_state("never written") is None
        stats = manager.get_cache_stats()
    assert stats.hits == 0
    assert stats.errors >= 5
    assert "bypassed" in stats.misses_by_reason, "the breaker opened"
    ours = [record for record in caplog.records if record.name == "statecache"]
    assert len(ours) == 1, "an episode is logged once, not once a call"
    assert "hidden" not in caplog.text


def test_a_wrong_password(kind: str, scratch: Scratch, caplog: pytest.LogCaptureFixture) -> None:
    wrong = scratch.redis_url.replace("@", "nope@", 1)
    with scratch.manager(kind, redis_url=wrong) as manager:
        use(manager)
        assert manager.get_cache_stats().errors
    assert "nope" not in caplog.text


def test_a_hung_server_costs_the_time_out_until_the_breaker_opens(
    kind: str, scratch: Scratch, stopped: Callable[[], None]
) -> None:
    with scratch.manager(kind, timeout_ms=100, breaker_max_wait_ms=60_000) as manager:
        manager.update_state("t", 1)
        assert manager.load_state("t") == 1
        stopped()
        for _ in range(100):
            assert manager.load_state("t") == 1
        stats = manager.get_cache_stats()
    # Five time-outs in a row open the breaker; half-open probes may add a few.
    assert 5 <= stats.errors <= 20
    assert stats.misses_by_reason["bypassed"] >= 80


def test_it_is_used_again_once_it_is_back(kind: str, servers: Any, scratch: Scratch) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with scratch.manager(kind, redis_url=url, breaker_max_wait_ms=200) as manager:
        for _ in range(10):
            use(manager)
        assert manager.get_cache_stats().hits == 0
        with forwarding(port, scratch.redis_url) as url_password:
            assert url_password is not None
            deadline = time.monotonic() + 20
            while not manager.get_cache_stats().hits:
                assert time.monotonic() < deadline
                manager.load_state("t")
                time.sleep(0.01)


@contextmanager
def forwarding(port: int, redis_url: str) -> Iterator[str]:
    """Let a port lead to the real server, as an address that comes back to life.

    The client knows no password there, so the relay sends it first and swallows the answer.
    """
    target = redis.connection.parse_url(redis_url)
    listener = socket.create_server(("127.0.0.1", port))
    open_sockets: list[socket.socket] = [listener]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                near, _address = listener.accept()
            except OSError:
                return
            far = socket.create_connection((target["host"], target["port"]))
            far.sendall(f"AUTH {target['password']}\r\n".encode())
            assert far.recv(5) == b"+OK\r\n"
            open_sockets.extend((near, far))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield str(target["password"])
    finally:
        for one in open_sockets:
            one.close()


def test_a_put_stuck_in_a_stopped_server_arrives_too_late(
    kind: str, servers: Any, scratch: Scratch
) -> None:
    if not servers.embedded:
        pytest.skip("the Redis in REDIS_URL is not ours to stop: unset it for this test")
    process = psutil.Process(scratch.cache.info("server")["process_id"])
    with scratch.manager(kind, ttl_secs=0.4, timeout_ms=100) as manager:
        manager.update_state("t", 0)
        process.send_signal(signal.SIGSTOP)
        try:
            manager.update_state("t", 1)
            manager.update_state("t", 2)
            time.sleep(1.0)  # longer than the mark that the failed puts leave
        finally:
            process.send_signal(signal.SIGCONT)
        assert scratch.cache.ping()
        for _ in range(50):
            assert manager.load_state("t") == 2


def test_a_full_server_never_serves_the_past(kind: str, scratch: Scratch) -> None:
    with scratch.manager(kind) as manager, scratch.manager(kind) as other:
        manager.update_state("t", "old")
        old = scratch.version("t")
        with settings(scratch.cache, maxmemory="1", **{"maxmemory-policy": "noeviction"}):
            manager.update_state("t", "new")
            assert scratch.entry("t") == (old, b'J"old"'), "the cache could not take it"
            for _ in range(5):
                assert manager.load_state("t") == "new", "who wrote reads its own write"
        deadline = time.monotonic() + 10
        while scratch.entry("t") == (old, b'J"old"'):
            assert time.monotonic() < deadline, "it is repaired, whether anybody reads or not"
            time.sleep(0.01)
        assert other.load_state("t") == "new"
        hits = manager.get_cache_stats().hits
        while manager.get_cache_stats().hits == hits:
            assert time.monotonic() < deadline, "and trusted again"
            assert manager.load_state("t") == "new"


def test_a_read_only_server(kind: str, scratch: Scratch) -> None:
    with scratch.manager(kind) as manager:
        manager.update_state("t", 1)
        scratch.cache.replicaof("127.0.0.1", str(free_port()))
        try:
            use(manager)
            stats = manager.get_cache_stats()
        finally:
            scratch.cache.replicaof("NO", "ONE")
        assert any("ReadOnly" in reason for reason in stats.errors_by_reason)
        use(manager)


def test_cut_connections(kind: str, scratch: Scratch) -> None:
    with scratch.manager(kind) as manager:
        for _ in range(10):
            use(manager)
            scratch.cache.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        use(manager)


def test_without_postgresql_hits_are_served_and_misses_are_the_error(
    kind: str, servers: Any, scratch: Scratch
) -> None:
    with scratch.manager(kind) as manager:
        manager.update_state("cached", 1)
    gone = Scratch(
        f"postgresql://me@127.0.0.1:{free_port()}/x",
        scratch.redis_url,
        scratch.schema,
        scratch.prefix,
        scratch.database,
        scratch.cache,
    )
    with gone.manager(kind, pool_timeout=0.2) as manager:
        assert manager.load_state("cached") == 1
        with pytest.raises(DatabaseError) as caught:
            manager.load_state("not cached")
        assert "\n" not in str(caught.value)
        with pytest.raises(DatabaseError):
            manager.update_state("new", 1)
        assert gone.entry("new") is None, "nothing is written to the cache alone"
