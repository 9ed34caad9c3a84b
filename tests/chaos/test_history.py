"""Managers in several processes, an adversary, and a checker that knows what PostgreSQL committed.

``STATECACHE_HISTORY_SEEDS=5:50`` runs other seeds than the usual ones.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from support.cache_server import CacheServer
from support.history_run import ASYNC, SYNC, History, RunPlan, database_at, record
from support.history_types import Violation
from support.managers import CACHED
from support.relay import Relay, relays
from support.sabotage import DROP_VERSION_CHECK
from support.scratch import Scratch

FIRST, AFTER_LAST = map(int, os.environ.get("STATECACHE_HISTORY_SEEDS", "0:5").split(":"))


def report(plan: RunPlan, history: History, found: list[Violation]) -> str:
    """Say what is wrong so that it can be followed: the calls, and what befell them."""
    since = min((call.started for v in found[:3] for call in v.calls), default=0.0)
    log = [line for line in history.log if float(line.split()[0]) > since - 0.5]
    lines = [f"{plan}", f"{len(found)} violations, the first:", *map(str, found[:3])]
    return "\n".join([*lines, "Meanwhile:", *log[:40]])


#: What a run is like, by its seed.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    # With PostgreSQL well no call may fail.
    {"troubled": ("server", "cache", "workers")},
    {"kinds": (ASYNC, SYNC, ASYNC), "config": {"gather": True}},
    # Writes are answered when they are on their way to the cache.
    {
        "kinds": (ASYNC, SYNC, ASYNC),
        "config": {"gather": True, "memory_items": 100, "memory_ttl_secs": 0.3},
    },
    {
        "config": {
            "memory_items": 100,
            "memory_ttl_secs": 0.3,
            "negative_ttl_secs": 0.3,
            "repair_poll_secs": 0.2,
            "compress_min_bytes": 100,
            "ttl_jitter": 0.3,
            "early_refresh": 1.0,
        }
    },
)


@pytest.mark.parametrize("seed", range(FIRST, AFTER_LAST))
def test_every_read_is_what_the_contract_allows(seed: int, scratch: Scratch) -> None:
    plan = RunPlan(seed, **VARIANTS[seed % len(VARIANTS)])
    history = record(scratch, plan)
    found = plan.check(history)
    assert not found, report(plan, history, found)
    if "database" not in plan.troubled:
        errors = Counter(call.error for call in history.calls if call.error)
        assert errors.keys() <= {"cancelled"}, "no trouble of the cache fails a call"
    outcomes = Counter(call.outcome for call in history.calls)
    for expected in ("hit", "committed", "unrepaired"):
        assert outcomes[expected], f"no call was {expected}, which shows too little: {outcomes}"
    for call in (call for calls in history.last.values() for call in calls):
        assert call.value is None or call.outcome in ("hit", "memory"), "the cache is used again"


def test_without_the_version_check_the_checker_finds_older_reads(scratch: Scratch) -> None:
    # Slow ways to the cache are enough: puts overtake each other.
    plan = RunPlan(
        1, seconds=2.0, troubled=("cache",), keys=1, worker={"sabotage": DROP_VERSION_CHECK}
    )
    history = record(scratch, plan)
    assert {"own", "acknowledged"} <= {violation.rule for violation in plan.check(history)}


# Schedules made on purpose, for what random ones meet seldom.


class Site:
    """A cache server of this test's own, and relays to it and to PostgreSQL."""

    def __init__(self, scratch: Scratch, stack: ExitStack) -> None:
        self._scratch = scratch
        self._stack = stack
        self.server = stack.enter_context(CacheServer())
        self._open_relay = stack.enter_context(relays())
        self._relays: list[Relay] = []

    def heal(self) -> None:
        for relay in self._relays:
            relay.heal()

    def manager(self, kind: str, **changes: Any) -> tuple[Any, Relay, Relay]:
        """Return a manager, its way to the cache and its way to PostgreSQL."""
        to_cache = self._open_relay((self.server.host, self.server.port))
        to_database = self._open_relay(database_at(self._scratch))
        self._relays += (to_cache, to_database)
        there = dataclasses.replace(
            self._scratch,
            redis_url=self.server.url_at(to_cache.host, to_cache.port),
            database_url=make_conninfo(
                self._scratch.database_url, host=to_database.host, port=to_database.port
            ),
        )
        return self._stack.enter_context(there.manager(kind, **changes)), to_cache, to_database


@pytest.fixture
def site(scratch: Scratch) -> Iterator[Site]:
    with ExitStack() as stack:
        opened = Site(scratch, stack)
        yield opened
        opened.heal()  # or closing takes as long as the relays delay


def wait_until(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


@pytest.mark.parametrize("kind", CACHED)
def test_who_comes_after_a_write_does_not_share_an_older_read(kind: str, site: Site) -> None:
    reader, to_cache, to_database = site.manager(kind, ttl_secs=60)
    writer, *_ = site.manager(kind)
    writer.update_state("t", "old")
    assert reader.load_state("t") == "old"
    to_cache.refuse()
    to_cache.cut()
    to_database.delay(to_client=(1.0, 1.0))
    with ThreadPoolExecutor() as pool:
        before = to_database.answers
        early = pool.submit(reader.load_state, "t")
        wait_until(lambda: to_database.answers > before)  # its answer is on the way
        writer.update_state("t", "new")
        late = reader.load_state("t")
        assert (early.result(), late) == ("old", "new")


@pytest.mark.parametrize("kind", CACHED)
def test_who_finds_the_cache_emptied_does_not_share_an_older_read(kind: str, site: Site) -> None:
    reader, _, to_database = site.manager(kind, ttl_secs=60)
    writer, *_ = site.manager(kind)
    writer.update_state("t", "old")
    site.server.empty()
    writer.update_state("another", 0)  # which teaches it that the cache was emptied
    to_database.delay(to_client=(1.0, 1.0))
    with ThreadPoolExecutor() as pool:
        before = to_database.answers
        early = pool.submit(reader.load_state, "t")
        wait_until(lambda: to_database.answers > before)  # its answer is on the way
        writer.update_state("t", "new")
        assert writer.load_state("t") == "new"
        assert writer.get_cache_stats().hits == 1, "the cache has acknowledged it"
        site.server.empty()  # or the second reader would find it
        late = reader.load_state("t")
        assert (early.result(), late) == ("old", "new")


@pytest.mark.parametrize("kind", CACHED)
def test_a_put_that_comes_long_after_its_commit_is_dropped(
    kind: str, site: Site, scratch: Scratch
) -> None:
    config = {"ttl_secs": 0.4, "fill_deadline_ms": 200, "tombstone_secs": 0.4}
    slow, _, to_database = site.manager(kind, **config)
    quick, to_cache, _ = site.manager(kind, **config)
    quick.update_state("t", "before")
    to_database.delay(to_client=(1.5, 1.5))
    with ThreadPoolExecutor() as pool:
        update = pool.submit(slow.update_state, "t", "old")
        wait_until(lambda: scratch.sql("SELECT state_data FROM {t}") == [("old",)])
        to_cache.refuse()
        to_cache.cut()
        quick.update_state("t", "new")  # which the cache does not take
        to_cache.accept()
        update.result()
    # The mark that the failed put left is over, and the older put has come.
    for _ in range(20):
        assert quick.load_state("t") == "new"
        time.sleep(0.01)
