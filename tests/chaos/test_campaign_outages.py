"""A server fails in the middle of a campaign: one sentence, and what was measured is kept."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import redis

from statecache.study import connections, servers
from statecache.study.errors import StudyError
from statecache.study.harness import cells
from statecache.study.harness.aside import run_aside
from statecache.study.harness.campaign import Campaign, Measurements
from statecache.study.harness.drives import Closed
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import REDIS
from statecache.study.harness.workloads import Workload
from statecache.study.runfolder import RunFolder
from statecache.study.servers import open_database
from statecache.study.troubles.own_servers import OwnServers

BLOCKS = 2
CONDITION = Condition(
    cell="redis", variant=REDIS, workload=Workload(keys=50), drive=Closed(4, 0.05)
)


class Trouble(NamedTuple):
    """What happens to the servers, how it ends, and what is said of it."""

    begin: Callable[[OwnServers], None]
    end: Callable[[OwnServers], None]
    said: str


def nothing(_own: OwnServers) -> None:
    return


def restart_cache(own: OwnServers) -> None:
    own.cache.kill()
    own.cache.start()


def restart_database(own: OwnServers) -> None:
    own.database.kill()
    own.database.start()


def fill_cache(own: OwnServers) -> None:
    with redis.Redis.from_url(own.servers.redis_url) as client:
        client.config_set("maxmemory", 1)


def make_room(own: OwnServers) -> None:
    with redis.Redis.from_url(own.servers.redis_url) as client:
        client.config_set("maxmemory", 0)


def hang_up_on_all(own: OwnServers) -> None:
    """Both servers go on, but every connection is gone, as after a failover."""
    with psycopg.connect(own.servers.database_url, autocommit=True) as database:
        database.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
        )


#: Who notices first is a matter of the moment.
RESTARTED = r"^Redis failed in the middle|restarted|^the cache failed"

TROUBLES = {
    "database killed": Trouble(
        lambda own: own.database.kill(),
        lambda own: own.database.start(),
        r"^PostgreSQL at 127\.0\.0\.1:\d+ does not answer: .*in the middle of a measurement: ",
    ),
    "database restarted": Trouble(restart_database, nothing, r"^PostgreSQL .* in the middle"),
    "database hangs up": Trouble(hang_up_on_all, nothing, r"^PostgreSQL failed in the middle"),
    "cache killed": Trouble(
        lambda own: own.cache.kill(),
        lambda own: own.cache.start(),
        r"^Redis at 127\.0\.0\.1:\d+ does not answer: .*in the middle of a measurement: ",
    ),
    "cache restarted": Trouble(restart_cache, nothing, RESTARTED),
    "cache emptied": Trouble(
        lambda own: own.empty_cache(), nothing, r"^Redis was emptied or restarted in the middle"
    ),
    "cache full": Trouble(fill_cache, make_room, r"^the cache failed .*raise its maxmemory"),
    "database hung": Trouble(
        lambda own: own.database.stop(),
        lambda own: own.database.go_on(),
        r"^PostgreSQL at 127\.0\.0\.1:\d+ does not answer: connection timeout expired, in the mid",
    ),
    "cache hung": Trouble(
        lambda own: own.cache.stop(),
        lambda own: own.cache.go_on(),
        r"^Redis at 127\.0\.0\.1:\d+ does not answer: Timeout reading .*, in the middle",
    ),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Wait for a silent server as long as a test may, from the call on."""
    monkeypatch.setattr(servers, "REDIS_TIMEOUT_S", 2.0)  # of the connection that is open by then

    def shorten() -> None:
        monkeypatch.setattr(connections, "ANSWER_LIMIT_S", 0.5)
        monkeypatch.setattr(servers, "CONNECT_TIMEOUT_S", 1)
        monkeypatch.setattr(servers, "REDIS_TIMEOUT_S", 0.5)
        monkeypatch.setattr(cells, "SETTLE_S", 0.2)

    return shorten


@pytest.fixture
def counting(own: OwnServers) -> OwnServers:
    with open_database(own.servers) as database:
        database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    return own


def measure(
    own: OwnServers, path: Path, on_progress: Callable[[float, str], None] = lambda *_: None
) -> Measurements:
    campaign = Campaign(
        servers=own.servers,
        folder=RunFolder(path),
        notebook="test",
        seed=1,
        pool_size=4,
        on_progress=on_progress,
    )
    return run_aside(lambda: campaign.measure([CONDITION], BLOCKS))


def fail_in_second_block(
    own: OwnServers, path: Path, trouble: Trouble, on_begin: Callable[[], None]
) -> str:
    """Return what is said where the trouble begins with the second block, which is not kept."""
    reached, begun = threading.Event(), threading.Event()

    def on_progress(_share: float, what: str) -> None:
        if "block 2" in what:
            reached.set()
            begun.wait()

    with ThreadPoolExecutor(1) as worker:
        measuring = worker.submit(measure, own, path, on_progress)
        assert reached.wait(60)
        on_begin()
        try:  # here, since a server ends with the thread that started it
            trouble.begin(own)
            begun.set()
            with pytest.raises(StudyError) as caught:
                measuring.result(60)
        finally:
            begun.set()
            trouble.end(own)
    assert not list(path.rglob("*-001-1.parquet"))
    return str(caught.value)


def assert_clear(text: str, said: str, own: OwnServers) -> None:
    assert re.search(said, text), text
    assert text.endswith(".")
    assert "\n" not in text
    for url in (own.servers.database_url, own.servers.redis_url):
        assert url.split(":")[2].split("@")[0] not in text, "the password"


def assert_kept_and_completed(own: OwnServers, path: Path) -> None:
    folder = path / "cells" / "test"
    kept = {one: one.read_bytes() for one in folder.glob("*-000-1*")}
    assert len(kept) == 2
    measured = measure(own, path)
    assert measured.cells["block"].tolist() == list(range(BLOCKS))
    assert {one: one.read_bytes() for one in kept} == kept


@pytest.mark.parametrize("name", TROUBLES)
def test_a_campaign_ends_clearly_and_goes_on_later(
    name: str,
    counting: OwnServers,
    tmp_path: Path,
    impatient: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trouble = TROUBLES[name]

    text = fail_in_second_block(counting, tmp_path, trouble, impatient)
    monkeypatch.undo()
    assert_clear(text, trouble.said, counting)
    assert_kept_and_completed(counting, tmp_path)
