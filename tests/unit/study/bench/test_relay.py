"""The relay between real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from statecache.study.bench.relay import Relay, running_relay, through_relay


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _address = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def relay(echo: int) -> Iterator[Relay]:
    with running_relay("127.0.0.1", echo) as running:
        yield running


def connect(relay: Relay) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", relay.port))
    connection.settimeout(10)
    return connection


def ask(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data):
        answer += connection.recv(4096)
    return answer


def is_silent(connection: socket.socket) -> bool:
    connection.sendall(b"anybody?")
    connection.settimeout(0.5)
    try:
        return connection.recv(4096) == b"never"
    except TimeoutError:
        return True


def test_it_passes_everything_on(relay: Relay) -> None:
    with connect(relay) as one, connect(relay) as other:
        assert ask(one, b"PING") == b"PING"
        assert ask(other, b"x" * 300_000) == b"x" * 300_000


def test_in_a_blackout_subscribed_connections_go_silent_and_stay_open(relay: Relay) -> None:
    with connect(relay) as listening, connect(relay) as asking:
        assert ask(listening, b"*2\r\n$9\r\nsubscribe\r\n") == b"*2\r\n$9\r\nsubscribe\r\n"
        assert ask(asking, b"GET") == b"GET"
        relay.black_out()
        assert is_silent(listening)
        assert ask(asking, b"GET") == b"GET", "the others go on"
        with connect(relay) as late:
            late.sendall(b"SUBSCRIBE")
            assert is_silent(late), "new ones find nothing better"


def test_after_the_blackout_the_dead_are_closed_and_new_ones_work(relay: Relay) -> None:
    with connect(relay) as listening:
        ask(listening, b"SUBSCRIBE")
        relay.black_out()
        assert is_silent(listening)
        relay.restore()
        listening.settimeout(10)
        assert listening.recv(10) == b""
    with connect(relay) as again:
        assert ask(again, b"SUBSCRIBE") == b"SUBSCRIBE"


def test_an_end_that_closes_closes_the_other(relay: Relay) -> None:
    with connect(relay) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:pass%40word@db.example:6379/2", "redis://:pass%40word@127.0.0.1:7/2"),
        ("redis://localhost", "redis://127.0.0.1:7"),
    ],
)
def test_an_address_behind_the_relay(url: str, expected: str) -> None:
    assert through_relay(url, 7) == expected
