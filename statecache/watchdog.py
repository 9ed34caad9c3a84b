"""A time limit for statements that holds when the server is hung and keeps none itself."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any

import psycopg

from statecache.errors import DatabaseError
from statecache.forking import in_each_process, new_lock

__all__ = ["StatementLimit"]


class StatementLimit:
    """Breaks a connection that is still busy after ``seconds``; what waits on it then fails.

    One thread of the process watches, for asyncio, too: setting a timer for every statement costs
    more than looking at what runs now and then.
    """

    __slots__ = ("_connection", "_overdue", "_seconds", "ends")

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._overdue = False
        self.ends = 0.0

    def __enter__(self) -> None:
        self.ends = time.monotonic() + self._seconds
        _watch.add(self, self._seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _watch.remove(self)
        if self._overdue and isinstance(error, psycopg.Error):
            raise DatabaseError(
                f"PostgreSQL did not answer within {self._seconds:g} s "
                "(STATE_CACHE_DB_TIMEOUT_MS): the connection was given up."
            ) from error

    def hang_up(self) -> None:
        """Break the connection."""
        self._overdue = True
        with (
            contextlib.suppress(OSError, psycopg.Error),
            # The descriptor is the driver's: a copy of it leads to the same connection.
            socket.socket(fileno=os.dup(self._connection.fileno())) as copy,
        ):
            copy.shutdown(socket.SHUT_RDWR)


class _Watch:
    """A thread that looks at what runs a few times within the shortest limit it has seen."""

    def __init__(self) -> None:
        self._pause_s = 0.25
        self._lock = new_lock()
        in_each_process(self._begin)

    def _begin(self) -> None:
        # A forked child must not hang up on what its parent was waiting for.
        self._running: dict[int, StatementLimit] = {}
        self._is_watching = False

    def add(self, limit: StatementLimit, seconds: float) -> None:
        self._running[id(limit)] = limit
        if seconds < 4 * self._pause_s:
            self._pause_s = seconds / 4
        if not self._is_watching:
            self._start()

    def remove(self, limit: StatementLimit) -> bool:
        """Stop watching; return whether it was watched until now."""
        return self._running.pop(id(limit), None) is not None

    def _start(self) -> None:
        with self._lock:
            if not self._is_watching:
                threading.Thread(target=self._run, name="statecache-watch", daemon=True).start()
                self._is_watching = True  # it never ends

    def _run(self) -> None:
        while True:
            time.sleep(self._pause_s)
            now = time.monotonic()
            for limit in list(self._running.values()):
                # What has just ended is gone: its connection is already somebody else's.
                if limit.ends < now and self.remove(limit):
                    limit.hang_up()


_watch = _Watch()
