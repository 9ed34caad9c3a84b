"""What the notebook says: answer, what the claims are judged by, limits; all computed."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from statecache.study.intervals import MIN_PAIRS, Interval, mean_interval, ratio_interval
from statecache.study.questions.evidence import Evidence
from statecache.study.questions.memory import DOCUMENTED
from statecache.study.questions.where_it_pays.findings import TYPICAL_HITS, Findings, event_pairs
from statecache.study.questions.where_it_pays.measure import (
    BUSY,
    LOOPBACK,
    NOTEBOOK,
)
from statecache.study.verdicts import LEVEL, Measured

__all__ = ["TYPICAL_READS", "answer", "limits", "measured"]

#: The case that sentences speak of: the documented mix, at the upper end of the documented hits.
TYPICAL_READS: Final = 0.8


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


def measured(findings: Findings) -> list[Measured]:
    """Return what was found for the claims that are judged here."""
    settings = findings.measured.settings
    weighed = Evidence(NOTEBOOK, LOOPBACK, settings.states)
    found = [
        weighed.of(
            "memory_per_trigger",
            _weight(findings, LEVEL),
            f"{settings.states} states of the documented form, MEMORY USAGE",
            counted=True,
            why=_weights(findings),
        )
    ]
    for profile, callers in ((LOOPBACK, 1), (LOOPBACK, BUSY), ("documented", 1)):
        pairs = event_pairs(findings.measured, profile, callers)
        if profile in findings.measured.void or pairs.empty:
            continue
        both = pairs["database_with"] + pairs["redis"]
        found.append(
            Evidence(NOTEBOOK, profile, len(pairs)).of(
                "infrastructure_cost",
                ratio_interval(pairs["database_without"].tolist(), both.tolist(), LEVEL),
                f"events of a load and an update, {_callers(callers)}, everything hits",
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


def _callers(count: int) -> str:
    return "one caller" if count == 1 else f"{count} callers"


def _typical(findings: Findings) -> pd.Series:
    table = findings.break_even
    return table[(table["reads"] == TYPICAL_READS) & (table["hit_rate"] == TYPICAL_HITS)].iloc[0]


def _weight(findings: Findings, level: float = 0.95) -> Interval:
    memory = findings.measured.memory
    return mean_interval(memory.loc[memory["kind"] == DOCUMENTED.name, "bytes"].tolist(), level)


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
