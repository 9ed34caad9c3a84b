"""The relay does to connections what the history tests count on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from support.relay import Relay, relays


class Echo:
    """A server that answers what it gets, and remembers it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", int(self._listener.getsockname()[1]))
        self.got = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1_000):
                    self.got += data
                    connection.sendall(data)
            except OSError:
                pass


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def relay(echo: Echo) -> Iterator[Relay]:
    with relays() as open_relay:
        yield open_relay(echo.address)


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection((relay.host, relay.port), timeout=20)


def ask(relay: Relay) -> bytes:
    with connect(relay) as client:
        client.sendall(b"1")
        return client.recv(1)


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


def test_it_passes_on_both_ways(relay: Relay) -> None:
    with connect(relay) as client:
        for number in range(20):
            client.sendall(b"%d" % number)
            assert client.recv(10) == b"%d" % number


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_it_delays_each_direction(relay: Relay, direction: str) -> None:
    with connect(relay) as client:
        client.sendall(b"at once")
        assert client.recv(10) == b"at once"
        relay.delay(**{direction: (0.2, 0.3)})
        started = time.monotonic()
        client.sendall(b"slow")
        assert client.recv(10) == b"slow"
        assert time.monotonic() - started >= 0.2


def test_what_is_held_goes_its_way_later(relay: Relay, echo: Echo) -> None:
    with connect(relay) as client:
        relay.hold()
        client.sendall(b"x")
        time.sleep(0.1)
        assert echo.got == b""
        relay.release()
        assert client.recv(10) == b"x"


def test_what_a_client_sent_arrives_after_it_has_given_up(relay: Relay, echo: Echo) -> None:
    relay.delay(to_server=(0.2, 0.2))
    with connect(relay) as client:
        client.sendall(b"late")
    wait_until(lambda: echo.got == b"late")


@pytest.mark.parametrize("deliver", [True, False])
def test_a_cut_resets_with_or_without_delivery(relay: Relay, echo: Echo, deliver: bool) -> None:
    with connect(relay) as client:
        client.sendall(b"1")
        assert client.recv(1) == b"1"
        relay.delay(to_server=(0.3, 0.3))
        client.sendall(b"2")
        wait_until(lambda: relay.requests == 2)
        relay.cut(deliver=deliver)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    if deliver:
        wait_until(lambda: echo.got == b"12")
    else:
        time.sleep(0.5)
        assert echo.got == b"1"


def test_it_refuses_until_it_accepts(relay: Relay) -> None:
    relay.refuse()
    with pytest.raises(ConnectionResetError):
        ask(relay)
    relay.heal()
    assert ask(relay) == b"1"
