"""Relays: TCP between a manager and a server that can be slowed, stopped and cut."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

__all__ = ["NO_DELAY", "Delay", "Relay", "relays"]

#: The least and the most that a piece of data waits, in seconds.
Delay: TypeAlias = tuple[float, float]

NO_DELAY: Delay = (0.0, 0.0)


class Relay:
    """An address, ``host`` and ``port``, that leads to a server's.

    Every piece of data waits for a time drawn from the direction's delay; pieces of one connection
    keep their order, those of several do not. What a client has sent arrives even if the client
    has given up in the meantime. Commands may come from any thread.
    """

    def __init__(self, server: tuple[str, int], seed: object) -> None:
        self._server = server
        self._random = random.Random(str(seed))
        self.delay()
        self._refuses = False
        self._loop = asyncio.get_running_loop()
        self._passable = asyncio.Event()
        self._passable.set()
        self._links: dict[asyncio.Task[Any], list[asyncio.StreamWriter]] = {}
        self._listener: asyncio.Server | None = None
        self.host, self.port = "127.0.0.1", 0
        #: Pieces that clients and the server have sent, be they passed on or still waiting.
        self.requests = self.answers = 0

    def delay(
        self, *, to_server: Delay = NO_DELAY, to_client: Delay = NO_DELAY, share: float = 1.0
    ) -> None:
        """Let pieces wait, or this ``share`` of them, drawn by chance."""
        self._delays = {"to server": to_server, "to client": to_client}
        self._share = share

    def hold(self) -> None:
        """Pass nothing on: a black hole, until ``release``, when what was held goes its way."""
        self._loop.call_soon_threadsafe(self._passable.clear)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._passable.set)

    def cut(self, *, deliver: bool = False) -> None:
        """Reset every connection; with ``deliver`` what clients have sent still arrives."""
        self._loop.call_soon_threadsafe(self._cut, deliver)

    def refuse(self) -> None:
        """Reset whoever connects from now on."""
        self._refuses = True

    def accept(self) -> None:
        self._refuses = False

    def heal(self) -> None:
        """Be a cable again."""
        self.delay()
        self.accept()
        self.release()

    # Below, all runs in the loop's thread.

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._listener is not None
        self._listener.close()
        self._refuses = True
        while self._links:
            self._cut(deliver=False)
            await asyncio.wait(set(self._links))

    async def _serve(self, near: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = writers = [to_client]
        try:
            if self._refuses:
                return
            far, to_server = await asyncio.open_connection(*self._server)
            writers.append(to_server)
            requests = asyncio.create_task(self._pump(near, to_server, "to server"))
            try:
                await self._pump(far, to_client, "to client")
            finally:
                requests.cancel()
        except (OSError, asyncio.CancelledError):
            pass  # the server is gone, or the connection is to be cut
        finally:
            for writer in writers:
                _reset(writer)
            del self._links[task]

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: str
    ) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                self.answers += direction == "to client"
                self.requests += direction == "to server"
                least, most = self._delays[direction]
                if most and self._random.random() < self._share:
                    await asyncio.sleep(self._random.uniform(least, most))
                await self._passable.wait()
                # Else a reset by whoever reads would end the other direction, too.
                with suppress(OSError):
                    sink.write(data)
                    await sink.drain()
        with suppress(OSError):
            sink.write_eof()

    def _cut(self, deliver: bool) -> None:
        for task, writers in self._links.items():
            if deliver:
                _reset(writers[0])
            else:
                task.cancel()


@contextmanager
def relays() -> Iterator[Callable[..., Relay]]:
    """Yield a function that opens a relay to (host, port) with a seed; all are closed at the end.

    They run in a thread of their own.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relays")
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def opened(server: tuple[str, int], seed: object) -> Relay:
        relay = Relay(server, seed)
        await relay.open()
        return relay

    open_ones: list[Relay] = []

    def open_relay(server: tuple[str, int], seed: object = 0) -> Relay:
        open_ones.append(run(opened(server, seed)))
        return open_ones[-1]

    try:
        yield open_relay
    finally:
        for relay in open_ones:
            run(relay.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other end gets a reset, as from a cable pulled and a firewall's answer."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.transport.abort()
