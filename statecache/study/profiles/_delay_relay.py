"""The process that stands between a client and one server and lets every byte arrive later.

``python _delay_relay.py`` writes a line of JSON with its ``port``. Each line of JSON on stdin sets
``target`` ([host, port], for connections made from then on) or ``delay_s`` (each way, for bytes
that come from then on), and is answered by a line with ``cpu_s`` (its own CPU time), ``delivered``
(pieces) and ``late`` (those passed on over .25 ms after they were due), or with ``error``. It ends
when its stdin ends. Standard library only: it is run by its path.

Bytes wait in one queue with the moment at which they are due, so a delay limits no throughput.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import selectors
import signal
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

STDIN: Final = 0
CONNECT_LIMIT_S: Final = 5.0
LATE_S: Final = 250e-6  # half of what a round trip's p99 may be off by
CHUNK_BYTES: Final = 1 << 16

#: What an end is told: bytes to send, no bytes for the end of the stream, None for a reset.
Message: TypeAlias = "bytes | None"
END: Final = b""
RESET: Final = None


class Punctuality:
    """How long before a moment to wake up: a quantile of how late the kernel woke us before.

    It takes a step up after each wait that ended later, a smaller one down after each other.
    """

    QUANTILE = 0.75
    STEP_S = 2e-6
    MOST_S = 300e-6

    def __init__(self) -> None:
        self.lead_s = 60e-6

    def learn(self, late_s: float) -> None:
        """Take note of a wait that ended that much later than asked."""
        step = self.QUANTILE if late_s > self.lead_s else self.QUANTILE - 1.0
        self.lead_s = min(max(self.lead_s + step * self.STEP_S, 0.0), self.MOST_S)


class Relay:
    """The loop: what is connected, what is under way, and until when to wait."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.delay_s = 0.0
        self.now = time.monotonic()
        self._target: tuple[int, Any] | None = None  # address family, address
        # What waits, first what is due first: the delay is the same for all.
        self._under_way: deque[tuple[float, End, Message]] = deque()
        self._punctuality = Punctuality()
        self._delivered = self._late = 0
        self._commands = bytearray()
        self._has_ended = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.selector.register(self._listener, selectors.EVENT_READ)
        self.selector.register(STDIN, selectors.EVENT_READ)

    def run(self) -> None:
        """Relay until stdin ends."""
        _tell({"port": self._listener.getsockname()[1]})
        while not self._has_ended:
            self._wait()
            for key, events in self.selector.select(0):
                if isinstance(key.data, End):
                    key.data.act(events)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._obey()
                self._deliver()
            self._deliver()

    def send_later(self, end: End, message: Message) -> None:
        """Let the end have the message once the delay has passed, counted from this turn."""
        self._under_way.append((self.now + self.delay_s, end, message))

    def _wait(self) -> None:
        """Return when a socket is ready, or shortly before the next message is due.

        select() takes microseconds where epoll, by Python's hand, takes whole milliseconds; and
        waiting for the selector instead of the sockets, it takes any number of them.
        """
        if not self._under_way:
            select.select([self.selector], [], [])
        else:
            moment = self._under_way[0][0] - self._punctuality.lead_s
            timeout_s = moment - time.monotonic()
            if timeout_s > 0:
                ready, _, _ = select.select([self.selector], [], [], timeout_s)
                if not ready:
                    self._punctuality.learn(time.monotonic() - moment)
        # What is ready has come by now at the latest: later it would also wait for its turn.
        self.now = time.monotonic()

    def _deliver(self) -> None:
        under_way = self._under_way
        while under_way and (late_s := time.monotonic() - under_way[0][0]) >= 0:
            _, end, message = under_way.popleft()
            end.take(message)
            self._delivered += 1
            self._late += late_s > LATE_S

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            if self._target is None:
                client.close()
                return
            family, address = self._target
            server = socket.socket(family)
            ends = End(self, client), End(self, server)
            ends[0].peer, ends[1].peer = ends[1], ends[0]
            ends[1].connect(address)

    def _obey(self) -> None:
        data = os.read(STDIN, 4096)
        self._has_ended = not data
        self._commands += data
        while b"\n" in self._commands:
            line, _, rest = bytes(self._commands).partition(b"\n")
            self._commands[:] = rest
            try:
                self._set(**json.loads(line))
            except OSError as error:
                _tell({"error": str(error)})
            else:
                done = {"delivered": self._delivered, "late": self._late}
                _tell(done | {"cpu_s": time.process_time()})

    def _set(self, target: list[Any] | None = None, delay_s: float | None = None) -> None:
        if target is not None:
            host, port = target
            with socket.create_connection((host, port), CONNECT_LIMIT_S) as trial:
                self._target = trial.family, trial.getpeername()
        if delay_s is not None:
            self.delay_s = delay_s


class End:
    """One end of a connection: what it receives its peer takes later."""

    peer: End

    def __init__(self, relay: Relay, connection: socket.socket) -> None:
        self._relay = relay
        self._socket = connection
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_connecting = False
        self._is_open = True
        self._has_received_end = False
        self._has_sent_end = False
        self._unsent: deque[bytes | memoryview] = deque()  # due, but the socket takes no more
        self._events = 0

    def connect(self, address: Any) -> None:
        """Begin to connect; until it is, the end is blocked."""
        self._is_connecting = True
        if self._socket.connect_ex(address) in (0, errno.EINPROGRESS):
            self.watch()
        else:
            self._fail()

    def watch(self) -> None:
        """Watch for what can be done now: nothing is read for a peer that takes no more.

        So a slow reader slows down its writer, as it would without us, and bytes that are not due
        yet are never counted against it.
        """
        events = 0
        if self._is_open and not self._has_received_end and not self.peer._is_blocked:
            events |= selectors.EVENT_READ
        if self._is_open and self._is_blocked:
            events |= selectors.EVENT_WRITE
        if events != self._events:
            if self._events:
                self._relay.selector.unregister(self._socket)
            if events:
                self._relay.selector.register(self._socket, events, self)
            self._events = events

    def act(self, events: int) -> None:
        """Do what the socket is ready for."""
        if events & selectors.EVENT_WRITE and self._is_blocked:
            self._unblock()
        if events & selectors.EVENT_READ and self._events & selectors.EVENT_READ:
            self._receive()

    def take(self, message: Message) -> None:
        """Send what is due, or keep it until the socket takes it."""
        if message is RESET:  # as in the network, it overtakes what nobody has read
            self._close(reset=True)
        elif self._is_blocked:
            self._unsent.append(message)
        elif self._is_open and not self._send(message):
            self.peer.watch()
            self.watch()

    @property
    def _is_blocked(self) -> bool:
        return self._is_connecting or bool(self._unsent)

    def _receive(self) -> None:
        try:
            message: Message = self._socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._fail()
            return
        self._relay.send_later(self.peer, message)
        if message == END:
            self._has_received_end = True
            self.watch()

    def _send(self, message: bytes | memoryview) -> bool:
        """Return whether the socket took all of it; the rest stays the first to be sent."""
        try:
            if message == END:
                self._socket.shutdown(socket.SHUT_WR)
                self._has_sent_end = True
                if self.peer._has_sent_end:
                    self._close()
                    self.peer._close()
                return True
            sent = self._socket.send(message)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._fail()
            return False
        if sent < len(message):
            self._unsent.appendleft(memoryview(message)[sent:])
            return False
        return True

    def _unblock(self) -> None:
        self._is_connecting = False
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail()
            return
        while self._unsent and self._send(self._unsent.popleft()):
            pass
        self.peer.watch()
        self.watch()

    def _fail(self) -> None:
        """Be gone; the peer learns it as it would from the network, by a reset."""
        self._close()
        self._relay.send_later(self.peer, RESET)

    def _close(self, *, reset: bool = False) -> None:
        if not self._is_open:
            return
        self._is_open = self._is_connecting = False
        self._unsent.clear()
        self.watch()
        if reset:
            linger = struct.pack("ii", 1, 0)  # on, for no time
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()
        self.peer.watch()


def _tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201 - the parent reads it


def _prepare() -> None:
    """Leave the end to the pipe, be woken without slack, and have room for many connections."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with suppress(OSError):  # Linux only, where the kernel may else wake us 50 µs late
        Path("/proc/self/timerslack_ns").write_text("1")


if __name__ == "__main__":
    _prepare()
    with suppress(BrokenPipeError):
        Relay().run()
