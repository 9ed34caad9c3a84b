# ruff: noqa: PT012 - what is tested is how a context manager takes an error
"""Profiles on real servers. What they add is judged where they are used, not here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import psutil
import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool
from support.scratch import Scratch

from statecache import CacheConfig, CachedStateManager
from statecache.study.errors import ServersError, StudyError
from statecache.study.profiles import Deployment, Profile, ProfileError, open_profile
from statecache.study.servers import Servers, describe

BOTH = Profile("both", 0.5, 0.3)


@pytest.fixture(scope="module")
def deployment(servers: Servers) -> Iterator[Deployment]:
    with open_profile(servers, BOTH) as opened:
        yield opened


def relays_of(process: psutil.Process) -> list[psutil.Process]:
    return [p for p in process.children() if "_delay_relay" in " ".join(p.cmdline())]


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_values_of_any_size_come_through_unchanged(deployment: Deployment) -> None:
    def through_both(number: int) -> bool:
        data = os.urandom(1_000_000 if number % 4 == 0 else 1_000)
        key = f"statecache:test:profiles:{number}"
        with (
            psycopg.connect(deployment.servers.database_url) as database,
            redis.Redis.from_url(deployment.servers.redis_url) as cache,
        ):
            cache.set(key, data, ex=60)
            row = database.execute("SELECT %b::bytea", [data]).fetchone()
            return row == (data,) and cache.getdel(key) == data

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(through_both, range(72)))


def test_a_manager_works_behind_it(deployment: Deployment, scratch: Scratch) -> None:
    config = CacheConfig(schema=scratch.schema, key_prefix=scratch.prefix, timeout_ms=2_000)
    before = deployment.use()
    with (
        ConnectionPool(deployment.servers.database_url, kwargs={"autocommit": True}) as pool,
        redis.Redis.from_url(deployment.servers.redis_url) as client,
        CachedStateManager(pool, client, config=config) as manager,
    ):
        states = {f"trigger_{number}": {"count": number} for number in range(50)}
        for trigger_id, state in states.items():
            manager.update_state(trigger_id, state)
        assert manager.load_states(list(states)) == states
    rows = scratch.database.execute(
        f"SELECT count(*) FROM {scratch.schema}.trigger_state"
    ).fetchone()
    assert rows == (50,)
    for leg, use in deployment.use().items():
        assert use.delivered - before[leg].delivered >= 100, "nothing goes past the relays"


def test_only_the_addresses_differ(servers: Servers, deployment: Deployment) -> None:
    assert deployment.servers.embedded == servers.embedded
    for name, url in servers.environment().items():
        assert deployment.servers.environment()[name] != url
    assert describe(deployment.servers) == describe(servers)
    assert "s3cret" not in repr(replace(deployment, servers=Servers("s3cret", "s3cret", True)))


def test_what_was_found_is_told(deployment: Deployment) -> None:
    table = deployment.table()
    assert list(table["leg"]) == ["database", "cache"]
    assert list(table["asked_ms"]) == [0.5, 0.3]
    assert deployment.is_valid == table["valid"].all() == (not deployment.reason)


def test_a_leg_without_delay_is_not_relayed(servers: Servers) -> None:
    with open_profile(servers, Profile("loopback", 0.0, 0.0)) as opened:
        assert opened.servers == servers
        assert opened.is_valid
        assert opened.table().empty
        assert not opened.use()
    with open_profile(servers, Profile("one", 0.0, 0.2)) as opened:
        assert opened.servers.database_url == servers.database_url
        assert opened.servers.redis_url != servers.redis_url
        assert list(opened.relay_pids()) == ["cache"]


def test_a_void_profile_says_which_leg(deployment: Deployment) -> None:
    cache = replace(deployment.calibrations[1], median_ms=9.0)
    void = replace(deployment, calibrations=(cache,))
    assert not void.is_valid
    assert void.reason.startswith("The relay of the cache leg adds 9.00 ms")


def test_a_server_that_cannot_be_relayed_is_said_before_anything_starts(servers: Servers) -> None:
    before = relays_of(psutil.Process())
    elsewhere = replace(servers, redis_url="unix:///run/redis.sock")
    with pytest.raises(ProfileError, match="REDIS_URL"), open_profile(elsewhere, BOTH):
        pytest.fail("it went on")
    assert relays_of(psutil.Process()) == before


def test_a_server_that_is_not_there_is_said(servers: Servers) -> None:
    nobody = replace(servers, redis_url="redis://:s3cret@127.0.0.1:1/0")
    with (
        pytest.raises(ServersError, match=r"127\.0\.0\.1:1 does not answer"),
        open_profile(nobody, Profile("one", 0.0, 0.2)),
    ):
        pytest.fail("it went on")


def test_nothing_is_left_however_it_ends(servers: Servers) -> None:
    with pytest.raises(ZeroDivisionError), open_profile(servers, BOTH) as opened:
        relays = [psutil.Process(pid) for pid in opened.relay_pids().values()]
        raise ZeroDivisionError
    assert len(relays) == 2
    assert gone(relays)


def test_a_relay_that_died_is_reported(servers: Servers) -> None:
    with (
        pytest.raises(StudyError, match="ended early with status -9"),
        open_profile(servers, Profile("one", 0.0, 0.2)) as opened,
    ):
        os.kill(opened.relay_pids()["cache"], signal.SIGKILL)


HOLD = """
import json, os, sys
from statecache.study.profiles import parse_profile, open_profile
from statecache.study.servers import running_servers
with running_servers() as servers, open_profile(servers, parse_profile("cache=0.2")) as opened:
    print(json.dumps(opened.relay_pids()), flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(servers: Servers) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """Yield a process that holds a profile open, and its relay."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | servers.environment(),
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, psutil.Process(json.loads(process.stdout.readline())["cache"])
        finally:
            process.kill()


def test_the_end_of_the_parent_is_the_end_of_the_relay(servers: Servers) -> None:
    with holder(servers) as (parent, relay):
        assert not gone([relay])
        parent.kill()
        eventually(lambda: gone([relay]))


def test_a_terminals_interrupt_ends_it_cleanly(servers: Servers) -> None:
    with holder(servers) as (parent, relay):
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        assert parent.stderr is not None
        said = parent.stderr.read().decode()
        assert parent.wait(20) == -signal.SIGINT
        assert gone([relay])
        assert said.splitlines()[-1] == "KeyboardInterrupt"
        assert said.count("Traceback") == 1
