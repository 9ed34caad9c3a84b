"""The trigger engine as a load on a real manager: every event is counted exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool
from support.scratch import Scratch

from statecache import AsyncStateManager
from statecache.study.errors import StudyError
from statecache.study.harness.audit import Audit, open_audit
from statecache.study.harness.cells import Cell, Subject, measure_cell
from statecache.study.harness.drives import Closed, Drive, Open
from statecache.study.harness.events import EngineLoad
from statecache.study.harness.tables import load_table
from statecache.study.servers import Servers

LOAD = EngineLoad(triggers=10, events=100)


class Forgetful(AsyncStateManager):
    """Acknowledges the first update without making it."""

    made = 0

    async def update_state(self, trigger_id: str, state_data: Any, **options: Any) -> None:
        self.made += 1
        if self.made > 1:
            await super().update_state(trigger_id, state_data, **options)


async def run(
    scratch: Scratch, audit: Audit, drive: Drive, kind: type[AsyncStateManager] = AsyncStateManager
) -> Cell:
    async with AsyncConnectionPool(
        scratch.database_url, min_size=4, kwargs={"autocommit": True}, open=False
    ) as pool:
        subject = Subject(kind(pool, config=scratch.config()), scratch.schema, "none")
        return await measure_cell(audit, subject, LOAD.plan(1), drive)


@pytest.mark.parametrize("drive", [Closed(20, 0.1), Open(20, 0.2, 200.0)], ids=["closed", "open"])
def test_every_event_is_in_the_states_once(
    scratch: Scratch, servers: Servers, drive: Drive
) -> None:
    load_table(servers, scratch.schema, LOAD.loaded_ids, state=LOAD.initial_state)
    with open_audit(servers) as audit:
        cell = asyncio.run(run(scratch, audit, drive))
        counted = sum(held.number for held in audit.rows(scratch.schema).values())
    assert 0 < cell.requests <= counted
    assert cell.event_count == cell.requests
    assert cell.statements_per_op == 2.0, "a load and an update"


def test_an_event_that_was_not_made_is_found(scratch: Scratch, servers: Servers) -> None:
    load_table(servers, scratch.schema, LOAD.loaded_ids, state=LOAD.initial_state)
    with open_audit(servers) as audit, pytest.raises(StudyError, match="events were lost"):
        asyncio.run(run(scratch, audit, Closed(4, 0.1), Forgetful))
