"""How long another process's in-process tier still serves what has been overwritten."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np

from statecache import CachedStateManager
from statecache._async.listener import TRUST_S
from statecache.study.bench.rows import AT_MOST, Findings, Goal, Row
from statecache.study.bench.stage import Stage
from statecache.study.bench.watcher import Watcher, running_watcher
from statecache.study.harness.documents import document, trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.intervals import Interval
from statecache.study.troubles.relay import TroubleRelay, running_relay

__all__ = ["measure_staleness"]

IDS = trigger_ids(16)
#: Pause before a write, at most, in seconds: so that no write is in step with the reader.
PAUSE_S = 0.002
#: The same after the invalidation connection has gone dead, so that all its phases are met.
BLACKOUT_PAUSE_S = 0.5
#: What the reader may take, on top of the bound, to notice and to ask Redis.
SLACK_S = 0.25
#: Share of the progress that the writes over a sound connection are.
SOUND_SHARE = 0.6


async def measure_staleness(stage: Stage) -> Findings:
    """Measure from a write's acknowledgement in one process until another one sees it."""
    with stage.workspace(["tier"], IDS) as workspace:
        config = stage.config(workspace, "tier", memory_items=1_000)
        async with Opening(stage.servers) as opening:
            writer = opening.cached(opening.pool(1), config)
            pauses = random.Random(stage.seed)  # noqa: S311 - pauses, not secrets
            with running_watcher(stage.servers, stage.servers.redis_url, config) as watcher:
                sound = _watch_writes(stage, writer, watcher, pauses)
            url = stage.servers.redis_url
            with (
                running_relay(url) as relay,
                running_watcher(stage.servers, relay.address(url), config) as watcher,
            ):
                dead = _black_out(stage, writer, watcher, relay, pauses)
            opening.check()
    return Findings(_rows(sound, dead), {"staleness, ms": _table(sound, dead)})


def _watch_writes(
    stage: Stage, writer: CachedStateManager, watcher: Watcher, pauses: random.Random
) -> list[float]:
    delays = []
    count = stage.effort.watched_writes
    for number in range(1, count + 1):
        trigger_id = IDS[number % len(IDS)]
        watcher.watch(trigger_id, number)
        delays.append(_write(writer, watcher, trigger_id, number, pauses.uniform(0, PAUSE_S)))
        stage.progress(SOUND_SHARE * number / count)
    return delays


def _black_out(
    stage: Stage,
    writer: CachedStateManager,
    watcher: Watcher,
    relay: TroubleRelay,
    pauses: random.Random,
) -> list[float]:
    delays = []
    for number in range(stage.effort.blackouts):
        trigger_id = IDS[number % len(IDS)]
        mark = stage.effort.watched_writes + 1 + number
        watcher.watch(trigger_id, mark)
        relay.forget_subscribers()
        pause = pauses.uniform(0, BLACKOUT_PAUSE_S)
        delays.append(_write(writer, watcher, trigger_id, mark, pause))
        relay.heal()
        stage.progress(SOUND_SHARE + (1 - SOUND_SHARE) * (number + 1) / stage.effort.blackouts)
    return delays


def _write(
    writer: CachedStateManager, watcher: Watcher, trigger_id: str, number: int, pause_s: float
) -> float:
    """Write after a pause; return the seconds from the acknowledgement until it was seen."""
    time.sleep(pause_s)
    writer.update_state(trigger_id, document(number))
    acknowledged = time.monotonic()
    # It may be seen before: the entry changes before the writer hears of it.
    return max(0.0, watcher.seen() - acknowledged)


def _rows(sound: list[float], dead: list[float]) -> list[Row]:
    against = "the acknowledgement of the write in another process"

    def row(name: str, what: str, value_s: float, goal: Goal | None = None) -> Row:
        interval = Interval(*[value_s * 1e3] * 3)
        return Row(
            name=f"staleness_{name}",
            what=f"in-process tier, a write is seen: {what}",
            against=against,
            value=interval,
            unit="ms",
            goal=goal,
            counted=True,
        )

    return [
        row("p50", f"p50 of {len(sound):,}", float(np.quantile(sound, 0.5))),
        row("p999", f"p99.9 of {len(sound):,}", float(np.quantile(sound, 0.999))),
        row(
            "blackout",
            f"the slowest of {len(dead)}, the invalidation connection silently dead",
            max(dead),
            Goal(AT_MOST, (TRUST_S + SLACK_S) * 1e3),
        ),
    ]


def _table(sound: list[float], dead: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "connection": name,
            "writes": len(values),
            **{
                label: round(float(np.quantile(values, share)) * 1e3, 4)
                for label, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
            },
        }
        for name, values in (("sound", sound), ("silently dead", dead))
    ]
