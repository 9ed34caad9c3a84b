"""What is measured: mechanisms, TTLs and read shares, in random blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from statecache.study.errors import StudyError
from statecache.study.harness.campaign import Campaign, Measurements, again
from statecache.study.harness.drives import Closed
from statecache.study.harness.pool_sizes import PoolSizes, best_pool_size
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import ALL, GATHER, GATHER_REDIS, NONE, REDIS, Variant
from statecache.study.harness.workloads import Workload, recorded_read_share
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

__all__ = [
    "DOCUMENTED_SHARE",
    "NOTEBOOK",
    "PURE_READS",
    "PURE_WRITES",
    "MixedRun",
    "MixedSettings",
    "cell_name",
    "measure",
]

NOTEBOOK: Final = "mixed_workload"

#: The mix that the documents quote figures for.
DOCUMENTED_SHARE: Final = 0.8

#: Cells from which the database's cost of a read and of a write are taken.
PURE_READS, PURE_WRITES = "none, reads only", "none, writes only"


@dataclass(frozen=True, kw_only=True)
class MixedSettings:
    """What to measure; raises ``StudyError`` for what cannot be judged.

    The longest TTL should be longer than the whole measurement: there every read hits.
    ``gathered_ttls_s`` are those of gathering with Redis; what keeps states in the process, too,
    has the longest.
    """

    read_shares: Sequence[float]
    ttls_s: Sequence[float]
    gathered_ttls_s: Sequence[float]
    callers: int
    keys: int
    zipf_exponent: float
    seconds: float
    blocks: int
    pool_sizes: Sequence[int]
    pool_blocks: int
    seed: int
    profile: str = "loopback"
    #: A recorded stream in place of the drawn mixes: it has one share of reads, its own.
    trace: str = ""

    def __post_init__(self) -> None:
        if not self.trace and DOCUMENTED_SHARE not in self.read_shares:
            raise StudyError(
                f"read_shares is {list(self.read_shares)}: the documented claims are about "
                f"{DOCUMENTED_SHARE}, so it must be among them."
            )
        if not all(0 < share < 1 for share in self.read_shares):
            raise StudyError(
                f"read_shares is {list(self.read_shares)}: give shares between 0 and 1; reads "
                "only and writes only are always measured."
            )
        if not set(self.gathered_ttls_s) <= set(self.ttls_s) or not self.gathered_ttls_s:
            raise StudyError(
                f"gathered_ttls_s is {list(self.gathered_ttls_s)}: choose from ttls_s, "
                f"{list(self.ttls_s)}."
            )
        if self.longest_ttl_s not in self.gathered_ttls_s:
            raise StudyError(
                f"gathered_ttls_s lacks the longest TTL, {self.longest_ttl_s:g} s: add it."
            )

    @property
    def longest_ttl_s(self) -> float:
        """The TTL at which every read hits."""
        return max(self.ttls_s)

    @cached_property
    def mixes(self) -> Sequence[float]:
        """The shares of reads that are measured."""
        return [self.judged_share] if self.trace else self.read_shares

    @cached_property
    def judged_share(self) -> float:
        """The share of reads that the claims are judged at."""
        return recorded_read_share(self.trace) if self.trace else DOCUMENTED_SHARE

    @cached_property
    def states(self) -> int:
        """Number of states."""
        return len(self.workload(self.judged_share).ids)

    def workload(self, read_share: float) -> Workload:
        """Return the mix."""
        if self.trace:
            return Workload(trace=self.trace)
        return self._drawn(read_share)

    def _drawn(self, read_share: float) -> Workload:
        return Workload(keys=self.keys, zipf_exponent=self.zipf_exponent, read_share=read_share)

    def conditions(self) -> list[Condition]:
        """Return every condition of a block."""
        baseline = self._condition(NONE, self.judged_share)
        reads, writes = (
            replace(baseline, cell=name, workload=self._drawn(share), labels={"part": "pure"})
            for name, share in ((PURE_READS, 1.0), (PURE_WRITES, 0.0))
        )
        return [*self._grid(), *self._sequential(), reads, writes, again(baseline)]

    def _grid(self) -> Iterator[Condition]:
        for share in self.mixes:
            yield self._condition(NONE, share)
            yield self._condition(GATHER, share)
            for ttl_s in self.ttls_s:
                yield self._condition(REDIS, share, ttl_s)
            for ttl_s in self.gathered_ttls_s:
                yield self._condition(GATHER_REDIS, share, ttl_s)
            yield self._condition(ALL, share, self.longest_ttl_s)

    def _sequential(self) -> Iterator[Condition]:
        """Yield one call after the other, as the documented benchmark makes them."""
        for variant, ttl_s in ((NONE, None), (REDIS, self.longest_ttl_s)):
            condition = self._condition(variant, self.judged_share, ttl_s, callers=1)
            yield replace(condition, labels=dict(condition.labels) | {"part": "sequential"})

    def _condition(
        self, variant: Variant, share: float, ttl_s: float | None = None, callers: int = 0
    ) -> Condition:
        callers = callers or self.callers
        own = variant if ttl_s is None else replace(variant, ttl_s=ttl_s, mark=f"{ttl_s:g} s")
        labels: dict[str, Any] = {
            "part": "grid",
            "mechanisms": variant.name,
            "read_share": share,
            "ttl_s": math.nan if ttl_s is None else ttl_s,
            "callers": callers,
        }
        return Condition(
            cell=cell_name(variant.name, share, ttl_s, sequential=callers == 1),
            variant=own,
            workload=self.workload(share),
            drive=Closed(callers, self.seconds),
            labels=labels,
        )


def cell_name(
    mechanisms: str, read_share: float, ttl_s: float | None = None, *, sequential: bool = False
) -> str:
    """Return the name of a condition."""
    parts = [mechanisms, f"{100 * read_share:.4g} % reads"]
    parts += [] if ttl_s is None else [f"TTL {ttl_s:g} s"]
    return ", ".join(parts + (["one caller"] if sequential else []))


@dataclass(frozen=True, slots=True)
class MixedRun:
    """What was measured, and how."""

    settings: MixedSettings
    measurements: Measurements
    pool: PoolSizes = field(repr=False)


async def measure(
    settings: MixedSettings,
    servers: Servers,
    folder: RunFolder,
    on_progress: Callable[[float, str], None] = lambda _share, _what: None,
) -> MixedRun:
    """Sweep the pool size of the manager without a cache, then measure every condition with it.

    ``servers`` are the servers as the settings' profile has them. Raises ``StudyError``.
    """
    campaign = Campaign(
        servers=servers,
        folder=folder,
        notebook=NOTEBOOK,
        seed=settings.seed,
        pool_size=max(settings.pool_sizes),
        profile=settings.profile,
        on_progress=on_progress,
    )
    conditions = settings.conditions()
    name = cell_name(NONE.name, settings.judged_share)
    baseline = next(condition for condition in conditions if condition.cell == name)
    pool = await best_pool_size(campaign, baseline, settings.pool_sizes, settings.pool_blocks)
    chosen = replace(campaign, pool_size=pool.best)
    return MixedRun(settings, await chosen.measure(conditions, settings.blocks), pool)
