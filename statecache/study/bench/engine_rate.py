"""The trigger engine: load, evaluate, update; every event counted exactly once."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from statecache import AsyncStateManager
from statecache.study.bench.mixes import FACTORIAL, Mechanisms, swept_pool_size
from statecache.study.bench.rows import AT_LEAST, Findings, Goal, Row, paired_row, variant_line
from statecache.study.bench.stage import Stage
from statecache.study.engine import TriggerEngine
from statecache.study.harness.audit import Audit, open_audit
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.ledger import check_events
from statecache.study.harness.loops import all_of
from statecache.study.harness.opening import Opening
from statecache.study.harness.timing import Round, interleave
from statecache.study.harness.workloads import Workload

__all__ = ["measure_engine"]

NONE, ALL = Mechanisms().name, FACTORIAL[-1].name
NOISE = "none again"
WARM_UP = 0.2

#: Delays in minutes, drawn once: the engine's own arithmetic is what it costs.
_DRAW = random.Random(20130204)  # noqa: S311 - delays, not secrets
DELAYS = [_DRAW.gauss(15.0, 30.0) for _ in range(4096)]


async def measure_engine(stage: Stage) -> Findings:
    """Measure events a second with many triggers at once, each handling one event at a time."""
    ids = trigger_ids(stage.effort.triggers)
    names = [variant.name for variant in FACTORIAL]
    with stage.workspace(names, ids) as workspace, open_audit(stage.servers) as audit:
        # An event is a load and an update; as many callers as triggers make them at once.
        events = Workload(keys=len(ids), popularity="uniform", read_share=0.5)
        size, sweep = await swept_pool_size(stage, events, len(ids))
        async with Opening(stage.servers) as opening:
            pool = await opening.async_pool(size)
            rounds: dict[str, Round[float]] = {}
            for variant in FACTORIAL:
                config = stage.config(workspace, variant.name, **variant.changes(len(ids)))
                open_one = opening.async_cached if variant.redis else opening.async_manager
                manager = await open_one(pool, config)
                await manager.load_states(ids)
                rounds[variant.name] = _round(stage, audit, manager, config.schema, ids)
            rounds[NOISE] = rounds[NONE]
            rates = await interleave(
                rounds, pairs=stage.effort.mix_pairs, seed=stage.seed, on_turn=stage.progress
            )
            opening.check()
    return Findings(
        _rows(rates, len(ids), size),
        {
            f"engine, {len(ids)} triggers": [
                variant_line(name, own, rates[NONE], "events/s") for name, own in rates.items()
            ],
            f"pool sizes without a cache, engine, {len(ids)} triggers": sweep,
        },
    )


def _round(
    stage: Stage, audit: Audit, manager: AsyncStateManager, schema: str, ids: Sequence[str]
) -> Round[float]:
    async def measure() -> float:
        """Return events a second, once the database has borne out every one of them."""
        before = audit.rows(schema)
        warm_up, _elapsed = await _handle_events(manager, ids, WARM_UP * stage.effort.run_s)
        events, elapsed = await _handle_events(manager, ids, stage.effort.run_s)
        check_events(warm_up + events, before, audit.rows(schema))
        audit.tidy(schema)
        return events.total() / elapsed

    return measure


async def _handle_events(
    manager: AsyncStateManager, ids: Sequence[str], seconds: float
) -> tuple[Counter[str], float]:
    """Let every trigger handle events for a while; return how many each did, and the time."""
    engine = TriggerEngine(manager)
    handled: Counter[str] = Counter()
    started = time.monotonic()
    until = started + seconds

    async def trigger(trigger_id: str, place: int) -> None:
        handle = engine.handle
        count = 0
        while time.monotonic() < until:
            await handle(trigger_id, DELAYS[(place + count) % len(DELAYS)])
            count += 1
        handled[trigger_id] = count

    await all_of(trigger(trigger_id, 41 * place) for place, trigger_id in enumerate(ids))
    return handled, time.monotonic() - started


def _rows(rates: Mapping[str, list[float]], triggers: int, size: int) -> list[Row]:
    what = f"engine, {triggers} triggers: events/s"
    baseline = f"the same on AsyncStateManager, {size} connections (its best)"

    def row(name: str, suffix: str, ours: str, goal: Goal | None = None) -> Row:
        both = rates[ours], rates[NONE]
        return paired_row(
            f"engine_{name}", what + suffix, baseline, both, goal=goal, unit="events/s"
        )

    return [
        row("rate", "", ALL, Goal(AT_LEAST, 10.0)),
        row("noise", ", noise: it against itself", NOISE),
    ]
