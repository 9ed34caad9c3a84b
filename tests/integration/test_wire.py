"""Exchanges with Redis: replies, errors, time limits, and connections that end or are secured."""

from __future__ import annotations

import asyncio
import gc
import inspect
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
import redis.asyncio
import redis.exceptions
import trustme
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from support.cache_server import CacheServer
from support.interrupts import eventually
from support.managers import CACHED
from support.scratch import Scratch
from support.tls import tls_in_front_of

from statecache import AsyncCachedStateManager, CachedStateManager
from statecache._async.link import AsyncLink
from statecache._sync.link import Link
from statecache.wire import AsyncFeed, AsyncWire, Feed

LIMIT_S = 20.0


def connections(server: CacheServer) -> int:
    """Return how many there are beside the one that asks."""
    return len(server.client.client_list(_type="normal")) - 1


@pytest.fixture(scope="module")
def server() -> Iterator[CacheServer]:
    with CacheServer() as server:
        yield server


def on_wire(server: CacheServer, scenario: Any) -> None:
    """Run a scenario on a wire that is not connected yet."""

    async def run() -> None:
        client = redis.asyncio.Redis.from_url(server.url)
        wire = AsyncWire(AsyncLink(client, 1.0).connect())
        try:
            await scenario(wire)
        finally:
            await wire.disconnect()

    asyncio.run(run())


async def ask(wire: AsyncWire, *command: Any, seconds: float = LIMIT_S) -> Any:
    return await wire.exchange(hiredis.pack_command(command), seconds)


def test_replies_are_those_of_the_server_in_bytes(server: CacheServer) -> None:
    async def scenario(wire: AsyncWire) -> None:
        assert await ask(wire, "SET", "k", b"\x00\r\n\xff") == b"OK"
        assert await ask(wire, "GET", "k") == b"\x00\r\n\xff"
        assert await ask(wire, "GET", "absent") is None
        assert await ask(wire, "MGET", "k", "absent") == [b"\x00\r\n\xff", None]
        assert await ask(wire, "EVAL", "return {1, {2, 'x'}}", 0) == [1, [2, b"x"]]

    on_wire(server, scenario)


def test_what_comes_in_many_pieces_is_one_reply(server: CacheServer) -> None:
    large = bytes(range(256)) * 40_000  # 10 MB

    async def scenario(wire: AsyncWire) -> None:
        assert await ask(wire, "SET", "large", large) == b"OK"
        assert await ask(wire, "GET", "large") == large
        assert await ask(wire, "DEL", "large") == 1

    on_wire(server, scenario)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (("EVALSHA", "0" * 40, 0), redis.exceptions.NoScriptError),
        (("NONSENSE",), redis.exceptions.ResponseError),
        (("INCR", "text"), redis.exceptions.ResponseError),
    ],
)
def test_what_the_server_refuses_is_raised_as_redis_py_does_and_the_wire_goes_on(
    server: CacheServer, command: Any, error: type[Exception]
) -> None:
    async def scenario(wire: AsyncWire) -> None:
        await ask(wire, "SET", "text", "x")
        with pytest.raises(error):
            await ask(wire, *command)
        assert await ask(wire, "GET", "text") == b"x"

    on_wire(server, scenario)


def test_a_wrong_password_is_an_authentication_error(server: CacheServer) -> None:
    async def run() -> None:
        client = redis.asyncio.Redis(host=server.host, port=server.port, password="wrong")
        with pytest.raises(redis.exceptions.AuthenticationError):
            await AsyncLink(client, 1.0).call(LIMIT_S, "PING")

    asyncio.run(run())


def test_a_server_that_hangs_costs_the_time_limit_and_closing_costs_nothing() -> None:
    unread = b"x" * (32 << 20)  # more than a socket's buffers hold

    async def scenario(wire: AsyncWire) -> None:
        assert await ask(wire, "PING") == b"PONG"
        server.stop()
        with pytest.raises(TimeoutError):
            await ask(wire, "SET", "k", unread, seconds=0.05)
        # What was not sent yet would keep the connection open for as long as the server hangs.
        await asyncio.wait_for(wire.disconnect(), LIMIT_S)
        server.go_on()

    with CacheServer() as server:
        on_wire(server, scenario)


def test_a_server_that_hangs_before_the_handshake_costs_the_time_limit() -> None:
    async def scenario(wire: AsyncWire) -> None:
        server.stop()
        with pytest.raises((TimeoutError, redis.exceptions.TimeoutError)):
            await ask(wire, "PING", seconds=0.05)
        server.go_on()

    with CacheServer() as server:
        on_wire(server, scenario)


def test_a_connection_that_the_server_ended_is_noticed_when_idle_and_when_waiting(
    server: CacheServer,
) -> None:
    async def scenario(wire: AsyncWire) -> None:
        own = await ask(wire, "CLIENT", "ID")
        waiting = asyncio.create_task(ask(wire, "BLPOP", "nothing", 0))
        await asyncio.sleep(0)
        assert server.client.client_kill_filter(_id=own)
        with pytest.raises(redis.exceptions.ConnectionError):
            await waiting
        with pytest.raises(redis.exceptions.ConnectionError):
            await ask(wire, "PING")

    on_wire(server, scenario)


def test_a_link_replaces_a_connection_that_was_closed_while_idle(server: CacheServer) -> None:
    async def run() -> None:
        link = AsyncLink(redis.asyncio.Redis.from_url(server.url), 1.0)
        own = await link.call(LIMIT_S, "CLIENT", "ID")
        server.client.client_kill_filter(_id=own)
        assert await link.call(LIMIT_S, "CLIENT", "ID") != own
        await link.aclose()

    asyncio.run(run())


def test_a_caller_who_is_cancelled_leaves_no_reply_to_the_next(server: CacheServer) -> None:
    async def run() -> None:
        link = AsyncLink(redis.asyncio.Redis.from_url(server.url), 1.0)
        server.client.set("k", "mine")
        assert await link.call(LIMIT_S, "PING") == b"PONG", "connected"
        for turns in range(6):  # from before it is sent until after the reply has come
            caller = asyncio.create_task(link.call(LIMIT_S, "ECHO", "another's"))
            for _turn in range(turns):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait([caller])
            assert await link.call(LIMIT_S, "GET", "k") == b"mine"
        await link.aclose()

    asyncio.run(run())


# What is published


class OneFeed:
    """A feed of either kind, called without ``await``, and what was heard so far."""

    def __init__(self, feed: Any, runner: asyncio.Runner) -> None:
        self._feed = feed
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*values: Any) -> Any:
            outcome = getattr(self._feed, name)(*values)
            return await outcome if inspect.isawaitable(outcome) else outcome

        return lambda *values: self._runner.run(call(*values))


@contextmanager
def feed_of(kind: str, server: CacheServer, heard: Callable[[bytes], None]) -> Iterator[OneFeed]:
    """Connect a feed, and subscribe."""
    with asyncio.Runner() as runner:
        if kind == "async":
            client = redis.asyncio.Redis.from_url(server.url)
            feed: Any = AsyncFeed(AsyncLink(client, LIMIT_S).connect(), heard)
        else:
            feed = Feed(Link(redis.Redis.from_url(server.url), LIMIT_S).connect(), heard)
        one = OneFeed(feed, runner)
        one.connect(LIMIT_S)
        try:
            one.send(hiredis.pack_command((b"SUBSCRIBE", b"news")))  # type: ignore[arg-type]
            assert one.next_reply(LIMIT_S) == [b"subscribe", b"news", 1]
            yield one
        finally:
            one.disconnect()


PING = hiredis.pack_command(("PING",))

feeds = pytest.mark.parametrize("kind", ["async", "sync"])


@feeds
def test_messages_are_heard_in_order_and_before_what_came_after_them(
    server: CacheServer, kind: str
) -> None:
    heard: list[bytes] = []
    with feed_of(kind, server, heard.append) as feed:
        messages = [b"%d" % n for n in range(300)] + [b"x" * 300_000]
        for message in messages:
            server.client.publish("news", message)
        feed.send(PING)
        assert feed.next_reply(LIMIT_S)[0] == b"pong"
        assert heard == messages


@feeds
def test_a_feed_to_which_nothing_else_comes_says_so_after_the_time(
    server: CacheServer, kind: str
) -> None:
    heard: list[bytes] = []
    with feed_of(kind, server, heard.append) as feed:
        server.client.publish("news", b"1")
        assert feed.next_reply(0.2) is None
        assert heard == [b"1"]


@feeds
def test_a_message_that_nobody_understands_ends_the_feed(server: CacheServer, kind: str) -> None:
    def heard(message: bytes) -> None:
        raise ValueError(message)

    with feed_of(kind, server, heard) as feed:
        server.client.publish("news", b"junk")
        with pytest.raises(ValueError, match="junk"):
            feed.next_reply(LIMIT_S)


@feeds
def test_a_feed_that_the_server_ends_is_lost(server: CacheServer, kind: str) -> None:
    with feed_of(kind, server, lambda _message: None) as feed:
        assert server.client.client_kill_filter(_type="pubsub")
        with pytest.raises(redis.exceptions.ConnectionError):
            feed.next_reply(LIMIT_S)


@pytest.mark.parametrize("kind", CACHED)
def test_managers_speak_tls_and_check_the_certificate(
    scratch: Scratch, kind: str, tmp_path: Path
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted, untrusted = tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(trusted)
    other.cert_pem.write_to_path(untrusted)
    plain = redis.connection.parse_url(scratch.redis_url)
    with tls_in_front_of(plain["host"], plain["port"], context) as port:

        def url(certificates: Path) -> str:
            secured = scratch.redis_url.replace("redis://", "rediss://")
            address = secured.replace(f":{plain['port']}", f":{port}")
            return f"{address}?ssl_ca_certs={certificates}"

        with scratch.manager(kind, redis_url=url(trusted), timeout_ms=5_000) as manager:
            manager.update_state("t", {"n": 1})
            assert manager.load_state("t") == {"n": 1}
            stats = manager.get_cache_stats()
            assert (stats.hits, stats.errors) == (1, 0)
        with scratch.manager(kind, redis_url=url(untrusted), timeout_ms=5_000) as manager:
            assert manager.load_state("t") == {"n": 1}, "PostgreSQL answers"
            assert manager.get_cache_stats().errors


# Whose manager nobody closed


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_link_serves_one_event_loop_after_the_other(server: CacheServer) -> None:
    """Of connections that an earlier loop has left, nobody reads a reply any more."""
    client = redis.asyncio.Redis.from_url(server.url)
    link = AsyncLink(client, 1.0)

    async def ask_at_once() -> list[bytes]:
        return await asyncio.gather(*(link.call(LIMIT_S, "PING") for _ in range(5)))

    async def ask_and_close() -> list[bytes]:
        replies = await asyncio.wait_for(ask_at_once(), LIMIT_S / 2)
        await link.aclose()
        return replies

    assert asyncio.run(ask_at_once()) == [b"PONG"] * 5
    assert asyncio.run(ask_and_close()) == [b"PONG"] * 5
    gc.collect()
    eventually(lambda: not connections(server))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("kind", CACHED)
def test_a_manager_that_is_forgotten_leaves_no_connection(
    scratch: Scratch, server: CacheServer, kind: str
) -> None:
    config = scratch.config(memory_items=10)
    options: dict[str, Any] = {"open": False, "kwargs": {"autocommit": True}}

    async def asynchronously() -> None:
        client = redis.asyncio.Redis.from_url(server.url)
        async with AsyncConnectionPool(scratch.database_url, **options) as pool:
            for _ in range(3):
                manager = AsyncCachedStateManager(pool, client, config=config)
                await asyncio.gather(*(manager.load_state(f"t{n}") for n in range(5)))
            assert connections(server) >= 5
            del manager
            await asyncio.to_thread(eventually, gone)

    def gone() -> bool:
        gc.collect()
        return not connections(server) and not server.client.client_list(_type="pubsub")

    if kind == "AsyncCachedStateManager":
        asyncio.run(asynchronously())
        return
    client = redis.Redis.from_url(server.url)
    with ConnectionPool(scratch.database_url, **options | {"open": True}) as pool:
        for _ in range(3):
            manager = CachedStateManager(pool, client, config=config)
            manager.load_state("t")
        assert connections(server) >= 1
        del manager
        eventually(gone)
