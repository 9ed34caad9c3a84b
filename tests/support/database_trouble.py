"""What tests of an ailing PostgreSQL share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest

from statecache import DatabaseError
from support.scratch import Scratch

__all__ = ["fails_clearly", "in_time", "locked", "recovered", "use", "waiting"]


def fails_clearly(call: Callable[[], Any], url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        call()
    text = str(caught.value)
    assert text.endswith((".", "?"))
    assert "\n" not in text
    assert url.split(":")[2].split("@", maxsplit=1)[0] not in text, "the password"


def use(manager: Any, name: str) -> None:
    """Every operation, with its right answer."""
    manager.update_state(name, {"n": 1})
    assert manager.load_state(name) == {"n": 1}
    manager.delete_state(name)
    assert manager.load_state(name) is None
    manager.update_state(name, {"n": 2})
    assert manager.load_state(name) == {"n": 2}


def in_time(call: Callable[[], Any]) -> Any:
    """Repeat a call until it ends within the manager's limit, which a busy machine may exceed."""
    while True:
        with suppress(DatabaseError):
            return call()


def recovered(manager: Any, name: str) -> bool:
    """Whether every operation works again; connections from before are found broken one by one."""
    try:
        use(manager, name)
    except DatabaseError:
        return False
    return True


@contextmanager
def locked(corner: Scratch, name: str) -> Iterator[None]:
    """Let another transaction hold the row: whoever updates it waits in PostgreSQL."""
    with psycopg.connect(corner.database_url) as connection:
        table = f"{corner.schema}.trigger_state"
        connection.execute(f"SELECT FROM {table} WHERE trigger_id = %s FOR UPDATE", [name])
        yield


def waiting(corner: Scratch) -> list[int]:
    """Return the backends that wait for a lock."""
    rows = corner.sql("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return [pid for (pid,) in rows]
