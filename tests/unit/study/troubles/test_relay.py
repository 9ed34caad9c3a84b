"""The relay between real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from statecache.study.troubles.relay import TroubleRelay, running_relay


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
def relay(echo: int) -> Iterator[TroubleRelay]:
    with running_relay(f"redis://127.0.0.1:{echo}") as running:
        yield running


def connect(relay: TroubleRelay) -> socket.socket:
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


def test_it_passes_everything_on(relay: TroubleRelay) -> None:
    with connect(relay) as one, connect(relay) as other:
        assert ask(one, b"PING") == b"PING"
        assert ask(other, b"x" * 300_000) == b"x" * 300_000


def test_forgotten_subscribers_go_silent_and_stay_open(relay: TroubleRelay) -> None:
    with connect(relay) as listening, connect(relay) as asking:
        assert ask(listening, b"*2\r\n$9\r\nsubscribe\r\n") == b"*2\r\n$9\r\nsubscribe\r\n"
        assert ask(asking, b"GET") == b"GET"
        relay.forget_subscribers()
        assert is_silent(listening)
        assert ask(asking, b"GET") == b"GET", "the others go on"
        with connect(relay) as late:
            late.sendall(b"SUBSCRIBE")
            assert is_silent(late), "new ones find nothing better"


def test_once_healed_the_forgotten_are_reset_and_new_ones_work(relay: TroubleRelay) -> None:
    with connect(relay) as listening:
        ask(listening, b"SUBSCRIBE")
        relay.forget_subscribers()
        assert is_silent(listening)
        relay.heal()
        listening.settimeout(10)
        with pytest.raises(ConnectionResetError):
            listening.recv(10)
    with connect(relay) as again:
        assert ask(again, b"SUBSCRIBE") == b"SUBSCRIBE"


def test_an_end_that_closes_closes_the_other(relay: TroubleRelay) -> None:
    with connect(relay) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""


def test_the_address_behind_it_keeps_the_credentials(relay: TroubleRelay) -> None:
    address = relay.address("redis://:pass%40word@db.example:6379/2")
    assert address == f"redis://:pass%40word@127.0.0.1:{relay.port}/2"


def test_who_is_refused_is_reset_until_it_heals(relay: TroubleRelay) -> None:
    with connect(relay) as before:
        assert ask(before, b"PING") == b"PING"
        relay.refuse()
        with pytest.raises(ConnectionResetError):
            before.recv(10)
        with pytest.raises(ConnectionResetError), connect(relay) as late:
            late.recv(10)
    relay.heal()
    with connect(relay) as again:
        assert ask(again, b"PING") == b"PING"


def test_what_is_held_passes_later(relay: TroubleRelay) -> None:
    with connect(relay) as before:
        assert ask(before, b"PING") == b"PING"
        relay.hold()
        with connect(relay) as late:
            late.sendall(b"one, ")
            assert is_silent(late)
            assert is_silent(before)
            relay.heal()
            late.settimeout(10)
            before.settimeout(10)
            assert before.recv(100) == b"anybody?"
            received = b""
            while len(received) < len(b"one, anybody?"):
                received += late.recv(100)
            assert received == b"one, anybody?"
