"""A time limit for statements that holds when the server is hung and keeps none itself."""

from __future__ import annotations

import contextlib
import math
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

#: The watching thread looks at least that often, in seconds.
LONGEST_PAUSE_S = 0.25


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
        _watch.running.add(self)
        if self._seconds < _watch.shortest_s:
            _watch.look_within(self._seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            _watch.running.remove(self)
            return
        except KeyError:  # somebody hangs up on it
            _watch.wait()
        if self._overdue:
            # Even if it ended just in time, its connection is broken: the pool is to see that, and
            # not its next user.
            self._connection.pgconn.finish()
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
        self._lock = new_lock()
        in_each_process(self._begin)

    def _begin(self) -> None:
        # A forked child must not hang up on what its parent was waiting for.
        self.running: set[StatementLimit] = set()
        #: The limit that it looks within; without one nobody looks yet.
        self.shortest_s = math.inf

    def look_within(self, seconds: float) -> None:
        """Look often enough for a limit of that many seconds."""
        with self._lock:
            if self.shortest_s == math.inf:
                threading.Thread(target=self._run, name="statecache-watch", daemon=True).start()
            self.shortest_s = min(self.shortest_s, seconds)

    def _run(self) -> None:
        while True:
            time.sleep(min(self.shortest_s / 4, LONGEST_PAUSE_S))
            now = time.monotonic()
            for limit in self.running.copy():
                if limit.ends < now:
                    with self._lock:
                        # Of what has just ended the connection is somebody else's.
                        if self._claim(limit):
                            limit.hang_up()

    def wait(self) -> None:
        """Wait until who was claimed has been hung up on."""
        with self._lock:
            pass

    def _claim(self, limit: StatementLimit) -> bool:
        """Whether it still runs: only one can take it out of what does."""
        try:
            self.running.remove(limit)
        except KeyError:
            return False
        return True


_watch = _Watch()
