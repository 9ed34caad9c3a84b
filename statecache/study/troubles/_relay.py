"""The process of the relay that makes trouble: slow, resetting or silent at will.

``python _relay.py HOST PORT`` writes a line of JSON with its port and then obeys lines of
JSON on stdin, each answered by a line once it holds; it ends when stdin ends. Standard library
only: it is run by its path.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import sys
from collections import deque
from typing import Any


class _Relay:
    """What holds now, for all connections."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay_s = 0.0
        self.reset_after: list[int] | None = None
        self.forgets_subscribers = False
        self.refuses = False
        self.holds = False
        self.dice = random.Random(1)  # noqa: S311 - to be repeatable
        self.answers: set[_Answers] = set()
        self.requests: set[_Requests] = set()

    def obey(self, command: dict[str, Any]) -> None:
        self.delay_s = command.get("delay_s", 0.0)
        self.reset_after = command.get("reset_after")
        forgot, self.forgets_subscribers = self.forgets_subscribers, "forget_subscribers" in command
        for connection in list(self.answers):
            connection.limit()
            if forgot:
                connection.reset_subscriber()
        self.refuses, self.holds = "refuse" in command, "hold" in command
        for requests in list(self.requests):
            if self.refuses:
                requests.reset()
            else:
                requests.pass_on()


class _Requests(asyncio.Protocol):
    """The client's side of a connection: what it sends passes at once, or when it may again."""

    def __init__(self, relay: _Relay) -> None:
        self._relay = relay
        self._client: asyncio.Transport | None = None
        self._server: asyncio.Transport | None = None
        self._waiting = bytearray()
        self._connecting: asyncio.Task[None] | None = None
        self.has_subscribed = False

    @property
    def is_forgotten(self) -> bool:
        """Whether nothing passes any more."""
        return self.has_subscribed and self._relay.forgets_subscribers

    def connection_made(self, transport: Any) -> None:
        self._client = transport
        if self._relay.refuses:
            self.reset()
            return
        self._relay.requests.add(self)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(transport))

    async def _connect(self, client: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._server, _ = await loop.create_connection(
                lambda: _Answers(self._relay, self, client), *self._relay.target
            )
        except OSError:
            client.abort()
            return
        if client.is_closing():
            self._server.abort()
        else:
            self.pass_on()

    def data_received(self, data: bytes) -> None:
        self.has_subscribed = self.has_subscribed or b"SUBSCRIBE" in data.upper()
        if self.is_forgotten:
            return
        self._waiting += data
        self.pass_on()

    def pass_on(self) -> None:
        """Send what waits, if there is anybody to send it to and it may pass."""
        if self._server is not None and not self._relay.holds:
            self._server.write(bytes(self._waiting))
            self._waiting.clear()

    def reset(self) -> None:
        """End the connection with a reset instead of a farewell."""
        if self._client is not None:
            _reset(self._client)

    def connection_lost(self, _error: Exception | None) -> None:
        self._relay.requests.discard(self)
        if self._server is not None:
            self._server.close()


class _Answers(asyncio.Protocol):
    """The server's side of a connection: answers pass late, or are where it ends."""

    def __init__(self, relay: _Relay, requests: _Requests, client: asyncio.Transport) -> None:
        self._relay, self._requests, self._client = relay, requests, client
        self._late: deque[tuple[float, bytes]] = deque()
        self._bytes_left: int | None = None

    def connection_made(self, _transport: Any) -> None:
        self._relay.answers.add(self)
        self.limit()

    def limit(self) -> None:
        """Draw after how many bytes this connection is to be reset, if at all."""
        after = self._relay.reset_after
        self._bytes_left = None if after is None else self._relay.dice.randint(*after)

    def reset_subscriber(self) -> None:
        """Reset the connection if it was one that nothing passed on: its data are lost."""
        if self._requests.has_subscribed:
            _reset(self._client)

    def data_received(self, data: bytes) -> None:
        if self._requests.is_forgotten:
            return
        if self._bytes_left is not None:
            data, self._bytes_left = data[: self._bytes_left], self._bytes_left - len(data)
        delay_s = self._relay.delay_s
        if delay_s or self._late:
            loop = asyncio.get_running_loop()
            if not self._late:
                loop.call_later(delay_s, self._pass_on)
            self._late.append((loop.time() + delay_s, data))
        else:
            self._client.write(data)
        if self._bytes_left is not None and self._bytes_left <= 0:
            _reset(self._client)

    def connection_lost(self, _error: Exception | None) -> None:
        self._relay.answers.discard(self)
        self._client.close()

    def _pass_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._late and self._late[0][0] <= loop.time():
            self._client.write(self._late.popleft()[1])
        if self._late:
            loop.call_at(self._late[0][0], self._pass_on)


def _reset(transport: asyncio.Transport) -> None:
    """End it as a crashed host or a firewall would."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        linger = struct.pack("ii", 1, 0)  # on, for no time
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


async def _main(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    relay = _Relay((host, port))
    server = await loop.create_server(lambda: _Requests(relay), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port}), flush=True)  # noqa: T201 - the parent reads it
    ended = asyncio.Event()
    waiting = bytearray()

    def obey() -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            ended.set()
        waiting.extend(data)
        while b"\n" in waiting:
            line, _, rest = bytes(waiting).partition(b"\n")
            waiting[:] = rest
            relay.obey(json.loads(line))
            print("{}", flush=True)  # noqa: T201

    loop.add_reader(sys.stdin.fileno(), obey)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
