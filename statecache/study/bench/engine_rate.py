"""The trigger engine: load, evaluate, update; every event counted exactly once."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from statecache import AsyncStateManager
from statecache.study.bench.mixes import FACTORIAL, Mechanisms, best_pool_size
from statecache.study.bench.rows import AT_LEAST, Findings, Goal, Row, paired_row, variant_line
from statecache.study.bench.stage import Stage
from statecache.study.engine import TriggerEngine
from statecache.study.errors import StudyError
from statecache.study.harness.audit import Audit, open_audit
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.ledger import Held
from statecache.study.harness.loops import all_of
from statecache.study.harness.opening import Opening
from statecache.study.harness.timing import Round, interleave

__all__ = ["check_events", "measure_engine"]

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

        async def work(manager: AsyncStateManager, seconds: float) -> float:
            events, elapsed = await _handle_events(manager, ids, seconds)
            return events.total() / elapsed

        size, sweep = await best_pool_size(stage, workspace, audit, work)
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


def check_events(
    handled: Mapping[str, int], before: Mapping[str, Held], after: Mapping[str, Held]
) -> None:
    """Raise ``StudyError`` unless every state counts each of its events, and each was a write."""
    for trigger_id, held in after.items():
        was, count = before[trigger_id], handled.get(trigger_id, 0)
        counted, written = held.number - was.number, held.version - was.version
        if counted != count or written != count:
            raise StudyError(
                f"{trigger_id} handled {count} events, its state counts {counted} in {written} "
                "writes: events were lost or repeated, please report this."
            )


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
