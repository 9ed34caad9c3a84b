"""A relay in front of Redis that can swallow a connection without a word.

A connection that is cut is noticed at once; one that a firewall forgets is not. From the black-out
on nothing passes in either direction on connections that have subscribed to anything, while both
ends stay open; all others go on.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

__all__ = ["Relay", "running_relay", "through_relay"]

CHUNK = 1 << 16
WAIT_S = 0.2


class Relay:
    """Forwards bytes between the connections it accepts and a server; a thread a connection."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._black_out = threading.Event()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """Where it listens, on the loopback address."""
        return int(self._listener.getsockname()[1])

    def black_out(self) -> None:
        """Swallow what is on subscribed connections from now on, those made later included."""
        self._black_out.set()

    def restore(self) -> None:
        """Let bytes pass again on connections made from now on; the swallowed ones are closed."""
        self._black_out.clear()

    def close(self) -> None:
        """Close every connection."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                near, _address = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, near: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(near)
            far = stack.enter_context(socket.create_connection(self._target))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._forward(near, far)

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        subscribed = swallowing = False
        while not self._closing.is_set():
            ready, _, _ = select.select([near, far], [], [], WAIT_S)
            if subscribed and self._black_out.is_set():
                swallowing = True
            elif swallowing:
                return
            for end in ready:
                data = end.recv(CHUNK)
                if not data:
                    return
                if end is near and b"SUBSCRIBE" in data.upper():
                    subscribed = True
                if not (subscribed and self._black_out.is_set()):
                    other[end].sendall(data)


@contextmanager
def running_relay(host: str, port: int) -> Iterator[Relay]:
    """Run a relay to the server beside the block."""
    relay = Relay((host, port))
    try:
        yield relay
    finally:
        relay.close()


def through_relay(url: str, port: int) -> str:
    """Return the address of the same server behind a relay on the loopback address."""
    parts = urlsplit(url)
    credentials, at, _host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}").geturl()
