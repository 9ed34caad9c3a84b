"""One trouble during a load: healthy, in trouble, and recovered, with everything counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from statecache import AsyncCachedStateManager, CacheConfig, Observer
from statecache.study.errors import StudyError
from statecache.study.harness.audit import open_audit
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.harness.tables import load_table
from statecache.study.harness.workloads import Workload, arrivals, make_plan
from statecache.study.questions.degradation.load import Load
from statecache.study.questions.degradation.settings import DISABLED, LASTING, Settings
from statecache.study.servers import Servers
from statecache.study.troubles.causes import Trouble
from statecache.study.troubles.logs import collected_log
from statecache.study.troubles.writes import Writes
from statecache.study.workspace import Workspace

__all__ = ["PLACE", "Sample", "Timeline", "check_statements", "record_timeline"]

#: The variant of the workspace that a timeline uses.
PLACE: Final = "degradation"

#: Between two looks at the managers' counters, in seconds.
SAMPLE_S: Final = 0.05

#: How long the recovery is waited for, at most.
RECOVERY_LIMIT_S: Final = 15.0

#: States that are written at a time beforehand.
FILLED_AT_ONCE: Final = 500

#: Before what is measured: connections are made and the load is under way.
WARM_UP_S: Final = 0.4
WARM_UP_LIMIT_S: Final = 5.0


class Sample(NamedTuple):
    """The counters of both managers together, at an instant of the monotonic clock."""

    at: float
    hits: int
    misses: int
    statements: int
    unrepaired: int
    breaker_open: bool


@dataclass(slots=True)
class Timeline:
    """What was recorded; instants are of the monotonic clock.

    ``began`` and ``back`` are when the trouble began and when the cache answered again.
    """

    trouble: str
    began: float
    back: float
    ended: float
    load: Load
    samples: list[Sample]
    log: list[str]
    acknowledged: int
    lost: int
    #: Keys that a manager loads in an older state than the row's when all is over.
    stale_at_the_end: int
    #: PostgreSQL's own count of statements, and the managers'; ``None`` where it keeps none.
    statements: tuple[int, int] | None
    #: When the writer's reads hit again, and when it had nothing left to repair.
    used_at: float | None = None
    repaired_at: float | None = None


async def record_timeline(
    settings: Settings,
    trouble: Trouble,
    *,
    servers: Servers,
    redis_url: str,
    workspace: Workspace,
    worker: Executor,
) -> Timeline:
    """Let the load run, make the trouble, end it, and wait for the recovery.

    ``redis_url`` is where the managers go; ``worker`` makes the trouble, in a thread of its own.
    Raises ``StudyError`` where the managers and PostgreSQL count differently.
    """
    config = CacheConfig(
        schema=workspace.schema(PLACE),
        key_prefix=workspace.key_prefix(PLACE),
        enabled=trouble.name != DISABLED,
    )
    ids = trigger_ids(settings.keys)
    writes = Writes(ids)
    load = _load(settings, writes)
    load_table(servers, config.schema, ids)
    seen = replace(servers, redis_url=redis_url)
    with collected_log() as lines:
        async with _managers(settings, seen, config, load.observe) as managers:
            await _fill(managers, writes, ids)
            with open_audit(servers) as audit:
                before = audit.statements(config.schema), _statements(managers)
            samples: list[Sample] = []
            running = asyncio.create_task(load.run(managers, settings.callers))
            sampling = asyncio.create_task(_sample(managers, samples))
            try:
                await _warm_up(load)
                await asyncio.sleep(settings.healthy_s)
                lines.clear()
                began, back = await _make(settings, trouble, worker)
                await _recover(settings, load, samples, trouble, back)
            finally:
                load.end()
                await running
                sampling.cancel()
            ended, log = time.monotonic(), list(lines)
            samples.append(_now(managers))
            found = [await manager.load_states(ids) for manager in managers]
            with open_audit(servers) as audit:
                after = audit.statements(config.schema), _statements(managers)
                held = {key: row.number for key, row in audit.rows(config.schema).items()}
    behind = {
        key for one in found for key in ids if one.get(key, {"count": -1})["count"] < held[key]
    }
    counted = None
    if before[0] is not None and after[0] is not None:
        counted = after[0] - before[0], after[1] - before[1]
    return Timeline(
        trouble=trouble.name,
        began=began,
        back=back,
        ended=ended,
        load=load,
        samples=samples,
        log=log,
        acknowledged=writes.total - len(ids),
        lost=writes.lost(held),
        stale_at_the_end=len(behind),
        statements=counted,
        used_at=load.used_after(back),
        repaired_at=_repaired_at(samples, load, back),
    )


@asynccontextmanager
async def _managers(
    settings: Settings, servers: Servers, config: CacheConfig, observe: Observer
) -> AsyncIterator[list[AsyncCachedStateManager]]:
    """Open the manager that writes and the other one, on one pool."""
    async with Opening(servers) as opening:
        pool = await opening.async_pool(settings.pool_size)
        managers = []
        for observer in (observe, None):
            client = opening.async_client() if config.enabled else None
            manager = AsyncCachedStateManager(pool, client, config=config, observer=observer)
            managers.append(await opening.enter_async_context(manager))
        yield managers


def _load(settings: Settings, writes: Writes) -> Load:
    """Draw what is to be asked, and when."""
    workload = Workload(keys=settings.keys, read_share=settings.read_share)
    phases = settings.healthy_s + settings.trouble_s + settings.recovery_s
    seconds = WARM_UP_LIMIT_S + phases + 2 * RECOVERY_LIMIT_S
    due = arrivals("poisson", settings.rate_per_s, seconds, settings.seed)
    return Load(make_plan(workload, settings.seed), due, writes)


async def _fill(managers: list[AsyncCachedStateManager], writes: Writes, ids: list[str]) -> None:
    """Write every state once, and load it through both managers."""
    for start in range(0, len(ids), FILLED_AT_ONCE):
        states = {key: writes.next_state(key) for key in ids[start : start + FILLED_AT_ONCE]}
        await managers[0].update_states(states)
        for key, state in states.items():
            writes.acknowledged[key] = state["count"]
        for manager in managers:
            await manager.load_states(list(states))


async def _warm_up(load: Load) -> None:
    """Wait until connections are made and no request waits for another one."""
    until = time.monotonic() + WARM_UP_LIMIT_S
    await asyncio.sleep(WARM_UP_S)
    while not load.is_settled and time.monotonic() < until:  # noqa: ASYNC110 - it is looked at
        await asyncio.sleep(SAMPLE_S)


async def _make(settings: Settings, trouble: Trouble, worker: Executor) -> tuple[float, float]:
    """Make the trouble, and end it; return when it began and when the cache answered again."""
    do = partial(asyncio.get_running_loop().run_in_executor, worker)
    began = time.monotonic()
    await do(trouble.begin)
    if trouble.name in LASTING:
        try:
            await asyncio.sleep(max(0.0, began + settings.trouble_s - time.monotonic()))
        finally:
            await do(trouble.end)
    return began, time.monotonic()


async def _recover(
    settings: Settings, load: Load, samples: list[Sample], trouble: Trouble, back: float
) -> None:
    """Wait for the time set, and until the cache is used and nothing is left to repair."""
    if trouble.name == DISABLED:
        await asyncio.sleep(settings.trouble_s)
        return
    if trouble.name not in LASTING:  # what happened in a moment has its aftermath to itself
        await asyncio.sleep(settings.trouble_s)
    await asyncio.sleep(settings.recovery_s)
    until = back + RECOVERY_LIMIT_S
    while True:
        repaired_at = _repaired_at(samples, load, back)
        is_over = load.used_after(back) is not None and repaired_at is not None
        if is_over or time.monotonic() > until:
            return
        await asyncio.sleep(SAMPLE_S)


async def _sample(managers: list[AsyncCachedStateManager], samples: list[Sample]) -> None:
    while True:
        samples.append(_now(managers))
        await asyncio.sleep(SAMPLE_S)


def _now(managers: list[AsyncCachedStateManager]) -> Sample:
    stats = [manager.get_cache_stats() for manager in managers]
    return Sample(
        time.monotonic(),
        sum(one.hits for one in stats),
        sum(one.misses for one in stats),
        _statements(managers),
        stats[0].unrepaired,
        any(one.breaker_open for one in stats),
    )


def _statements(managers: list[AsyncCachedStateManager]) -> int:
    stats = [manager.get_cache_stats() for manager in managers]
    return sum(one.db_reads + one.db_writes for one in stats)


def _repaired_at(samples: list[Sample], load: Load, back: float) -> float | None:
    """Return from when on the writer had nothing to repair; ``None`` where it still has."""
    last = max([load.unrepaired_at, back, *(one.at for one in samples if one.unrepaired)])
    return next((one.at for one in samples if one.at > last), None)


def check_statements(timeline: Timeline) -> None:
    """Raise ``StudyError`` where PostgreSQL and the managers count differently."""
    if timeline.statements is not None:
        server, managers = timeline.statements
        if server != managers:
            raise StudyError(
                f"PostgreSQL counts {server} statements and the managers {managers} while the "
                f"cache was {timeline.trouble}: is anybody else using these servers?"
            )
