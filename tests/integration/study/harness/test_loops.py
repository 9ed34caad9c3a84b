"""The closed loop of callers on a real manager."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool
from support.scratch import Scratch

from statecache import AsyncStateManager
from statecache.study.errors import StudyError
from statecache.study.harness.audit import open_audit
from statecache.study.harness.ledger import check_rows
from statecache.study.harness.loops import Recording, closed_loop
from statecache.study.harness.tables import load_table
from statecache.study.harness.workloads import Workload, make_plan, trigger_ids
from statecache.study.servers import Servers

IDS = trigger_ids(30)


class Forgetful(AsyncStateManager):
    """Acknowledges the first and every tenth further write without making it."""

    made = 0

    async def update_state(self, trigger_id: str, state_data: Any, **options: Any) -> None:
        self.made += 1
        if self.made % 10 != 1:
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
