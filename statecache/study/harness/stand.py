"""The test stand: tables, connections and a manager for every variant, opened and warmed once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from statecache import AsyncStateManager
from statecache.study.harness.audit import Audit, open_audit
from statecache.study.harness.cells import Cell, Drive, Subject, measure_cell
from statecache.study.harness.machine import pinned_apart
from statecache.study.harness.opening import Opening
from statecache.study.harness.tables import load_table
from statecache.study.harness.variants import Variant, open_variant
from statecache.study.harness.workloads import Plan, Workload, make_plan
from statecache.study.servers import Servers
from statecache.study.workspace import open_workspace

__all__ = ["Condition", "Stand", "open_stand"]

#: States that are loaded at a time when a subject is opened.
LOADED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one cell of every block measures."""

    #: Name that tells the condition apart.
    cell: str
    variant: Variant
    workload: Workload
    drive: Drive
    #: Further columns of its rows.
    labels: Mapping[str, Any] = field(default_factory=dict)
    #: PostgreSQL's buffers are emptied before the cell.
    cold: bool = False
    #: Connections of the manager's pool; 0: as many as the campaign's.
    pool_size: int = 0

    @property
    def home(self) -> str:
        """What conditions have in common that share a manager and its table."""
        workload = self.workload
        states = workload.keys, workload.size_bytes, workload.may_be_absent, workload.trace
        return repr((self.variant, states, self.pool_size))


@dataclass(frozen=True, slots=True)
class Stand:
    """Everything that is open while conditions are measured."""

    audit: Audit
    #: What was done to keep client and servers apart, as a sentence.
    placement: str
    _subjects: Mapping[str, Subject]
    _plans: Mapping[Workload, Plan]

    async def measure(self, condition: Condition) -> Cell:
        """Measure one cell."""
        subject = self._subjects[condition.home]
        if condition.cold:
            self.audit.evict(subject.schema)
        return await measure_cell(
            self.audit, subject, self._plans[condition.workload], condition.drive
        )


@asynccontextmanager
async def open_stand(
    servers: Servers, conditions: Sequence[Condition], *, seed: int, pool_size: int
) -> AsyncIterator[Stand]:
    """Open a manager and a table for every home of a condition, and load every state once.

    Everything is in PostgreSQL's buffers then, and in the caches that keep it. Raises
    ``StudyError``.
    """
    homes = {condition.home: condition for condition in conditions}
    places = {home: f"v{number}" for number, home in enumerate(homes)}
    with (
        open_workspace(servers, list(places.values())) as workspace,
        open_audit(servers) as audit,
        pinned_apart(servers) as placement,
    ):
        async with Opening(servers) as opening:
            subjects = {}
            for home, condition in homes.items():
                workload, variant = condition.workload, condition.variant
                ids = workload.ids
                config = variant.config(workspace, places[home], len(ids))
                load_table(servers, config.schema, ids, size=workload.size_bytes)
                size = condition.pool_size or pool_size
                manager = await open_variant(opening, variant, config, size)
                for start in range(0, len(ids), LOADED_AT_ONCE):
                    some = ids[start : start + LOADED_AT_ONCE]
                    if isinstance(manager, AsyncStateManager):
                        await manager.load_states(some)
                    else:
                        await asyncio.to_thread(manager.load_states, some)
                subjects[home] = Subject(
                    manager, config.schema, variant.name, workload.may_be_absent
                )
            plans = {one.workload: make_plan(one.workload, seed) for one in conditions}
            yield Stand(audit, placement, subjects, plans)
            opening.check()
