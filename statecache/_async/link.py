"""Exchanges with Redis, one at a time on a connection."""

from __future__ import annotations

from typing import Any

import hiredis
import redis.exceptions

from statecache.forking import in_each_child, leave_to_parent
from statecache.redis_connections import AsyncRedis, async_connector
from statecache.wire import AsyncWire

__all__ = ["AsyncLink"]

#: Connections kept for the next caller; a burst may use more.
MAX_IDLE = 64


class AsyncLink:
    """Sends commands over connections of its own.

    A connection whose reply was not read to its end is never used again: the next caller would
    get it as its own.
    """

    def __init__(self, client: AsyncRedis | None, timeout_s: float) -> None:
        self._connect = async_connector(client, timeout_s)
        self._idle: list[AsyncWire] = []
        self._closed = False
        in_each_child(self._begin)

    async def call(self, seconds: float, *command: Any) -> Any:
        """Return the reply to a command (bytes stay bytes) within that many seconds.

        Raises what redis-py raises. A connection that was found closed, after a restart of the
        server, say, is replaced at once: commands are repeatable, since versions order them.
        """
        packed = hiredis.pack_command(command)
        wire = self._idle_wire()
        if wire is not None:
            try:
                return await self._exchange(wire, packed, seconds)
            except (redis.exceptions.ConnectionError, OSError) as error:
                if isinstance(error, TimeoutError | redis.exceptions.TimeoutError):
                    raise
                await self._drop_idle()  # the others fare no better
        return await self._exchange(AsyncWire(self._connect()), packed, seconds)

    def connect(self) -> Any:
        """Return a connection for other uses, not connected yet; it is the caller's to close."""
        return self._connect()

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed when their exchange ends."""
        self._closed = True
        await self._drop_idle()

    def forget(self) -> None:
        """Let the idle connections go, whose manager nobody closed."""
        self._closed = True
        while (wire := self._idle_wire()) is not None:
            wire.forget()

    async def _exchange(self, wire: AsyncWire, packed: bytes, seconds: float) -> Any:
        try:
            reply = await wire.exchange(packed, seconds)
        except redis.exceptions.ResponseError:
            await self._keep(wire)
            raise
        except BaseException:
            await wire.disconnect()
            raise
        await self._keep(wire)
        return reply

    def _idle_wire(self) -> AsyncWire | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    async def _keep(self, wire: AsyncWire) -> None:
        if len(self._idle) < MAX_IDLE and not self._closed:
            self._idle.append(wire)
        else:
            await wire.disconnect()

    def _begin(self) -> None:
        leave_to_parent(self._idle)
        self._idle = []

    async def _drop_idle(self) -> None:
        while (wire := self._idle_wire()) is not None:
            await wire.disconnect()
