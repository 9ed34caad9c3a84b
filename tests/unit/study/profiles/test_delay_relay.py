# ruff: noqa: PT012 - several steps lead to what is refused
"""The relay between real sockets. What it is to add is judged where it is used, not here."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statecache.study.errors import ServersError, StudyError
from statecache.study.profiles.calibration import running_echo
from statecache.study.profiles.delay_relay import DelayRelay, running_delay_relay

#: Sending may block that long before a test takes it for stuck.
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with running_echo() as port:
        yield port


@pytest.fixture
def relay(echo: int) -> Iterator[DelayRelay]:
    with running_delay_relay() as running:
        running.lead_to("127.0.0.1", echo)
        yield running


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server's socket for a test that plays the server itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        yield server


def connect(relay: DelayRelay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), PATIENCE_S)


def connect_both(relay: DelayRelay, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return a client's and the server's socket of one connection through the relay."""
    listener_port = listener.getsockname()[1]
    relay.lead_to("127.0.0.1", listener_port)
    listener.accept()[0].close()  # it tries once whether somebody answers
    client = connect(relay)
    server, _address = listener.accept()
    server.settimeout(PATIENCE_S)
    return client, server


def read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := connection.recv(1 << 16)):
        data += piece
    return bytes(data)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def exchange(relay: DelayRelay, data: bytes, pieces: list[int]) -> bytes:
    """Send the data in pieces of these sizes and return all that comes back until the end."""
    with connect(relay) as connection:

        def send() -> None:
            begin = 0
            for size in pieces:
                connection.sendall(data[begin : begin + size])
                begin += size
            connection.sendall(data[begin:])
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = read(connection, 1 << 40)
        sender.join()
        return received


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.integers(0, 3_000_000),
    pieces=st.lists(st.integers(1, 200_000), max_size=20),
    delay_ms=st.sampled_from([0.0, 0.3, 3.0]),
)
def test_what_goes_in_comes_out_in_order(
    relay: DelayRelay, size: int, pieces: list[int], delay_ms: float
) -> None:
    relay.add(delay_ms / 1000)
    data = random.Random(size).randbytes(size)
    assert exchange(relay, data, pieces) == data


def test_connections_do_not_mix(relay: DelayRelay) -> None:
    relay.add(0.002)
    payloads = [random.Random(number).randbytes(1_000_000) for number in range(32)]
    with ThreadPoolExecutor(len(payloads)) as threads:
        received = list(threads.map(lambda data: exchange(relay, data, [100, 10_000]), payloads))
    assert received == payloads


def test_there_may_be_more_connections_than_select_can_hold(relay: DelayRelay) -> None:
    connections = [connect(relay) for _ in range(600)]  # 1,200 sockets of the relay's
    for number, connection in enumerate(connections):
        connection.sendall(b"%05d" % number)
    for number, connection in enumerate(connections):
        assert read(connection, 5) == b"%05d" % number
        connection.close()


def test_each_direction_takes_half_of_the_round_trip(
    relay: DelayRelay, listener: socket.socket
) -> None:
    client, server = connect_both(relay, listener)
    relay.add(0.2)
    for source, sink in ((client, server), (server, client)):
        began = time.monotonic()
        source.sendall(b"x")
        assert sink.recv(10) == b"x"
        assert time.monotonic() - began >= 0.1
    client.close()
    server.close()


def test_requests_wait_side_by_side(relay: DelayRelay, listener: socket.socket) -> None:
    # One after the other they would take 40 s; and the server answers none before it has them all.
    client, server = connect_both(relay, listener)
    relay.add(0.8)
    for _ in range(100):
        client.sendall(b"request!")
        time.sleep(0.001)  # so that they do not merge into one
    assert read(server, 800) == b"request!" * 100
    server.sendall(b"answer")
    assert read(client, 6) == b"answer"
    client.close()
    server.close()


def test_what_is_under_way_has_no_limit(relay: DelayRelay) -> None:
    # 32 MB are more than the sockets' own buffers hold, and nothing arrives within this test.
    relay.add(2000.0)
    with connect(relay) as connection:
        connection.sendall(bytes(1 << 25))
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)


def test_a_reader_that_does_not_read_holds_its_writer_up(
    relay: DelayRelay, listener: socket.socket
) -> None:
    client, server = connect_both(relay, listener)
    relay.add(0.1)  # so that many pieces are under way when the first is not taken
    server.settimeout(1.0)
    piece = random.Random(1).randbytes(100_003)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 1 << 28:
            sent += server.send(piece[sent % len(piece) :])
    assert read(client, sent) == (piece * (sent // len(piece) + 1))[:sent], "and nothing is lost"
    client.close()
    server.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.005])
def test_an_end_closes_one_direction_only(
    relay: DelayRelay, listener: socket.socket, delay_s: float
) -> None:
    client, server = connect_both(relay, listener)
    relay.add(delay_s)
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert read(server, 100) == b"last words"
    server.sendall(b"still heard")
    server.close()
    assert read(client, 100) == b"still heard"
    client.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.005])
@pytest.mark.parametrize("by_client", [True, False])
def test_a_reset_is_passed_on(
    relay: DelayRelay, listener: socket.socket, by_client: bool, delay_s: float
) -> None:
    client, server = connect_both(relay, listener)
    relay.add(delay_s)
    gone, other = (client, server) if by_client else (server, client)
    reset(gone)
    with pytest.raises(ConnectionResetError):
        other.recv(1)
    other.close()


def test_a_server_that_refuses_is_a_reset(relay: DelayRelay, listener: socket.socket) -> None:
    relay.lead_to("127.0.0.1", listener.getsockname()[1])
    listener.close()
    with pytest.raises(ConnectionResetError), connect(relay) as client:
        client.recv(1)


def test_closed_connections_leave_no_socket_open(relay: DelayRelay) -> None:
    process = psutil.Process(relay.pid)
    before = process.num_fds()
    for number in range(20):
        connection = connect(relay)
        connection.sendall(b"x")
        assert read(connection, 1) == b"x"
        reset(connection) if number % 2 else connection.close()
    until = time.monotonic() + PATIENCE_S
    while process.num_fds() > before:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_counts_what_it_does_and_rests_where_there_is_nothing(relay: DelayRelay) -> None:
    before = relay.use()
    with connect(relay) as connection:
        for _ in range(50):
            connection.sendall(b"x")
            read(connection, 1)
        after = relay.use()
        assert after.delivered - before.delivered == 100
        assert after.cpu_s > before.cpu_s
        assert 0 <= after.late <= after.delivered


def test_nobody_there_is_said(relay: DelayRelay) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ServersError, match=f"127.0.0.1:{port} does not answer: .*refused[.]$"):
        relay.lead_to("127.0.0.1", port)


def test_a_terminals_interrupt_does_not_reach_it(relay: DelayRelay) -> None:
    assert os.getsid(relay.pid) != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(relay.pid, number)
    with connect(relay) as connection:
        connection.sendall(b"alive")
        assert read(connection, 5) == b"alive"


def test_a_relay_that_ends_early_is_reported(echo: int) -> None:
    with (
        pytest.raises(StudyError, match="ended early with status -9"),
        running_delay_relay() as one,
    ):
        os.kill(one.pid, signal.SIGKILL)
        with suppress(StudyError):
            one.lead_to("127.0.0.1", echo)
