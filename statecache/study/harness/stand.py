"""The test stand: tables, connections and a manager for every variant, opened and warmed once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from statecache import AsyncStateManager, StateManager
from statecache.study.errors import StudyError
from statecache.study.harness.audit import Audit, open_audit
from statecache.study.harness.cells import Cell, Subject, measure_cell
from statecache.study.harness.drives import Drive
from statecache.study.harness.events import EngineLoad, EventPlan
from statecache.study.harness.garbage import own_objects_left_alone
from statecache.study.harness.machine import pinned_apart
from statecache.study.harness.opening import Opening
from statecache.study.harness.tables import load_table
from statecache.study.harness.variants import Variant, open_variant
from statecache.study.harness.workloads import Plan, Workload
from statecache.study.servers import Servers
from statecache.study.workspace import open_workspace

__all__ = ["Condition", "Stand", "open_stand"]

#: States that are loaded at a time when a subject is opened.
LOADED_AT_ONCE: Final = 500

#: No trigger has such an id.
MARK: Final = "\0mark"

#: How long the in-process tier may take until it listens, in seconds.
LISTENING_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one cell of every block measures."""

    #: Name that tells the condition apart.
    cell: str
    variant: Variant
    workload: Workload | EngineLoad
    drive: Drive
    #: Further columns of its rows.
    labels: Mapping[str, Any] = field(default_factory=dict)
    #: PostgreSQL's buffers are emptied between the cell's warm-up and what is measured.
    cold: bool = False
    #: Connections of the manager's pool; 0: as many as the campaign's.
    pool_size: int = 0

    @property
    def home(self) -> str:
        """What conditions have in common that share a manager and its table."""
        return repr((self.variant, self.workload.states, self.pool_size))


@dataclass(frozen=True, slots=True)
class Stand:
    """Everything that is open while conditions are measured."""

    audit: Audit
    #: What was done to keep client and servers apart, as a sentence.
    placement: str
    #: A key that is lost with what the cache holds.
    _mark: str
    _subjects: Mapping[str, Subject]
    _plans: Mapping[Workload | EngineLoad, Plan | EventPlan]

    async def measure(self, condition: Condition) -> Cell:
        """Measure one cell."""
        subject = self._subjects[condition.home]
        plan = self._plans[condition.workload]
        cell = await measure_cell(self.audit, subject, plan, condition.drive, cold=condition.cold)
        if condition.variant.redis:
            self.audit.check_cache(self._mark)
        return cell


@asynccontextmanager
async def open_stand(
    servers: Servers,
    conditions: Sequence[Condition],
    *,
    seed: int,
    pool_size: int,
    pins: bool = True,
) -> AsyncIterator[Stand]:
    """Open a manager and a table for every home of a condition, and load every state once.

    Everything is in PostgreSQL's buffers then, and in the caches that keep it. ``pins`` keeps
    client and servers on cores of their own, where that can be done. Raises ``StudyError``.
    """
    homes = {condition.home: condition for condition in conditions}
    places = {home: f"v{number}" for number, home in enumerate(homes)}
    with (
        open_workspace(servers, list(places.values())) as workspace,
        open_audit(servers) as audit,
        pinned_apart(servers) if pins else nullcontext("Nothing was pinned.") as placement,
    ):
        async with Opening(servers) as opening:
            subjects = {}
            for home, condition in homes.items():
                workload, variant = condition.workload, condition.variant
                ids = workload.loaded_ids
                config = variant.config(workspace, places[home], len(ids))
                load_table(
                    servers,
                    config.schema,
                    ids,
                    state=workload.initial_state,
                    outside_writes=variant.outside_writes,
                )
                size = condition.pool_size or pool_size
                manager = await open_variant(opening, variant, config, size)
                await _load_all(manager, ids, into_memory=variant.memory)
                subjects[home] = Subject(
                    manager, config.schema, variant.name, workload.may_be_absent
                )
            plans = {one.workload: one.workload.plan(seed) for one in conditions}
            mark = workspace.key_prefix("v0") + MARK
            audit.mark_cache(mark)
            with own_objects_left_alone():
                yield Stand(audit, placement, mark, subjects, plans)
            opening.check()


async def _load_all(
    manager: AsyncStateManager | StateManager, ids: Sequence[str], *, into_memory: bool
) -> None:
    """Load every state, until the process holds all of them where it keeps any.

    It keeps none before it hears what others change, which takes a moment. Raises ``StudyError``
    where that does not happen.
    """
    until = time.monotonic() + LISTENING_S
    while True:
        for start in range(0, len(ids), LOADED_AT_ONCE):
            some = ids[start : start + LOADED_AT_ONCE]
            if isinstance(manager, AsyncStateManager):
                await manager.load_states(some)
            else:
                await asyncio.to_thread(manager.load_states, some)
        # What is not held by now was put there in the round that ends here.
        if not into_memory or manager.get_cache_stats().memory_hits:
            return
        if time.monotonic() > until:
            raise StudyError(
                f"the in-process tier has kept no state within {LISTENING_S:g} s: does Redis allow "
                "SUBSCRIBE to this user?"
            )
        await asyncio.sleep(0.01)
