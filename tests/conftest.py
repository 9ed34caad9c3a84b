"""Fixtures for everything that needs the servers; they start once, when first asked for."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator

import psycopg
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo
from support.scratch import Scratch

from statecache import init_db
from statecache.study.servers import Servers, running_servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Real servers: those of the environment, or embedded ones."""
    with running_servers() as running:
        yield running


@pytest.fixture
def scratch(servers: Servers) -> Iterator[Scratch]:
    """A schema with the table, and a key prefix, that only this test uses."""
    token = secrets.token_hex(4)
    schema, prefix = f"statecache_test_{token}", f"statecache:test:{token}:"
    # What is set up here need not outlive a crash: no test waits for the disk.
    hasty = make_conninfo(servers.database_url, options="-c synchronous_commit=off")
    init_db(hasty, schema=schema)
    with (
        psycopg.connect(hasty, autocommit=True) as database,
        redis.Redis.from_url(servers.redis_url) as cache,
    ):
        yield Scratch(servers.database_url, servers.redis_url, schema, prefix, database, cache)
        database.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        if keys := list(cache.scan_iter(f"{prefix}*", count=1_000)):
            cache.unlink(*keys)


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, also where a shell started us with `&`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Let three share the tests of `make test`, on two cores too, since many wait.

    Each has embedded servers of its own, since some tests count all that the servers do: where the
    servers are given there is one.
    """
    return 0 if os.environ.get("DATABASE_URL") else 3


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where CI sets STATECACHE_FORBID_SKIPS, a skipped test is a failure.

    Exempt are tests on data that is not part of the project and lies beside some checkouts only.
    """
    if not os.environ.get("STATECACHE_FORBID_SKIPS") or session.exitstatus != 0:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    forbidden = [report for report in skipped if "../shared/data" not in str(report.longrepr)]
    if forbidden:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(forbidden)} tests were skipped where none may be", red=True)
