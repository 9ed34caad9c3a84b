"""A slice of a trace on live managers, one for each TTL, all at once, in compressed time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from statecache import Access, AsyncCachedStateManager, CacheConfig, CacheStats
from statecache.study.counting import count
from statecache.study.errors import StudyError
from statecache.study.harness.garbage import own_objects_left_alone
from statecache.study.harness.loops import Recording, open_loop
from statecache.study.harness.opening import Opening
from statecache.study.harness.outages import outages_named
from statecache.study.harness.tables import load_table
from statecache.study.harness.workloads import trace_plan
from statecache.study.questions.tune_ttl.slices import Slice
from statecache.study.servers import Servers
from statecache.study.workspace import open_workspace

__all__ = ["Lived", "run_live"]

#: Requests in flight at a time, of each manager: enough that none waits for a caller.
CALLERS: Final = 64
_POOL_SIZE: Final = 4
#: Bursts of the managers do not coincide.
_STAGGER_S: Final = 0.137


@dataclass(frozen=True, slots=True)
class Lived:
    """What one manager did: its accesses, what it and PostgreSQL counted, how late it was driven.

    ``statements`` is None where PostgreSQL keeps no count.
    """

    accesses: list[Access]
    stats: CacheStats
    statements: int | None
    recording: Recording


async def run_live(
    part: Slice, ttls_ms: Mapping[str, int], servers: Servers, *, timeout_ms: int
) -> dict[str, Lived]:
    """Run the slice on a manager for each TTL; every state it names exists beforehand.

    Caches start empty. Raises ``StudyError`` where a cache fails, or where a manager and
    PostgreSQL count differently.
    """
    names = list(ttls_ms)
    plan = trace_plan(part.trace)
    due = part.trace.time_s / part.time_scale
    with outages_named(servers), open_workspace(servers, names) as workspace:
        async with Opening(servers) as opening:
            managers: dict[str, AsyncCachedStateManager] = {}
            accesses: dict[str, list[Access]] = {name: [] for name in names}
            for name, ttl_ms in ttls_ms.items():
                config = CacheConfig(
                    schema=workspace.schema(name),
                    key_prefix=workspace.key_prefix(name),
                    ttl_secs=ttl_ms / 1000,
                    timeout_ms=timeout_ms,
                )
                load_table(servers, config.schema, sorted(set(plan.ids)))
                pool = await opening.async_pool(_POOL_SIZE)
                await _warm(await opening.async_cached(pool, config))
                managers[name] = await opening.async_cached(
                    pool, config, observer=accesses[name].append
                )
            schemas = {name: workspace.schema(name) for name in names}
            before = count(servers, list(schemas.values()))

            async def drive(number: int, name: str) -> Recording:
                await asyncio.sleep(number * _STAGGER_S)
                return await open_loop(
                    managers[name],
                    plan,
                    due,
                    callers=CALLERS,
                    numbers=itertools.count(1),
                    may_be_absent=True,
                )

            with own_objects_left_alone():
                recordings = await asyncio.gather(*itertools.starmap(drive, enumerate(names)))
            counted = count(servers, list(schemas.values())) - before
            stats = {name: manager.get_cache_stats() for name, manager in managers.items()}
            opening.check()
    lived = {}
    for name, recording in zip(names, recordings, strict=True):
        statements = None if counted.statements is None else counted.statements[schemas[name]]
        _check(name, recording, stats[name], statements)
        lived[name] = Lived(accesses[name], stats[name], statements, recording)
    return lived


async def _warm(manager: AsyncCachedStateManager) -> None:
    """Prepare the statements on the connections and load the scripts into the server."""
    for _ in range(2 * _POOL_SIZE):
        await manager.update_state("warm-up", {"count": 0})
        await manager.load_state("warm-up")
    await manager.delete_state("warm-up")


def _check(name: str, recording: Recording, stats: CacheStats, statements: int | None) -> None:
    if len(recording.requests) < recording.offered:
        raise StudyError(
            f"{recording.offered - len(recording.requests)} of {recording.offered} requests of "
            f"{name} were not started in time: the machine is too busy, lower rate_per_s."
        )
    own = stats.db_reads + stats.db_writes
    if statements is not None and statements != own:
        raise StudyError(
            f"the manager {name} counts {own} statements, PostgreSQL {statements}: is anybody "
            "else using these servers?"
        )


def access_frame(accesses: list[Access]) -> pd.DataFrame:
    """Return accesses as a frame: the names of ``Access``, times as float64, NaN where none."""
    frame = pd.DataFrame(accesses, columns=list(Access._fields))
    columns: dict[str, Any] = {
        "trigger_id": "key", "started": "started_s", "ended": "ended_s", "armed": "armed_s",
    }  # fmt: skip
    frame = frame.rename(columns=columns)
    return frame.astype(dict.fromkeys(["started_s", "ended_s", "armed_s"], "float64"))
