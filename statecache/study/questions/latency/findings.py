"""What the latencies say: absolute figures, and ratios with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pandas as pd

from statecache.study.bounds import mean_read_gain
from statecache.study.errors import StudyError
from statecache.study.harness.campaign import AGAIN
from statecache.study.histograms import P99_SAMPLES, pooled, quantile_us
from statecache.study.intervals import Interval, ratio_interval
from statecache.study.quantities import show_value
from statecache.study.questions.evidence import Evidence
from statecache.study.questions.latency.measure import NOTEBOOK, PATHS, RECORDED, Latencies
from statecache.study.questions.latency.stalled import summary
from statecache.study.questions.wording import percent
from statecache.study.verdicts import LEVEL, Measured

__all__ = ["Findings", "Ratio", "check", "find", "measured"]

ONE_CALLER: Final = "one caller, async"
THREADS: Final = "one caller, threads"
OPEN: Final = "open load, async"

_PATH_ORDER: Final = (*(path.name for path in PATHS), *(name for name, _variant in RECORDED))

_RECORDED_REDIS: Final = (RECORDED[0][0], RECORDED[1][0])

#: What is divided by what: name → path above, path below, statistic.
_RATIOS: Final = (
    ("a hit in Redis is faster by", "database read", "hit in Redis", "p50"),
    ("a hit in Redis is faster by", "database read", "hit in Redis", "mean"),
    ("a hit in process is faster by", "database read", "hit in process", "p50"),
    ("a hit in process is faster by", "database read", "hit in process", "mean"),
    ("a recorded load is faster by Redis", *_RECORDED_REDIS, "p50"),
    ("a recorded load is faster by Redis", *_RECORDED_REDIS, "p99"),
    ("a miss takes", "miss", "database read", "p50"),
    ("an update through the cache takes", "update, cached", "update", "p50"),
    ("a delete through the cache takes", "delete, cached", "delete", "p50"),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One path's latency over another's, block by block, at ``LEVEL``."""

    what: str
    driver: str
    size: int
    statistic: str
    interval: Interval
    pairs: int


@dataclass(frozen=True)
class Findings:
    """Everything that sentences and figures are made of."""

    latencies: Latencies

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row a cell and block, without the A/A pair."""
        cells = self.latencies.measurements.cells
        return cells[~cells["cell"].str.endswith(AGAIN)]

    @property
    def profile(self) -> str:
        """The deployment profile."""
        return str(self.latencies.measurements.cells["profile"].iloc[0])

    @property
    def size(self) -> int:
        """The size of the documents that are measured in every way, in bytes."""
        return int(self.latencies.settings.sizes[0])

    @property
    def blocks(self) -> int:
        """How often everything was measured."""
        return int(self.latencies.measurements.cells["block"].nunique())

    def values(self, path: str, driver: str, size: int, statistic: str) -> pd.Series[float]:
        """Return the latencies of a path by block, in µs, without those the driver spoilt."""
        cells = self.cells
        own = cells[
            (cells["path"] == path) & (cells["driver"] == driver) & (cells["size"] == size)
        ].set_index("block")
        own = own[~_void(own, statistic)]
        if own.empty:
            return pd.Series(dtype=float)
        return own[f"{own['operation'].iloc[0]}_{statistic}_us"].astype(float).dropna().sort_index()

    def latency(self, path: str, driver: str = ONE_CALLER, statistic: str = "p50") -> Interval:
        """Return a path's latency in µs: the geometric mean over the blocks."""
        return _typical(self.values(path, driver, self.size, statistic))

    def ratio(self, above: str, below: str, driver: str, size: int, statistic: str) -> Interval:
        """Return one path's latency over another's, paired by block."""
        both = self._pairs(above, below, driver, size, statistic)
        return ratio_interval(both["above"].tolist(), both["below"].tolist(), LEVEL)

    def _pairs(
        self, above: str, below: str, driver: str, size: int, statistic: str
    ) -> pd.DataFrame:
        """Return the latencies of both in the blocks that have both."""
        sides = {
            name: self.values(path, driver, size, statistic)
            for name, path in (("above", above), ("below", below))
        }
        return pd.concat(sides, axis="columns", join="inner")

    @cached_property
    def ratios(self) -> list[Ratio]:
        """Every ratio that was measured, by driver and size."""
        found = []
        for driver, size in self.settings:
            for what, above, below, statistic in _RATIOS:
                pairs = len(self._pairs(above, below, driver, size, statistic))
                if pairs:
                    interval = self.ratio(above, below, driver, size, statistic)
                    found.append(Ratio(what, driver, size, statistic, interval, pairs))
        return found

    @cached_property
    def noise(self) -> Interval:
        """The database read against itself: what differences of that size mean nothing."""
        cells = self.latencies.measurements.cells
        (name,) = (cell for cell in cells["cell"].unique() if cell.endswith(AGAIN))
        ours, theirs = (
            cells[cells["cell"] == one].sort_values("block")["load_p50_us"].tolist()
            for one in (name, name.removesuffix(AGAIN))
        )
        return ratio_interval(ours, theirs, LEVEL)

    @cached_property
    def gains(self) -> pd.DataFrame:
        """Mean gain of reads against hit rate, one caller: path, hit_rate, gain, low, high."""
        rows = []
        for path in ("miss", "half hits", "hit in Redis"):
            own = self.cells[
                (self.cells["path"] == path)
                & (self.cells["driver"] == ONE_CALLER)
                & (self.cells["size"] == self.size)
            ]
            gain = self.ratio("database read", path, ONE_CALLER, self.size, "mean")
            rows.append((path, float(own["hit_rate"].mean()), *gain))
        return pd.DataFrame(rows, columns=["path", "hit_rate", "gain", "low", "high"])

    @property
    def cache_cost(self) -> float:
        """A cache operation's mean time over a database read's, one caller."""
        return 1 / self.ratio("database read", "hit in Redis", ONE_CALLER, self.size, "mean").mean

    def bound(self, hit_rate: float) -> float:
        """Return the mean gain that lookups and fills leave at this hit rate."""
        return mean_read_gain(self.cache_cost, hit_rate)

    def histogram(self, path: str, driver: str, size: int) -> pd.DataFrame:
        """Return the pooled histogram of a path's operation."""
        rows = self.cells
        own = rows[(rows["path"] == path) & (rows["driver"] == driver) & (rows["size"] == size)]
        histograms = self.latencies.measurements.histograms
        chosen = histograms[
            histograms["cell"].isin(own["cell"])
            & (histograms["operation"] == own["operation"].iloc[0])
        ]
        return pooled(chosen)

    @cached_property
    def absolute(self) -> pd.DataFrame:
        """A row a path, driver and size: hit rate, samples, p50, mean and p99, in µs.

        A percentile is missing where the driver was later than a tenth of it in most blocks, and
        p99 where there are too few samples.
        """
        rows = []
        for (path, driver, size), own in self.cells.groupby(["path", "driver", "size"], sort=False):
            histogram = self.histogram(str(path), str(driver), int(str(size)))
            samples = int(histogram["count"].sum())
            void = {name: _void(own, name).mean() > 1 / 2 for name in ("p50", "p99")}
            median = math.nan if void["p50"] else quantile_us(histogram, 0.5)
            mean = own[f"{own['operation'].iloc[0]}_mean_us"].mean()
            rows.append(
                {
                    "path": path,
                    "driver": driver,
                    "document (B)": size,
                    "hit rate (%)": 100 * own["hit_rate"].mean(),
                    "samples": samples,
                    "p50 (µs)": median,
                    "mean (µs)": math.nan if void["p50"] else mean,
                    "p99 (µs)": quantile_us(histogram, 0.99)
                    if samples >= P99_SAMPLES and not void["p99"]
                    else math.nan,
                    "driver late": any(void.values()),
                }
            )
        places = {name: place for place, name in enumerate(_PATH_ORDER)}
        return (
            pd.DataFrame(rows)
            .assign(place=lambda table: table["path"].map(places))
            .sort_values(["driver", "document (B)", "place"], ignore_index=True)
            .drop(columns="place")
        )

    @cached_property
    def stall(self) -> pd.DataFrame:
        """What each loop recorded of the stall; see ``stalled.summary``."""
        return summary(self.latencies.stall)

    @property
    def halt_s(self) -> float:
        """For how long the server stood still."""
        return float(self.latencies.stall["halt_s"].iloc[0])

    @property
    def settings(self) -> list[tuple[str, int]]:
        """The drivers and sizes of the documents that were measured, the plainest first."""
        found = self.cells[["driver", "size"]].drop_duplicates()
        pairs = [(str(driver), int(size)) for driver, size in found.itertuples(index=False)]
        return sorted(pairs, key=lambda one: (one[1] != self.size, "open" in one[0], one))


def find(latencies: Latencies) -> Findings:
    """Return the findings; they are computed when they are asked for."""
    return Findings(latencies)


def check(findings: Findings) -> None:
    """Raise ``StudyError`` where a path is not the one that its name says, on whatever machine."""
    for path in ("hit in Redis", "hit in process"):
        rates = findings.cells.loc[findings.cells["path"] == path, "hit_rate"]
        least = min(float(rate) for rate in rates)
        if least < 1:
            raise StudyError(
                f"loads of the path {path!r} hit at {percent(least, 2)} only, but every state is "
                "cached for an hour: is anybody else using this Redis?"
            )


def measured(findings: Findings) -> list[Measured]:
    """Return the intervals for the claims that are judged here, one caller at a time."""
    found = []
    for driver, size in findings.settings:
        if driver not in (ONE_CALLER, THREADS):
            continue
        found += _measured(findings, driver, size)
    return found


def _measured(findings: Findings, driver: str, size: int) -> list[Measured]:
    where = f"{driver}, documents of {size} B"

    def timed(path: str, statistic: str) -> Interval:
        return _typical(findings.values(path, driver, size, statistic))

    read, hit = timed("database read", "p50"), timed("hit in Redis", "p50")
    in_us = [show_value(one.mean, "duration", "µs") for one in (read, hit)]
    is_first = (driver, size) == findings.settings[0]
    whys = {
        "uncached": "The documented milliseconds contain a network, which loopback has not.",
        "gain": f"It is the ratio of two round trips of this profile, {in_us[0]} and {in_us[1]}.",
    }
    if findings.profile != "loopback":
        del whys["uncached"]

    evidence = Evidence(NOTEBOOK, findings.profile, findings.blocks)

    def one(claim: str, interval: Interval) -> Measured:
        why = whys.get(claim.rpartition("_")[2], "") if is_first else ""
        return evidence.of(claim, interval, where, why=why)

    gain = findings.ratio("database read", "hit in Redis", driver, size, "p50")
    return [
        one("read_uncached", read),
        one("read_cached", hit),
        one("read_gain", gain),
        one("single_read_uncached", read),
        one("single_read_cached", hit),
        one("single_read_gain", gain),
        one("hit_latency", timed("hit in Redis", "mean")),
    ]


def _typical(values: pd.Series[float]) -> Interval:
    """Return the geometric mean over the blocks; ratios to 1 are what the t interval is made of."""
    return ratio_interval(values.tolist(), [1.0] * len(values), LEVEL)


def _void(cells: pd.DataFrame, statistic: str) -> pd.Series[bool]:
    """Say in which cells the driver was too late for a statistic; closed loops cannot be."""
    name = "p99_void" if statistic == "p99" else "p50_void"
    if name not in cells:
        return pd.Series(False, index=cells.index)
    return cells[name].fillna(False).astype(bool)
