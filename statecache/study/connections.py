"""A connection to PostgreSQL that does not wait for ever: a server may keep it and not answer."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen

__all__ = ["ANSWER_LIMIT_S", "LimitedConnection"]

T = TypeVar("T")

#: How long a statement between measurements may take, in seconds. A CHECKPOINT on a slow disk takes
#: the longest of them.
ANSWER_LIMIT_S: Final = 60.0


class LimitedConnection(psycopg.Connection[tuple[Any, ...]]):
    """Raises ``psycopg.OperationalError``, and is closed, where an answer does not come in time."""

    def wait(self, gen: PQGen[T], *limits: Any, **named_limits: Any) -> T:
        """Wait for the end of an exchange with the server, which the driver does nowhere else."""
        try:
            return super().wait(_in_time(gen), *limits, **named_limits)
        except _Silence:
            self.close()  # else the rollback at the end of a block would wait as well
            raise


class _Silence(psycopg.OperationalError):
    """The server has not answered."""


def _in_time(gen: PQGen[T]) -> Generator[Any, Any, T]:
    """Pass everything on until the time is up; the driver comes by ten times a second."""
    until = time.monotonic() + ANSWER_LIMIT_S
    sent = None
    while True:
        try:
            wanted = gen.send(sent)  # type: ignore[arg-type] # None begins it
        except StopIteration as ended:
            result: T = ended.value
            return result
        sent = yield wanted
        if not sent and time.monotonic() > until:
            raise _Silence(f"no answer within {ANSWER_LIMIT_S:g} s")
