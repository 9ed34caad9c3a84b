"""What is measured: callers of the trigger engine, then a ladder of offered rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from statecache.study.errors import StudyError
from statecache.study.harness.campaign import Campaign, Measurements, again
from statecache.study.harness.drives import Closed, Open
from statecache.study.harness.events import EngineLoad
from statecache.study.harness.pool_sizes import PoolSizes, best_pool_size
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import ALL, GATHER, GATHER_REDIS, NONE, REDIS, Variant
from statecache.study.harness.workloads import Workload
from statecache.study.questions.concurrency.ladder import (
    Climb,
    place_below,
    rate_at,
    rungs_over,
    sustained,
)
from statecache.study.questions.pairs import average
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

__all__ = [
    "DOCUMENTED_CALLERS",
    "GATHER_REDIS",
    "NOTEBOOK",
    "ONE_BY_ONE",
    "PURE_READS",
    "PURE_WRITES",
    "VARIANTS",
    "ConcurrencyRun",
    "ConcurrencySettings",
    "cell_name",
    "measure",
]

NOTEBOOK: Final = "concurrency"

#: The documented suite has 100 triggers; here as many events may be under way.
DOCUMENTED_CALLERS: Final = 100

#: Cells from which costs are taken: of the database, and of the time one call after the other.
PURE_READS, PURE_WRITES = "none, loads only", "none, updates only"
ONE_BY_ONE: Final = "none, loads and updates, one caller"

VARIANTS: Final = (NONE, REDIS, GATHER, GATHER_REDIS, ALL)

#: How often a climb looks at another rate, at most: enough for a factor of eleven.
_CLIMBS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencySettings:
    """What to measure; raises ``StudyError`` for what cannot be judged."""

    triggers: int
    events: int
    start: str
    callers: Sequence[int]
    seconds: float
    blocks: int
    #: The ladder: the ratio of its rungs, their number at least, and the length of a cell.
    step: float
    rungs: int
    ladder_seconds: float
    ladder_blocks: int
    #: Events in flight at most, in the ladder.
    in_flight: int
    #: The latency that the 99th percentile may reach.
    limit_ms: float
    pool_sizes: Sequence[int]
    pool_blocks: int
    seed: int
    profile: str = "loopback"
    #: A recorded stream whose accesses are the events, in place of the departures.
    trace: str = ""

    def __post_init__(self) -> None:
        if not {1, DOCUMENTED_CALLERS} <= set(self.callers):
            raise StudyError(
                f"callers is {list(self.callers)}: the documented claims are about 1 and "
                f"{DOCUMENTED_CALLERS}, so both must be among them."
            )
        if self.step <= 1 or self.rungs < 2:
            raise StudyError(
                f"the ladder has {self.rungs} rungs at a ratio of {self.step:g}: take at least 2 "
                "and a ratio above 1."
            )

    @property
    def engine(self) -> EngineLoad:
        """The events."""
        return EngineLoad(
            triggers=self.triggers, events=self.events, start=self.start, trace=self.trace
        )

    def closed_conditions(self) -> list[Condition]:
        """Return the conditions of the closed loops."""
        curves = [
            self._closed(variant, callers) for variant in VARIANTS for callers in self.callers
        ]
        baseline = self._closed(NONE, DOCUMENTED_CALLERS)
        return [*curves, *self._costs(baseline), again(baseline)]

    def ladder_conditions(
        self, peaks: Mapping[str, float], edges: Mapping[str, float]
    ) -> list[Condition]:
        """Return the rungs of every variant.

        ``peaks`` is what each did in a closed loop, ``edges`` where a climb saw each of them fail.
        """
        return [
            self.rung(variant, rate)
            for variant in VARIANTS
            for rate in rungs_over(peaks[variant.name], edges[variant.name], self.step, self.rungs)
        ]

    def rung(self, variant: Variant, rate: float) -> Condition:
        """Return an open loop that offers so many events a second."""
        return Condition(
            cell=f"{variant.name}, {rate:g}/s",
            variant=variant,
            workload=self.engine,
            drive=Open(self.in_flight, self.ladder_seconds, rate),
            labels={
                "part": "ladder",
                "mechanisms": variant.name,
                "callers": self.in_flight,
                "offered_s": rate,
            },
        )

    def _closed(self, variant: Variant, callers: int) -> Condition:
        return Condition(
            cell=cell_name(variant.name, callers),
            variant=variant,
            workload=self.engine,
            drive=Closed(callers, self.seconds),
            labels={
                "part": "curve",
                "mechanisms": variant.name,
                "callers": callers,
                "offered_s": math.nan,
            },
        )

    def _costs(self, baseline: Condition) -> Iterator[Condition]:
        """Yield what loads and updates cost on their own, without a cache."""
        parts = (
            (PURE_READS, 1.0, DOCUMENTED_CALLERS),
            (PURE_WRITES, 0.0, DOCUMENTED_CALLERS),
            (ONE_BY_ONE, 0.5, 1),
        )
        for name, read_share, callers in parts:
            workload = Workload(keys=self.triggers, popularity="uniform", read_share=read_share)
            labels = dict(baseline.labels) | {"part": "costs", "callers": callers}
            yield replace(
                baseline,
                cell=name,
                workload=workload,
                drive=Closed(callers, self.seconds),
                labels=labels,
            )


def cell_name(mechanisms: str, callers: int) -> str:
    """Return the name of a closed loop."""
    return f"{mechanisms}, {callers} caller{'' if callers == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class ConcurrencyRun:
    """What was measured, and how."""

    settings: ConcurrencySettings
    closed: Measurements
    ladder: Measurements
    pool: PoolSizes

    @property
    def cells(self) -> pd.DataFrame:
        """All cells."""
        return pd.concat([self.closed.cells, self.ladder.cells], ignore_index=True)

    @property
    def histograms(self) -> pd.DataFrame:
        """All latencies."""
        return pd.concat([self.closed.histograms, self.ladder.histograms], ignore_index=True)


async def measure(
    settings: ConcurrencySettings,
    servers: Servers,
    folder: RunFolder,
    on_progress: Callable[[float, str], None] = lambda _share, _what: None,
) -> ConcurrencyRun:
    """Sweep the pool size without a cache, let callers loop, then climb the ladder.

    ``servers`` are the servers as the settings' profile has them. Raises ``StudyError``.
    """

    def part(start: float, length: float) -> Callable[[float, str], None]:
        return lambda share, what: on_progress(start + length * share, what)

    campaign = Campaign(
        servers=servers,
        folder=folder,
        notebook=NOTEBOOK,
        seed=settings.seed,
        pool_size=max(settings.pool_sizes),
        profile=settings.profile,
        on_progress=part(0.0, 0.1),
    )
    conditions = settings.closed_conditions()
    baseline = next(
        one for one in conditions if one.cell == cell_name(NONE.name, DOCUMENTED_CALLERS)
    )
    pool = await best_pool_size(campaign, baseline, settings.pool_sizes, settings.pool_blocks)
    chosen = replace(campaign, pool_size=pool.best, on_progress=part(0.1, 0.5))
    closed = await chosen.measure(conditions, settings.blocks)
    peaks = {
        variant.name: max(
            average(closed.cells, cell_name(variant.name, callers), "throughput_ops_s").mean
            for callers in settings.callers
        )
        for variant in VARIANTS
    }
    edges = await _climb(replace(chosen, on_progress=part(0.6, 0.1)), settings, peaks)
    climbing = replace(chosen, on_progress=part(0.7, 0.3))
    ladder = await climbing.measure(
        settings.ladder_conditions(peaks, edges), settings.ladder_blocks
    )
    return ConcurrencyRun(settings, closed, ladder, pool)


async def _climb(
    campaign: Campaign, settings: ConcurrencySettings, peaks: Mapping[str, float]
) -> dict[str, float]:
    """Return where each variant fails, as a place on the ladder, seen once.

    Each begins right below what it did in a closed loop: with other numbers in flight an open loop
    may sustain more, or less.
    """
    climbs = {
        variant.name: Climb(place_below(peaks[variant.name], settings.step), settings.step)
        for variant in VARIANTS
    }
    for _look in range(_CLIMBS):
        conditions = [
            settings.rung(variant, rate_at(climb.place, settings.step))
            for variant in VARIANTS
            if not (climb := climbs[variant.name]).is_over
        ]
        if not conditions:
            break
        seen = await campaign.measure(conditions, 1)
        for name, held in sustained(seen.cells, settings.limit_ms).items():
            climbs[name].note(held=held)
    return {name: climb.edge for name, climb in climbs.items()}
