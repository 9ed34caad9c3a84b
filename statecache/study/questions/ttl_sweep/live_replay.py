"""Replay a recorded stream on live managers, in open loop and in compressed time.

Requests start when the stream says so, whether or not earlier ones have ended. All variants see
the same stream in one pass, staggered a little so that their bursts do not coincide.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from statecache import Access
from statecache.study.engine import TriggerEngine
from statecache.study.harness.garbage import own_objects_left_alone
from statecache.study.harness.tasks import tasks_together

__all__ = ["LiveLog", "Subject", "replay_live"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A variant under test: the engine on its manager, and the log its manager's observer fills."""

    engine: TriggerEngine
    accesses: list[Access]


@dataclass(frozen=True, slots=True)
class LiveLog:
    """What a pass recorded; times are wall-clock seconds since the pass began.

    ``requests``: variant (category), kind (category: event, look), planned_s, started_s, ended_s
    (float64). ``accesses``: variant, operation, outcome, key (category), started_s, ended_s,
    armed_s (float64, NaN where nothing was put into the cache), in order of their end.

    ``cpu_share``: CPU time of this process over elapsed time.
    """

    requests: pd.DataFrame
    accesses: pd.DataFrame
    elapsed_s: float
    cpu_share: float


async def replay_live(
    stream: pd.DataFrame,
    subjects: Mapping[str, Subject],
    *,
    time_scale: float,
    stagger_s: float = 0.437,
    on_progress: Callable[[float], None] | None = None,
) -> LiveLog:
    """Run the stream (time_s, key, kind, delay_min) through every subject.

    ``time_scale`` is event seconds per second of wall clock; ``on_progress`` is told the elapsed
    share, 0 to 1. The first error of a request ends the pass and is raised as it is.
    """
    plan = _plan(stream, list(subjects), time_scale, stagger_s)
    requests = _Requests(len(plan.at))
    keys, kinds, delays = (
        stream["key"].tolist(),
        stream["kind"].tolist(),
        stream["delay_min"].tolist(),
    )
    names = list(subjects)
    engines = [subjects[name].engine for name in names]
    # Events of a key are handled in order, as by an event processor that is partitioned by key.
    locks: dict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def request(slot: int, variant: int, row: int) -> None:
        engine, key = engines[variant], keys[row]
        requests.started[slot] = time.monotonic()
        if kinds[row] == "event":
            async with locks[variant, key]:
                await engine.handle(key, delays[row])
        else:
            await engine.look(key)
        requests.ended[slot] = time.monotonic()

    with own_objects_left_alone():
        cpu_before, began = time.process_time(), time.monotonic()
        async with tasks_together() as tasks:
            for slot, (at, variant, row) in enumerate(
                zip(plan.at.tolist(), plan.variant.tolist(), plan.row.tolist(), strict=True)
            ):
                wait = began + at - time.monotonic()
                if wait > 0 or slot % 64 == 0:  # behind schedule, still let the others run
                    await asyncio.sleep(max(wait, 0))
                tasks.create_task(request(slot, variant, row))
                if on_progress is not None and slot % 256 == 0:
                    on_progress(at / plan.at[-1])
    elapsed_s = time.monotonic() - began
    return LiveLog(
        requests=requests.frame(plan, names, kinds, began),
        accesses=_access_frame({name: subjects[name].accesses for name in names}, began),
        elapsed_s=elapsed_s,
        cpu_share=(time.process_time() - cpu_before) / elapsed_s,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    at: np.ndarray  # seconds after the start
    variant: np.ndarray
    row: np.ndarray


def _plan(stream: pd.DataFrame, names: Sequence[str], time_scale: float, stagger_s: float) -> _Plan:
    """Merge every variant's copy of the stream into one schedule."""
    rows = np.arange(len(stream))
    at = np.concatenate(
        [stream["time_s"].to_numpy() / time_scale + n * stagger_s for n in range(len(names))]
    )
    order = np.argsort(at, kind="stable")  # ties keep the stream's order
    variant = np.repeat(np.arange(len(names)), len(stream))
    return _Plan(at[order], variant[order], np.tile(rows, len(names))[order])


class _Requests:
    """Start and end of every request, by its place in the plan."""

    def __init__(self, count: int) -> None:
        self.started = np.full(count, np.nan)
        self.ended = np.full(count, np.nan)

    def frame(
        self, plan: _Plan, names: Sequence[str], kinds: Sequence[str], began: float
    ) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "variant": pd.Categorical.from_codes(plan.variant, categories=pd.Index(names)),
                "kind": pd.Categorical(np.asarray(kinds, dtype=object)[plan.row]),
                "planned_s": plan.at,
                "started_s": self.started - began,
                "ended_s": self.ended - began,
            }
        )


def _access_frame(accesses: Mapping[str, Sequence[Access]], began: float) -> pd.DataFrame:
    frames = []
    for name, log in accesses.items():
        frame = pd.DataFrame(log, columns=list(Access._fields))
        frame.insert(0, "variant", name)
        frames.append(frame)
    merged = pd.concat(frames, ignore_index=True)
    for column in ("variant", "operation", "trigger_id", "outcome"):
        merged[column] = merged[column].astype("category")
    for instant in ("started", "ended", "armed"):
        merged[instant] = merged[instant].astype("float64") - began
    return merged.rename(
        columns={
            "trigger_id": "key",
            "started": "started_s",
            "ended": "ended_s",
            "armed": "armed_s",
        }
    )
