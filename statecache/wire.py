"""Connections to Redis for one exchange at a time: a command goes out, its reply comes in.

redis-py makes them (address, TLS, credentials), hiredis reads replies. ``tools/async_to_sync.py``
turns ``AsyncWire`` into its twin.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import hiredis
import redis.asyncio.connection
import redis.exceptions

from statecache.redis_connections import exchange

__all__ = ["AsyncWire", "Wire"]

_MORE: Final = object()


class AsyncWire:
    """Exchanges over a connection of redis-py, whose transport it takes over once it is made.

    Between transport and hiredis there is nothing then: streams that wait for what they read, and
    a time-out that may cancel its task, cost half of a hit.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._replies: _Replies | None = None

    async def exchange(self, command: bytes, seconds: float) -> Any:
        """Send a packed command and return its reply within the time, connecting if need be.

        After any other exception than ``ResponseError`` it must be disconnected: what comes next
        would be the reply to this command.
        """
        loop = asyncio.get_running_loop()
        replies = self._replies
        if replies is None:
            ends = loop.time() + seconds
            async with asyncio.timeout_at(ends):
                await self._connection.connect()
            replies = self._replies = _Replies(self._connection)
            seconds = ends - loop.time()
        waiter = replies.ask(command, loop.create_future())
        timer = loop.call_later(seconds, _give_up, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()

    async def disconnect(self) -> None:
        """Close the connection, without a word: who does not read would keep it open."""
        if self._replies is not None:
            self._replies.abort()
        await self._connection.disconnect()


class Wire:
    """Exchanges over a connection of redis-py."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def exchange(self, command: bytes, seconds: float) -> Any:
        """Send a packed command and return its reply, each read from the socket within the time."""
        return exchange(self._connection, command, seconds)

    def disconnect(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


class _Replies(asyncio.Protocol):
    """Gives the reply that comes to whoever asked last."""

    def __init__(self, connection: Any) -> None:
        # What has come so far was the handshake's, which redis-py has read to its end.
        self._transport: asyncio.Transport = connection._writer.transport
        self._before = self._transport.get_protocol()
        self._reader = hiredis.Reader(
            protocolError=redis.exceptions.InvalidResponse,
            replyError=redis.asyncio.connection.DefaultParser.parse_error,
            notEnoughData=_MORE,
        )
        self._waiter: asyncio.Future[Any] | None = None
        self._transport.set_protocol(self)

    def ask(self, command: bytes, waiter: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """Send a command whose reply, or error, the future is to get; return the future."""
        if self._transport.is_closing():
            raise redis.exceptions.ConnectionError("The server has closed the connection.")
        self._waiter = waiter
        self._transport.write(command)
        return waiter

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a reply, or a part of it."""
        self._reader.feed(data)
        try:
            reply = self._reader.gets()
        except redis.exceptions.InvalidResponse as error:
            reply = error
            self._transport.abort()
        if reply is _MORE:
            return
        waiter, self._waiter = self._waiter, None
        if waiter is None:  # nobody has asked for anything
            self._transport.abort()
        elif waiter.done():  # who asked has given up, and disconnects
            return
        elif isinstance(reply, Exception):
            waiter.set_exception(reply)
        else:
            waiter.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits, and redis-py, whose closing waits for it."""
        if self._waiter is not None and not self._waiter.done():
            lost = redis.exceptions.ConnectionError("The server has closed the connection.")
            self._waiter.set_exception(lost)
        with contextlib.suppress(Exception):
            self._before.connection_lost(error)


def _give_up(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
