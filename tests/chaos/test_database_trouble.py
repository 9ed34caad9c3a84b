"""PostgreSQL fails in every way it can: a clear error, hits go on, nothing is made up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from support.database_trouble import fails_clearly, in_time, locked, recovered, use, waiting
from support.interrupts import eventually
from support.managers import CACHED, KINDS
from support.scratch import Scratch

from statecache import DatabaseError
from statecache.study.troubles.own_servers import OwnServers


@contextmanager
def killed(own: OwnServers) -> Iterator[None]:
    own.database.kill()
    try:
        yield
    finally:
        own.database.start()


@contextmanager
def refusing(own: OwnServers) -> Iterator[None]:
    """It runs, but turns everybody away."""
    with psycopg.connect(own.servers.database_url, dbname="template1", autocommit=True) as admin:
        admin.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = 'postgres'"
        )
        try:
            yield
        finally:
            admin.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS true")


TROUBLES = {"killed": killed, "refusing": refusing}


@pytest.fixture(params=TROUBLES)
def trouble(request: pytest.FixtureRequest) -> Callable[[OwnServers], Any]:
    return TROUBLES[request.param]


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_says_so_and_works_again_afterwards(
    kind: str, own: OwnServers, corner: Scratch, trouble: Callable[[OwnServers], Any]
) -> None:
    with corner.manager(kind, pool_timeout=0.3) as manager:
        in_time(lambda: manager.update_state("t", "before"))
        corner.cache.delete(corner.prefix + "t")
        with trouble(own):
            for call in (
                lambda: manager.load_state("t"),
                lambda: manager.load_state("never"),
                lambda: manager.update_state("t", "lost"),
                lambda: manager.delete_state("t"),
                lambda: manager.cleanup_expired(1),
                manager.get_state_count,
            ):
                fails_clearly(call, corner.database_url)
        eventually(lambda: recovered(manager, "u"))
        assert manager.load_state("t") == "before", "what failed has left no trace"
        for number in range(20):
            use(manager, f"after {number}")


@pytest.mark.parametrize("kind", CACHED)
def test_hits_are_served_and_nothing_is_written_to_the_cache_alone(
    kind: str, own: OwnServers, corner: Scratch, trouble: Callable[[OwnServers], Any]
) -> None:
    with (
        corner.manager(kind, pool_timeout=0.3) as manager,
        corner.manager(kind, pool_timeout=0.3) as other,
    ):
        in_time(lambda: use(manager, "u"))
        for name in ("read", "written", "deleted"):
            manager.update_state(name, "before")
            assert other.load_state(name) == "before"
        keys = [corner.prefix + name for name in ("read", "written", "deleted", "new")]
        entries = corner.cache.mget(keys)
        with trouble(own):
            for _ in range(50):
                assert manager.load_state("read") == "before"
            fails_clearly(lambda: manager.update_state("written", "lost"), corner.database_url)
            fails_clearly(lambda: manager.update_state("new", "lost"), corner.database_url)
            fails_clearly(lambda: manager.delete_state("deleted"), corner.database_url)
            fails_clearly(lambda: manager.load_state("absent"), corner.database_url)
            assert corner.cache.mget(keys) == entries, "the cache has been told nothing"
            for name in ("read", "written", "deleted"):
                assert other.load_state(name) == "before"
        eventually(lambda: recovered(manager, "u"))
        for one in (manager, other):
            eventually(lambda one=one: recovered(one, "u"))
            for name in ("read", "written", "deleted"):
                assert one.load_state(name) == "before"
            assert one.load_state("new") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_under_load_loses_no_committed_write(
    kind: str, own: OwnServers, corner: Scratch
) -> None:
    """Each writer counts up in a key of its own; what was acknowledged must still be there."""
    with corner.manager(kind, pool_timeout=0.3) as manager:
        writers = [Writer(manager, f"t{number}") for number in range(4)]
        for _ in range(2):
            eventually(lambda: min(writer.successes for writer in writers) > 20)
            own.database.kill()
            own.database.start()
            for writer in writers:
                writer.successes = 0
        eventually(lambda: min(writer.successes for writer in writers) > 20)
        for writer in writers:
            writer.end()
        with psycopg.connect(corner.database_url) as database:
            rows = database.execute(
                f"SELECT trigger_id, state_data FROM {corner.schema}.trigger_state"
            ).fetchall()
        found = dict(rows)
        assert any(writer.failures for writer in writers), "the kill was felt"
        for writer in writers:
            assert writer.acknowledged <= found[writer.name] <= writer.tried
            assert manager.load_state(writer.name) == found[writer.name]


class Writer(threading.Thread):
    """Writes 0, 1, 2, … and reads each back until told to end."""

    def __init__(self, manager: Any, name: str) -> None:
        super().__init__(daemon=True, name=name)
        self._manager = manager
        self._ended = threading.Event()
        self.tried = self.acknowledged = -1
        self.successes = self.failures = 0
        self.wrong: list[Any] = []
        self.start()

    def run(self) -> None:
        while not self._ended.is_set():
            self.tried += 1
            try:
                self._manager.update_state(self.name, self.tried)
                self.acknowledged = self.tried
                loaded = self._manager.load_state(self.name)
                self.successes += 1
            except DatabaseError:
                self.failures += 1
                continue
            if loaded != self.tried:
                self.wrong.append((self.tried, loaded))

    def end(self) -> None:
        self._ended.set()
        self.join(60)
        assert not self.is_alive()
        assert self.wrong == [], "its own write, read back"


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_cut_in_the_middle_of_a_write(kind: str, corner: Scratch) -> None:
    with corner.manager(kind) as manager:
        manager.update_state("t", "before")
        errors: list[Exception] = []

        def write() -> None:
            try:
                manager.update_state("t", "lost")
            except Exception as error:
                errors.append(error)

        with locked(corner, "t"):
            writer = threading.Thread(target=write)
            writer.start()
            eventually(lambda: waiting(corner))
            assert manager.load_state("t") == "before", "a reader is not held up"
            for pid in waiting(corner):
                corner.sql("SELECT pg_terminate_backend(%s, 5000)", pid)
            writer.join(60)
        assert [type(error) for error in errors] == [DatabaseError]
        assert manager.load_state("t") == "before"
        use(manager, "t")


@pytest.mark.parametrize("kind", KINDS)
def test_an_exhausted_pool_is_an_error_and_recovers(kind: str, corner: Scratch) -> None:
    with corner.manager(kind, pool_timeout=1.0) as manager:
        in_time(lambda: manager.update_state("t", 0))
        manager.update_state("other", "before")
        with locked(corner, "t"):
            # As many as the pool has connections, see open_manager.
            writers = [
                threading.Thread(target=in_time, args=(partial(manager.update_state, "t", number),))
                for number in range(1, 9)
            ]
            for writer in writers:
                writer.start()
            eventually(lambda: len(waiting(corner)) == 8)
            fails_clearly(lambda: manager.update_state("other", "lost"), corner.database_url)
            corner.cache.delete(corner.prefix + "other")
            fails_clearly(lambda: manager.load_state("other"), corner.database_url)
            if kind in CACHED:
                assert manager.load_state("t") == 0, "a hit needs no connection"
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive()
        assert manager.load_state("other") == "before"
        assert manager.load_state("t") in range(1, 9)
        assert (
            manager.load_state("t")
            == corner.sql("SELECT state_data FROM {t} WHERE trigger_id = 't'")[0][0]
        )
        use(manager, "u")
