"""Closed and open loops of callers on real managers."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from support.scratch import Scratch

from statecache import AsyncStateManager, StateManager
from statecache.study.errors import StudyError
from statecache.study.harness.audit import open_audit
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.ledger import DELETED, check_rows
from statecache.study.harness.loops import Recording, closed_loop, open_loop
from statecache.study.harness.tables import load_table
from statecache.study.harness.threads import Threads
from statecache.study.harness.workloads import Workload, make_plan
from statecache.study.servers import Servers

IDS = trigger_ids(30)


class Forgetful(AsyncStateManager):
    """Acknowledges the first and every third further write without making it."""

    made = 0

    async def update_state(self, trigger_id: str, state_data: Any, **options: Any) -> None:
        self.made += 1
        if self.made % 3 != 1:
            await super().update_state(trigger_id, state_data, **options)


async def mix(
    scratch: Scratch,
    callers: int,
    kind: type[AsyncStateManager] = AsyncStateManager,
    read_share: float = 0.8,
) -> tuple[Recording, int]:
    """Return the run and the number of loads that the manager counted."""
    async with AsyncConnectionPool(
        scratch.database_url, min_size=4, kwargs={"autocommit": True}, open=False
    ) as pool:
        manager = kind(pool, config=scratch.config())
        run = await closed_loop(
            manager,
            make_plan(Workload(keys=len(IDS), read_share=read_share), 7, 5_000),
            callers=callers,
            seconds=0.1,
            numbers=itertools.count(1),
            offset=11,
        )
        return run, manager.get_cache_stats().db_reads


def test_the_database_bears_a_run_out(scratch: Scratch, servers: Servers) -> None:
    load_table(servers, scratch.schema, IDS)
    with open_audit(servers) as audit:
        before = audit.rows(scratch.schema)
        assert {held.number for held in before.values()} == {0}
        run, loads = asyncio.run(mix(scratch, 6, read_share=0.5))
        after = audit.rows(scratch.schema)
    assert check_rows(run.writes, before, after, absorbed=0) == len(run.writes) > 0
    assert len(run.latencies()) == loads + len(run.writes)
    assert len({write.number for write in run.writes}) == len(run.writes), "all distinct"
    assert (run.latencies() > 0).all()


def test_writes_that_are_acknowledged_and_not_made_are_found(
    scratch: Scratch, servers: Servers
) -> None:
    load_table(servers, scratch.schema, IDS)
    with open_audit(servers) as audit:
        before = audit.rows(scratch.schema)
        run, _loads = asyncio.run(mix(scratch, 6, Forgetful, read_share=0.0))
        assert len(run.writes) >= 6, "however slow the machine, each caller makes a call"
        with pytest.raises(StudyError):
            check_rows(run.writes, before, audit.rows(scratch.schema), absorbed=0)


def test_a_load_that_finds_nothing_ends_the_run(scratch: Scratch) -> None:
    with pytest.raises(StudyError, match="load_state says None"):
        asyncio.run(mix(scratch, 2))


class Slow(AsyncStateManager):
    """Takes its time for every load, as a distant server would."""

    at_once = most = 0

    async def load_state(self, trigger_id: str) -> Any:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.05)
        self.at_once -= 1
        return {}


def open_recording(dues: list[float], callers: int) -> tuple[Recording, Slow]:
    """Return the recording of an open loop of reads on a slow manager; no server is asked."""
    pool: Any = AsyncConnectionPool("", open=False)
    manager = Slow(pool)
    plan = make_plan(Workload(keys=10, read_share=1.0), 1, 100)
    recording = asyncio.run(
        open_loop(
            manager, plan, np.array(dues), callers=callers, numbers=itertools.count(1), offset=0
        )
    )
    return recording, manager


def test_an_open_loop_starts_requests_when_they_are_due_whether_or_not_others_have_ended() -> None:
    recording, manager = open_recording([0.0, 0.01, 0.02, 0.03], callers=8)
    assert manager.most > 1
    assert recording.offered == len(recording.requests) == 4
    for _code, due, started, ended in recording.requests:
        assert started >= due
        assert ended - due >= 0.05


def test_what_waits_for_a_caller_counts_from_when_it_was_due() -> None:
    recording, manager = open_recording([0.0] * 4 + [0.3], callers=1)
    assert manager.most == 1
    # One after the other: the fourth has waited for three before it.
    latencies = sorted(recording.latencies()[:4].tolist())
    assert latencies[3] >= 0.2
    assert latencies[3] > 3 * latencies[0] * 0.9
    assert recording.unfinished(0.0) >= 1


def test_a_loop_that_has_fallen_behind_gives_up_what_it_cannot_start() -> None:
    recording, _manager = open_recording([0.001 * n for n in range(100)], callers=1)
    assert recording.offered == 100
    assert 0 < len(recording.requests) < 100


def test_threads_do_the_same(scratch: Scratch, servers: Servers) -> None:
    load_table(servers, scratch.schema, IDS)
    with (
        open_audit(servers) as audit,
        ConnectionPool(scratch.database_url, min_size=4, kwargs={"autocommit": True}) as pool,
    ):
        before = audit.rows(scratch.schema)
        manager = StateManager(pool, config=scratch.config())
        workload = Workload(keys=len(IDS), read_share=0.5, delete_share=0.2)
        threads = Threads(
            manager=manager,
            plan=make_plan(workload, 7, 5_000),
            callers=4,
            numbers=itertools.count(1),
            may_be_absent=True,
        )
        closed = threads.closed(0.1)
        opened = threads.open(np.linspace(0.0, 0.1, 50))
        writes = closed.writes + opened.writes
        assert check_rows(writes, before, audit.rows(scratch.schema), absorbed=0) == len(writes)
    assert opened.offered == 50
    assert {DELETED} < {write.number for write in writes}
