"""What is measured: the factorial of the mechanisms, and each further one with and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import pandas as pd

from statecache.study.harness.aside import run_aside
from statecache.study.harness.campaign import Campaign, Measurements, again
from statecache.study.harness.drives import Closed
from statecache.study.harness.pool_sizes import best_pool_size
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import FACTORIAL, NONE, REDIS, Variant
from statecache.study.harness.workloads import Workload, recorded_read_share
from statecache.study.progress import report_progress
from statecache.study.questions.memory import COMPRESSED, LARGE, weigh
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

__all__ = [
    "LARGE_BYTES",
    "MECHANISMS",
    "NOTEBOOK",
    "Helps",
    "HelpsSettings",
    "Mechanism",
    "cell_name",
    "conditions",
    "measure",
]

NOTEBOOK: Final = "what_helps"

#: A table that a cell does not read whole: most of its first reads find nothing in the buffers.
LARGE_KEYS: Final = 20_000
LARGE_BYTES: Final = 4_096

#: Documents of which it is weighed what they take in Redis, compressed and not.
WEIGHED_STATES: Final = 200

#: Entries expire all the time, so that what happens then can be seen.
SHORT: Final = replace(REDIS, ttl_s=0.3, mark="TTL 0.3 s")


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A mechanism that is on in one variant and off in the other; all else is alike."""

    name: str
    on: Variant
    off: Variant
    #: Name of the workload, see ``_workloads``; empty for the mix that the factorial has, too.
    workload: str = ""
    cold: bool = False


def _short(mark: str, **settings: float) -> Variant:
    return replace(SHORT, settings=settings, mark=f"{SHORT.mark}, {mark}")


MECHANISMS: Final = (
    Mechanism(
        "compression of 4 KB documents",
        replace(REDIS, settings={"compress_min_bytes": 1_024}, mark="compressed"),
        REDIS,
        "large documents",
    ),
    Mechanism("TTL jitter, half of 0.3 s", _short("jitter", ttl_jitter=0.5), SHORT),
    Mechanism("early refresh, TTL 0.3 s", _short("early", early_refresh=1.0), SHORT),
    Mechanism(
        "adaptive TTL for 95 % hits, from 0.3 s",
        _short("adaptive", target_hit_rate=0.95, ttl_min_secs=0.05, ttl_max_secs=60.0),
        SHORT,
    ),
    Mechanism(
        "negative entries, half of the keys absent",
        replace(REDIS, settings={"negative_ttl_secs": 60.0}, mark="negative entries"),
        REDIS,
        "absent keys",
    ),
    Mechanism(
        "triggers that catch outside writes",
        replace(NONE, outside_writes=True, mark="with triggers"),
        NONE,
    ),
    Mechanism(
        "repair_poll_secs, a plain manager notes its writes",
        replace(NONE, settings={"repair_poll_secs": 1.0}, mark="noting"),
        NONE,
    ),
    Mechanism(
        "repair_poll_secs, with Redis",
        replace(REDIS, settings={"repair_poll_secs": 1.0}, mark="polling"),
        REDIS,
    ),
    Mechanism(
        "synchronous_commit off (may lose commits)",
        replace(NONE, synchronous_commit=False, mark="asynchronous commit"),
        NONE,
    ),
    Mechanism("PostgreSQL's buffers emptied", NONE, NONE, "large table", cold=True),
)


@dataclass(frozen=True, kw_only=True)
class HelpsSettings:
    """How much to measure."""

    #: Turns in which every condition is measured once, and length of a cell in seconds.
    blocks: int
    seconds: float
    #: Concurrent callers; what is not of the factorial is measured with the first number.
    callers: Sequence[int]
    #: Connections that the baseline is tried with, and the turns of that sweep.
    pool_sizes: Sequence[int]
    pool_blocks: int
    keys: int
    #: Share of the requests that load.
    read_share: float
    seed: int
    #: A recorded stream that takes the place of the mix on zipf keys.
    trace: str = ""

    @property
    def mix(self) -> str:
        """Name of the mix that stands beside uniform keys."""
        return "recorded" if self.trace else "zipf"

    @property
    def mixes(self) -> tuple[str, str]:
        """Names of the mixes that the factorial is measured with."""
        return self.mix, "uniform"

    @cached_property
    def reads(self) -> float:
        """The share of reads of the mix."""
        return recorded_read_share(self.trace) if self.trace else self.read_share


@dataclass(frozen=True, slots=True)
class Helps:
    """What was measured.

    ``pools`` has callers, connections, a second, best; ``memory`` the columns of ``memory.weigh``
    of large documents as they are and compressed.
    """

    settings: HelpsSettings
    measurements: Measurements
    pools: pd.DataFrame = field(repr=False)
    memory: pd.DataFrame = field(repr=False)

    @property
    def best_pools(self) -> dict[int, int]:
        """Callers → the number of connections with which the baseline does most."""
        best = self.pools[self.pools["best"]]
        return {int(row["callers"]): int(row["connections"]) for _at, row in best.iterrows()}


def measure(settings: HelpsSettings, servers: Servers, folder: RunFolder) -> Helps:
    """Measure what ``folder`` does not hold yet, and return all of it. Raises ``StudyError``.

    First the pool sizes, with the variant that uses no mechanism: the best one serves all.
    """
    with report_progress() as report:
        campaign = Campaign(
            servers=servers,
            folder=folder,
            notebook=NOTEBOOK,
            seed=settings.seed,
            pool_size=max(settings.pool_sizes),
        )
        workload = _workloads(settings)[settings.mix]
        pools, best = [], {}
        for callers in settings.callers:
            report(0.0, f"{NOTEBOOK}, pool sizes for {callers} callers")
            condition = Condition(
                cell=f"none, {callers} callers",
                variant=NONE,
                workload=workload,
                drive=Closed(callers, settings.seconds),
            )
            found = run_aside(
                lambda condition=condition: best_pool_size(  # type: ignore[misc]
                    campaign, condition, settings.pool_sizes, settings.pool_blocks
                )
            )
            best[callers] = found.best
            is_best = found.rates["connections"] == found.best
            pools.append(found.rates.assign(callers=callers, best=is_best))
        main = replace(campaign, on_progress=lambda share, what: report(0.1 + 0.9 * share, what))
        chosen = conditions(settings, best)
        measurements = run_aside(lambda: main.measure(chosen, settings.blocks))
        memory = _memory(servers, folder)
        report(1.0, "measured")
    return Helps(settings, measurements, pd.concat(pools, ignore_index=True), memory)


def _memory(servers: Servers, folder: RunFolder) -> pd.DataFrame:
    """Return what large documents take in Redis, from the folder where it is kept."""
    name = f"memory-{WEIGHED_STATES}"
    frame = folder.read_cell(NOTEBOOK, name)
    if frame is None:
        frame = run_aside(lambda: weigh(servers, [LARGE, COMPRESSED], WEIGHED_STATES))
        folder.write_cell(NOTEBOOK, name, frame)
    return frame


def conditions(settings: HelpsSettings, best_pools: dict[int, int]) -> list[Condition]:
    """Return what every block measures; labels: workload, callers, connections.

    ``best_pools`` is callers → connections.
    """
    workloads = _workloads(settings)

    def condition(variant: Variant, workload: str, callers: int, *, cold: bool) -> Condition:
        size = best_pools[callers]
        return Condition(
            cell=cell_name(variant, workload, callers, cold=cold),
            variant=variant,
            workload=workloads[workload],
            drive=Closed(callers, settings.seconds),
            labels={"workload": workload, "callers": callers, "connections": size},
            cold=cold,
            pool_size=size,
        )

    chosen = [
        condition(variant, popularity, callers, cold=False)
        for callers in settings.callers
        for popularity in settings.mixes
        for variant in FACTORIAL
    ]
    first = settings.callers[0]
    for one in MECHANISMS:
        workload = one.workload or settings.mix
        chosen.append(condition(one.off, workload, first, cold=False))
        chosen.append(condition(one.on, workload, first, cold=one.cold))
    unique = {one.cell: one for one in chosen}
    return [*unique.values(), again(chosen[0])]


def cell_name(variant: Variant, workload: str, callers: int, *, cold: bool = False) -> str:
    """Return the name of a cell."""
    return f"{variant.name}, {workload}, {callers} callers" + (", cold" if cold else "")


def _workloads(settings: HelpsSettings) -> dict[str, Workload]:
    """Return the workloads by name."""
    mix = Workload(keys=settings.keys, read_share=settings.read_share)
    uniform = replace(mix, popularity="uniform", read_share=settings.reads)
    return {
        settings.mix: Workload(trace=settings.trace) if settings.trace else mix,
        "uniform": uniform,
        "large documents": replace(mix, size_bytes=LARGE_BYTES),
        "absent keys": replace(mix, read_share=1.0, absent_share=0.5),
        "large table": replace(uniform, keys=LARGE_KEYS, read_share=1.0),
    }
