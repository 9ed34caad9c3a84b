"""Coordinated omission: of the same stall an open loop shows what a closed one leaves out."""

from __future__ import annotations

import time

import psutil
import pytest
import redis.asyncio
from psycopg_pool import AsyncConnectionPool

from statecache import AsyncCachedStateManager
from statecache.study.harness.aside import run_aside
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.loops import Recording
from statecache.study.harness.stall import Stall, halted, record_stall
from statecache.study.harness.tables import load_table
from statecache.study.harness.variants import REDIS
from statecache.study.harness.workloads import Workload, make_plan
from statecache.study.servers import Servers
from statecache.study.troubles.relay import running_relay
from statecache.study.workspace import open_workspace

KEYS = 50
RATE_PER_S = 200.0
SECONDS, STALL_S = 1.5, 0.5


@pytest.fixture(scope="module")
def stall(servers: Servers) -> Stall:
    """A cache behind a relay that stands still for a while, whoever the servers belong to."""
    with running_relay(servers.redis_url) as relay, open_workspace(servers, ["v"]) as workspace:
        config = REDIS.config(workspace, "v", KEYS)
        load_table(servers, config.schema, trigger_ids(KEYS))

        async def record() -> Stall:
            client = redis.asyncio.Redis.from_url(relay.address(servers.redis_url))
            async with (
                AsyncConnectionPool(servers.database_url, min_size=2, open=False) as pool,
                AsyncCachedStateManager(pool, client, config=config) as manager,
            ):
                await manager.load_states(trigger_ids(KEYS))
                found = await record_stall(
                    manager,
                    make_plan(Workload(keys=KEYS, read_share=1.0), 1, 1_000),
                    relay.pid,
                    rate_per_s=RATE_PER_S,
                    seconds=SECONDS,
                    stall_s=STALL_S,
                )
            await client.aclose()
            return found

        return run_aside(record)


def within(recording: Recording, stall: Stall) -> list[float]:
    """Latencies of the requests that were due while the server stood still."""
    halt = stall.halt
    return [
        ended - due
        for _code, due, _started, ended in recording.requests
        if halt.began <= due < halt.ended
    ]


def test_the_open_loop_records_the_stall(stall: Stall) -> None:
    lasted = stall.halt.ended - stall.halt.began
    assert lasted >= STALL_S
    affected = within(stall.open, stall)
    # A request is due every 5 ms, whatever happened to the one before.
    assert len(affected) >= int(lasted * RATE_PER_S) - 1
    assert max(affected) >= lasted - 2 / RATE_PER_S
    assert sum(affected) / len(affected) >= lasted / 2 - 2 / RATE_PER_S
    assert len(stall.open.requests) == SECONDS * RATE_PER_S, "none is left out"


def test_the_closed_loop_leaves_it_out(stall: Stall) -> None:
    # One that was on its way, and one whose answer had arrived already, at most.
    assert len(within(stall.closed, stall)) <= 2
    assert len(within(stall.closed, stall)) < len(within(stall.open, stall)) / 10


def fail_while_halted(process: psutil.Popen) -> None:
    with halted(process.pid):
        assert process.status() == psutil.STATUS_STOPPED
        raise ZeroDivisionError


def test_what_stands_still_goes_on_after_an_error() -> None:
    with psutil.Popen(["sleep", "60"]) as process:
        with pytest.raises(ZeroDivisionError):
            fail_while_halted(process)
        until = time.monotonic() + 20
        while process.status() == psutil.STATUS_STOPPED:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.kill()
