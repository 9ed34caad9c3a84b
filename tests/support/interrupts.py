"""Callers that are interrupted, and what must be true of the connections afterwards."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

__all__ = ["Interrupted", "Victim", "eventually", "interrupted_when", "named_connections"]


class Interrupted(BaseException):
    """What a Ctrl-C is to the main thread."""


@contextmanager
def interrupted_when(holds: Callable[[], Any], error: type[BaseException]) -> Iterator[None]:
    """Raise the error in the main thread, as a signal's handler would, once something holds.

    The block must end with that error.
    """

    def handle(_number: int, _frame: object) -> None:
        raise error

    def send() -> None:
        eventually(holds)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(error):
            yield
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


class Victim(threading.Thread):
    """A call in a thread of its own that can be interrupted; ``outcome`` is what it ended with."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._call()
        except BaseException as error:
            self.outcome = error

    def interrupt(self, error: type[BaseException] = Interrupted) -> None:
        """Raise the error in the thread at whatever Python instruction it runs next."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.ident or 0), ctypes.py_object(error)
        )

    def end(self) -> Any:
        self.join(60)
        assert not self.is_alive(), "the call hangs"
        return self.outcome


def eventually(holds: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until something holds, which it must after a while."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)


def named_connections(cache: redis.Redis, name: str) -> int:
    """Return how many connections with this client name the cache server has."""
    return sum(client["name"] == name for client in cache.client_list())
