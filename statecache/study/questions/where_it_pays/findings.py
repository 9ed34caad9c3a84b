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
    NOTEBOOK,
    Measured,
)
from statecache.study.questions.where_it_pays.memory import DOCUMENTED
from statecache.study.questions.where_it_pays.model import Costs
from statecache.study.verdicts import LEVEL
from statecache.study.verdicts import Measured as Claimed

__all__ = [
    "READ_SHARES",
    "Findings",
    "answer",
    "calibration_caption",
    "check",
    "cost_caption",
    "cost_table",
    "find",
    "limits",
    "measured",
    "memory_caption",
    "memory_table",
]

#: Shares of reads whose frontier is shown.
READ_SHARES: Final = (0.5, 0.8, 0.95)
#: The case that sentences speak of: the documented mix, at the upper end of the documented hits.
TYPICAL_READS: Final = 0.8
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


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the run's index opens with; the first one is the headline."""
    costs, case = findings.costs, _typical(findings)
    mix = f"{TYPICAL_READS:.0%} reads and {TYPICAL_HITS:.0%} hits".replace("%", " %")
    if case["read_ms"] <= costs.read:
        headline = (
            f"At {mix} a cache pays from loopback on, where a read of PostgreSQL takes "
            f"{costs.read:.2f} ms and a hit {costs.hit:.2f} ms."
        )
    else:
        interval = f" ({case['low']:.2f}–{case['high']:.2f})" if np.isfinite(case["low"]) else ""
        headline = (
            f"If a read of PostgreSQL takes less than {case['read_ms']:.2f} ms{interval}, don't "
            f"cache for latency: at {mix} the mean operation gets slower (here a read takes "
            f"{costs.read:.2f} ms, a hit {costs.hit:.2f} ms)."
        )
    said = [headline]
    events = findings.events[findings.events["profile"] == LOOPBACK]
    if len(events):
        one = events.iloc[-1]  # under load, where CPU time is what runs out
        both = one["database_with"] + one["redis"]
        word = "less" if both < one["database_without"] else "more"
        said.append(
            f"A million events ({_callers(int(one['callers']))}) cost PostgreSQL "
            f"{one['database_without']:.0f} s of CPU without a cache and "
            f"{one['database_with']:.0f} s with one, and Redis {one['redis']:.0f} s: {word} in all."
        )
    weight = _weight(findings)
    said.append(
        f"A state of the documented form takes {weight.mean:.0f} bytes in Redis, key and overhead "
        "included."
    )
    return said


def measured(findings: Findings) -> list[Claimed]:
    """Return what was found for the claims that are judged here."""
    settings = findings.measured.settings
    found = [
        Claimed(
            claim="memory_per_trigger",
            interval=_weight(findings, LEVEL),
            pairs=settings.states,
            profile=LOOPBACK,
            conditions=f"{settings.states} states of the documented form, MEMORY USAGE",
            notebook=NOTEBOOK,
            command="statecache study run standard",
            counted=True,
            why=_weights(findings),
        )
    ]
    for profile, callers in ((LOOPBACK, 1), (LOOPBACK, BUSY), ("documented", 1)):
        pairs = _event_pairs(findings.measured, profile, callers)
        if profile in findings.measured.void or pairs.empty:
            continue
        both = pairs["database_with"] + pairs["redis"]
        found.append(
            Claimed(
                claim="infrastructure_cost",
                interval=ratio_interval(pairs["database_without"].tolist(), both.tolist(), LEVEL),
                pairs=len(pairs),
                profile=profile,
                conditions=f"events of a load and an update, {_callers(callers)}, everything hits",
                notebook=NOTEBOOK,
                command="statecache study run standard",
                why=_parts(pairs),
            )
        )
    return found


def _parts(pairs: pd.DataFrame) -> str:
    means = pairs.mean()
    return (
        f"PostgreSQL's own part goes from {means['database_without']:.0f} to "
        f"{means['database_with']:.0f} CPU seconds a million events; Redis takes "
        f"{means['redis']:.0f}."
    )


def cost_table(findings: Findings) -> pd.DataFrame:
    """Return CPU seconds a million events for readers, by profile and callers."""
    events = findings.events
    return pd.DataFrame(
        {
            "profile": [
                f"{name} (void)" if void else name
                for name, void in zip(events["profile"], events["void"], strict=True)
            ],
            "callers": events["callers"],
            "PostgreSQL, no cache (s)": events["database_without"],
            "PostgreSQL, cache (s)": events["database_with"],
            "Redis (s)": events["redis"],
            "both, cache (s)": events["database_with"] + events["redis"],
            "client, no cache (s)": events["client_without"],
            "client, cache (s)": events["client_with"],
        }
    )


def memory_table(findings: Findings) -> pd.DataFrame:
    """Return what states take in Redis for readers, a row a kind."""
    means = findings.measured.memory.groupby("kind", sort=False).mean()
    return pd.DataFrame(
        {
            "state": means.index,
            "JSON (bytes)": means["json_bytes"].to_numpy(),
            "in Redis (bytes)": means["bytes"].to_numpy(),
            "a million triggers (MiB)": means["bytes"].to_numpy() * 1e6 / 2**20,
        }
    )


def cost_caption(findings: Findings) -> str:
    """Return what stands above the table of costs."""
    return (
        "CPU seconds of a million events, a load and an update each, everything hits; means "
        f"over {findings.measured.settings.blocks} blocks, by profile. Redis's own idle time "
        "is part of its share."
    )


def memory_caption(findings: Findings) -> str:
    """Return what stands above the table of memory."""
    return (
        "Memory of a cached state in Redis, key and overhead included, for the documented key "
        f"prefix: means of {findings.measured.settings.states} states of each kind, profile "
        "loopback."
    )


def calibration_caption(findings: Findings) -> str:
    """Return what stands above the table of calibrations."""
    void = ", ".join(sorted(findings.measured.void)) or "none"
    return (
        "What the relays add to a round trip, measured against an echo before each profile. "
        f"Void: {void}."
    )


def limits(findings: Findings) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    costs, found = findings.costs, findings.measured
    said = [
        (
            "The frontier is for calls made one after the other on servers that do not queue; "
            "under load the server that is nearest to its limit decides, and a cache takes reads "
            "off PostgreSQL at any distance."
        ),
        (
            "It rests on the means of loopback ("
            f"read {costs.read:.2f} ms, update {costs.write:.2f} ms; with a cache hit "
            f"{costs.hit:.2f} ms, miss {costs.miss:.2f} ms, update {costs.write_through:.2f} ms), "
            "with everything in PostgreSQL's memory: a read from disk moves the break-even to "
            "nearer databases."
        ),
        (
            "Distances of the profiles are added by a relay and therefore assumed; that a cache "
            "pays under one of them follows from the distance that it sets."
        ),
        "Another load than one caller needs its own points: " + _busy_sentence(findings),
    ]
    said += [f"The profile {name} is void: {reason}" for name, reason in found.void.items()]
    if found.cells["backend_us_per_op"].isna().all():
        said.append(
            "These servers are not the study's own: their CPU time cannot be read, so nothing is "
            "said of costs."
        )
    if found.settings.blocks < MIN_PAIRS:
        said.append(f"{found.settings.blocks} blocks decide nothing; {MIN_PAIRS} are needed.")
    off = (findings.points["ratio"] / findings.points["predicted_ratio"] - 1).abs()
    sound = off[~findings.points["void"].astype(bool) & (findings.points["callers"] == 1)]
    if len(sound):
        said.append(
            f"The model is off from the points measured by up to {sound.max():.0%} in the ratio "
            "of the means.".replace("%", " %")
        )
    return said


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
            finite = [value for value in values if np.isfinite(value)]
            interval = mean_interval(finite) if len(finite) > 1 else Interval(NAN, NAN, NAN)
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


def _event_pairs(found: Measured, profile: str, callers: int) -> pd.DataFrame:
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
            pairs = _event_pairs(found, str(profile), callers)
            if not pairs.empty:
                head = {"profile": profile, "callers": callers, "void": profile in found.void}
                rows.append(head | dict(pairs.mean()))
    columns = ["database_without", "database_with", "redis", "client_without", "client_with"]
    return pd.DataFrame(rows, columns=["profile", "callers", *columns, "void"])


def _callers(count: int) -> str:
    return "one caller" if count == 1 else f"{count} callers"


def _typical(findings: Findings) -> pd.Series:
    table = findings.break_even
    return table[(table["reads"] == TYPICAL_READS) & (table["hit_rate"] == TYPICAL_HITS)].iloc[0]


def _weight(findings: Findings, level: float = 0.95) -> Interval:
    memory = findings.measured.memory
    return mean_interval(memory.loc[memory["kind"] == DOCUMENTED, "bytes"].tolist(), level)


def _weights(findings: Findings) -> str:
    means = findings.measured.memory.groupby("kind", sort=False).mean()
    parts = [
        f"{row['json_bytes']:.0f} bytes of JSON take {row['bytes']:.0f}"
        for _kind, row in means.iterrows()
    ]
    return f"In Redis {', '.join(parts)}."


def _busy_sentence(findings: Findings) -> str:
    busy = findings.points[(findings.points["callers"] > 1) & (findings.points["cache"] == "hits")]
    if busy.empty:
        return "none was measured."
    one = busy.iloc[0]
    return (
        f"with {one['callers']} callers on loopback the mean operation with a cache took "
        f"{one['ratio']:.2f} times as long as without ({one['low']:.2f}–{one['high']:.2f})."
    )
