"""Connections to Redis: for one exchange at a time, and for messages that come unasked.

redis-py makes them (address, TLS, credentials), hiredis reads replies. ``tools/async_to_sync.py``
turns the names with ``Async`` into their twins.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
import redis.asyncio.connection
import redis.exceptions

__all__ = ["AsyncFeed", "AsyncWire", "Feed", "Wire"]

_MORE: Final = object()


class _TakenOver(asyncio.Protocol):
    """A connection of redis-py, whose transport this takes over once it is made.

    Between transport and hiredis there is nothing then: streams that wait for what they read, and
    a time-out that may cancel its task, cost half of a hit.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def connect(self, seconds: float) -> None:
        """Connect within the time."""
        async with asyncio.timeout(seconds):
            await self._connection.connect()
        # What has come so far was the handshake's, which redis-py has read to its end.
        self._transport = transport = self._connection._writer.transport
        self._before = transport.get_protocol()
        self._reader = hiredis.Reader(
            protocolError=redis.exceptions.InvalidResponse,
            replyError=redis.asyncio.connection.DefaultParser.parse_error,
            notEnoughData=_MORE,
        )
        transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()

    async def disconnect(self) -> None:
        """Close the connection, without a word: who does not read would keep it open."""
        with contextlib.suppress(RuntimeError):  # its event loop has ended
            self._abort()
            await self._connection.disconnect()

    def forget(self) -> None:
        """Close the connection, from anywhere; the event loop holds what nobody else does."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._abort)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits, and redis-py, whose closing waits for it."""
        self._end(_closed())
        with contextlib.suppress(Exception):
            self._before.connection_lost(error)

    def _end(self, error: Exception) -> None:
        """Hear that nothing more comes."""
        raise NotImplementedError

    def _send(self, command: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise _closed()
        self._transport.write(command)

    def _read(self) -> Any:
        """Return what has come, ``_MORE`` where that is no whole reply, or an exception."""
        try:
            return self._reader.gets()
        except redis.exceptions.InvalidResponse as error:
            self._abort()
            return error

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class AsyncWire(_TakenOver):
    """Exchanges over a connection of redis-py."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._waiter: asyncio.Future[Any] | None = None

    async def exchange(self, command: bytes, seconds: float) -> Any:
        """Send a packed command and return its reply within the time, connecting if need be.

        After any other exception than ``ResponseError`` it must be disconnected: what comes next
        would be the reply to this command.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None:
            ends = loop.time() + seconds
            await self.connect(seconds)
            seconds = ends - loop.time()
        elif self._loop is not loop:  # nobody would read the reply
            raise _closed()
        self._send(command)
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(seconds, _give_up, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Give a reply to whoever asked last."""
        self._reader.feed(data)
        reply = self._read()
        if reply is _MORE:
            return
        waiter, self._waiter = self._waiter, None
        if waiter is None:  # nobody has asked for anything
            self._abort()
        elif waiter.done():  # who asked has given up, and disconnects
            return
        elif isinstance(reply, Exception):
            waiter.set_exception(reply)
        else:
            waiter.set_result(reply)

    def _end(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


class Wire:
    """Exchanges over a connection of redis-py."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def exchange(self, command: bytes, seconds: float) -> Any:
        """Send a packed command and return its reply, each read from the socket within the time."""
        self._connection.send_packed_command((command,), check_health=False)
        return self._connection.read_response(disable_decoding=True, timeout=seconds)

    def disconnect(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    forget = disconnect


class AsyncFeed(_TakenOver):
    """Hands on what is published, as it comes, over a connection of redis-py.

    ``heard`` is called with each message, by the event loop itself: no task waits for it.
    """

    def __init__(self, connection: Any, heard: Callable[[bytes], None]) -> None:
        super().__init__(connection)
        self._heard = heard
        self._others: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    async def send(self, command: bytes) -> None:
        """Send a packed command, and wait for nothing."""
        self._send(command)

    async def next_reply(self, seconds: float) -> Any:
        """Return what else the server sends, ``None`` where nothing comes within the time.

        Raises what redis-py raises where the connection is lost, and what ``heard`` raised.
        """
        if not self._others:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
        reply = self._others.popleft() if self._others else None
        if isinstance(reply, Exception):
            raise reply
        return reply

    def data_received(self, data: bytes) -> None:
        """Hand messages on, and keep what else comes for who asks for it."""
        self._reader.feed(data)
        while (reply := self._read()) is not _MORE:
            if _is_message(reply):
                try:
                    self._heard(reply[2])
                    continue
                except Exception as error:  # nobody knows what to make of it
                    reply = error
                    self._abort()
            self._keep(reply)
            if isinstance(reply, Exception):
                break

    def _end(self, error: Exception) -> None:
        self._keep(error)

    def _keep(self, reply: Any) -> None:
        self._others.append(reply)
        if self._waiter is not None:
            _wake(self._waiter)


class Feed:
    """Hands on what is published, as it comes, over a connection of redis-py."""

    def __init__(self, connection: Any, heard: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._heard = heard

    def connect(self, _seconds: float) -> None:
        """Connect, within the time that the connection was made with."""
        self._connection.connect()

    def send(self, command: bytes) -> None:
        """Send a packed command, and wait for nothing."""
        self._connection.send_packed_command((command,), check_health=False)

    def next_reply(self, seconds: float) -> Any:
        """Return what else the server sends, ``None`` where nothing comes within the time.

        ``heard`` is called meanwhile. Raises what redis-py raises where the connection is lost, and
        what ``heard`` raised.
        """
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                reply = self._connection.read_response(
                    disable_decoding=True, timeout=left, disconnect_on_error=False
                )
            except redis.exceptions.TimeoutError:
                break
            if not _is_message(reply):
                return reply
            self._heard(reply[2])
        return None

    def disconnect(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


def _is_message(reply: Any) -> bool:
    return isinstance(reply, list) and reply[0] == b"message"


def _closed() -> Exception:
    return redis.exceptions.ConnectionError("The server has closed the connection.")


def _give_up(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
