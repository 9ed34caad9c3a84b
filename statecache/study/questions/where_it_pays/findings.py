"""Where a cache pays: the frontier of the model, the points measured, and the costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from statecache.study.harness.campaign import AGAIN
from statecache.study.intervals import MIN_PAIRS, Interval, mean_interval, ratio_interval
from statecache.study.questions.where_it_pays.measure import (
    BUSY,
    EVENT_READS,
    LOOPBACK,
    Measured,
)
from statecache.study.questions.where_it_pays.model import Costs

__all__ = ["READ_SHARES", "TYPICAL_HITS", "Findings", "check", "find"]

#: Shares of reads whose frontier is shown.
READ_SHARES: Final = (0.5, 0.8, 0.95)
TYPICAL_HITS: Final = 0.9

NAN: Final = float("nan")


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured, beside the model that rests on its loopback cells.

    ``frontier``: reads, hit_rate, read_ms (of PostgreSQL, from which on the cache pays).
    ``break_even``: reads, hit_rate, read_ms, low, high (95 % over the blocks).
    ``points``: profile, reads, cache, callers, read_ms, hit_rate, ratio, low, high (mean latency
    with the cache over without, 95 %), word (pays, costs or not decided), predicted_ratio, void.
    ``events``, a row a profile and number of callers, CPU seconds a million events: profile,
    callers, database_without, database_with, redis, client_without, client_with, void.
    """

    measured: Measured
    costs: Costs
    frontier: pd.DataFrame
    break_even: pd.DataFrame
    points: pd.DataFrame
    events: pd.DataFrame


def find(found: Measured) -> Findings:
    """Sum up what was measured."""
    single = found.cells[found.cells["callers"] == 1]
    loopback = single[single["profile"] == LOOPBACK]
    costs = _costs(loopback)
    return Findings(
        measured=found,
        costs=costs,
        frontier=_frontier(costs),
        break_even=_break_even(loopback, costs),
        points=_points(found, costs),
        events=_events(found),
    )


def check(findings: Findings) -> str:
    """Return a sentence on what was counted alike, or raise ``AssertionError``.

    That every acknowledged write is in the rows and that managers and servers count alike has been
    checked in every cell already; here, that each cell was what its name says.
    """
    cells = findings.measured.cells
    without = cells[cells["cache"] == "none"]
    counted = without["statements_per_op"].dropna()
    assert (counted == 1).all(), (  # noqa: S101 - the notebook's check
        "without a cache every operation is one statement, but PostgreSQL counted "
        f"{counted.min():.3f} to {counted.max():.3f} an operation"
    )
    hits = cells.loc[cells["cache"] == "hits", "hit_rate"].dropna()
    assert (hits == 1).all(), (  # noqa: S101
        f"everything was in the cache and nothing expired, but only {hits.min():.4f} of a cell's "
        "loads hit"
    )
    return (
        f"In all {len(cells)} cells the rows bear out every acknowledged write, and managers and "
        "servers count alike."
    )


def _costs(cells: pd.DataFrame) -> Costs:
    """Return the model's costs from single-caller cells on loopback, means over the blocks."""
    reads = cells["reads"].max()
    mixed = cells[cells["reads"] == reads]
    means = mixed.groupby("cache")[["load_mean_us", "update_mean_us", "hit_rate"]].mean() / 1e3
    hit = means.loc["hits", "load_mean_us"]
    share = 1e3 * means.loc["some", "hit_rate"]
    return Costs(
        read=float(means.loc["none", "load_mean_us"]),
        write=float(means.loc["none", "update_mean_us"]),
        hit=float(hit),
        miss=float((means.loc["some", "load_mean_us"] - share * hit) / (1 - share)),
        write_through=float(means.loc["hits", "update_mean_us"]),
    )


def _frontier(costs: Costs) -> pd.DataFrame:
    hit_rates = np.linspace(0.02, 1.0, 99)
    frames = [
        pd.DataFrame(
            {
                "reads": reads,
                "hit_rate": hit_rates,
                "read_ms": costs.read_time(costs.frontier(reads, hit_rates)),
            }
        )
        for reads in READ_SHARES
    ]
    return pd.concat(frames, ignore_index=True)


def _break_even(loopback: pd.DataFrame, costs: Costs) -> pd.DataFrame:
    """Return the break-even with its interval over the blocks, each by its own costs."""
    by_block = [_costs(cells) for _block, cells in loopback.groupby("block")]
    rows = []
    for reads in READ_SHARES:
        for hit_rate in (0.5, 0.7, TYPICAL_HITS, 1.0):
            values = [float(one.read_time(one.frontier(reads, hit_rate))) for one in by_block]
            # A block in which no distance is enough has no place in a mean, nor may it be left out.
            everywhere = bool(np.isfinite(values).all())
            interval = mean_interval(values) if everywhere else Interval(NAN, NAN, NAN)
            whole = float(costs.read_time(costs.frontier(reads, hit_rate)))
            rows.append(
                {
                    "reads": reads,
                    "hit_rate": hit_rate,
                    "read_ms": whole,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
    return pd.DataFrame(rows)


def _points(found: Measured, costs: Costs) -> pd.DataFrame:
    distances = {str(name): _distance(found, str(name)) for name in found.cells["profile"].unique()}
    rows = []
    keys = ["profile", "reads", "cache", "callers"]
    cells = found.cells[~found.cells["cell"].str.endswith(AGAIN)]
    for _key, group in cells[cells["cache"] != "none"].groupby(keys, sort=False):
        first = group.iloc[0]
        profile, cache = str(first["profile"]), str(first["cache"])
        reads, callers = float(first["reads"]), int(first["callers"])
        same = (cells["profile"] == profile) & (cells["reads"] == reads)
        without = cells[same & (cells["cache"] == "none") & (cells["callers"] == callers)]
        pairs = group.merge(without, on="block", suffixes=("", "_without"))
        ratio = ratio_interval(
            pairs["request_mean_us"].tolist(), pairs["request_mean_us_without"].tolist()
        )
        hit_rate = float(group["hit_rate"].mean())
        database_ms, cache_ms = distances[profile]
        predicted = costs.with_cache(reads, hit_rate, database_ms, cache_ms) / costs.without(
            reads, database_ms
        )
        decided = len(pairs) >= MIN_PAIRS
        rows.append(
            {
                "profile": profile,
                "reads": reads,
                "cache": cache,
                "callers": callers,
                "read_ms": float(without["load_mean_us"].mean()) / 1e3,
                "hit_rate": hit_rate,
                "ratio": ratio.mean,
                "low": ratio.low,
                "high": ratio.high,
                "word": _word(ratio) if decided else "not decided",
                "predicted_ratio": float(predicted) if callers == 1 else NAN,
                "void": profile in found.void,
            }
        )
    order = {profile: place for place, profile in enumerate(distances)}
    points = pd.DataFrame(rows).sort_values(
        ["callers", "profile", "reads", "hit_rate"],
        key=lambda column: column.map(order) if column.name == "profile" else column,
    )
    return points.reset_index(drop=True)


def _word(ratio: Interval) -> str:
    if ratio.high < 1:
        return "pays"
    return "costs" if ratio.low > 1 else "not decided"


def _distance(found: Measured, profile: str) -> tuple[float, float]:
    """Return what the profile's relays add to a round trip, as calibrated, in ms."""
    legs = found.calibrations[found.calibrations["profile"] == profile]
    added = dict(zip(legs["leg"], legs["median_ms"], strict=True))
    return float(added.get("database", 0.0)), float(added.get("cache", 0.0))


def event_pairs(found: Measured, profile: str, callers: int) -> pd.DataFrame:
    """Return block by block CPU seconds a million events; empty where nobody could read them."""
    cells = found.cells
    chosen = cells[
        (cells["profile"] == profile)
        & (cells["reads"] == EVENT_READS)
        & (cells["callers"] == callers)
    ].set_index("block")
    columns = {
        "database_without": ("none", "backend_us_per_op"),
        "database_with": ("hits", "backend_us_per_op"),
        "redis": ("hits", "redis_us_per_op"),
        "client_without": ("none", "client_us_per_op"),
        "client_with": ("hits", "client_us_per_op"),
    }
    # Microseconds an operation; an event is a load and an update, so two of them.
    parts = {
        name: chosen.loc[chosen["cache"] == cache, column] / EVENT_READS
        for name, (cache, column) in columns.items()
    }
    return pd.DataFrame(parts).dropna()


def _events(found: Measured) -> pd.DataFrame:
    rows = []
    for profile in found.cells["profile"].unique():
        for callers in (1, BUSY):
            pairs = event_pairs(found, str(profile), callers)
            if not pairs.empty:
                head = {"profile": profile, "callers": callers, "void": profile in found.void}
                rows.append(head | dict(pairs.mean()))
    columns = ["database_without", "database_with", "redis", "client_without", "client_with"]
    return pd.DataFrame(rows, columns=["profile", "callers", *columns, "void"])
