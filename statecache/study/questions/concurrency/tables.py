"""The tables of the concurrency study, for readers, and what stands above them."""

from __future__ import annotations

from typing import Final

import pandas as pd

from statecache.study.harness.variants import GATHER, NONE
from statecache.study.questions.concurrency.findings import Findings
from statecache.study.questions.concurrency.ladder import SATURATED_CLIENT
from statecache.study.questions.concurrency.measure import VARIANTS
from statecache.study.questions.wording import percent

__all__ = [
    "CURVE_FORMATS",
    "LADDER_FORMATS",
    "curve_caption",
    "curve_table",
    "ladder_caption",
    "ladder_table",
]


def curve_table(findings: Findings) -> pd.DataFrame:
    """Return a row for each closed loop, for readers; units in the column names."""
    curve = findings.curve
    return pd.DataFrame(
        {
            "mechanisms": curve["mechanisms"],
            "callers": curve["callers"],
            "events/s": curve["events_s"],
            "p50 (ms)": curve["p50_us"] / 1e3,
            "p99 (ms)": curve["p99_us"] / 1e3,
            "÷ no cache, same gathering": curve["gain"].where(
                ~curve["mechanisms"].isin([NONE.name, GATHER.name])
            ),
            "÷ none": curve["total"],
            "from": curve["total_low"],
            "to": curve["total_high"],
            "statements/event": curve["statements"],
            "backend µs/event": curve["cpu_us"],
            "client (cores)": curve["client_share"],
        }
    )


def ladder_table(findings: Findings) -> pd.DataFrame:
    """Return a row for each rung, for readers; units in the column names."""
    ladder = findings.ladder
    order = {variant.name: place for place, variant in enumerate(VARIANTS)}
    ladder = ladder.sort_values(
        ["mechanisms", "offered_s"], key=lambda column: column.map(lambda one: order.get(one, one))
    )
    return pd.DataFrame(
        {
            "mechanisms": ladder["mechanisms"],
            "offered/s": ladder["offered_s"],
            "p99 (ms)": ladder["p99_us"] / 1e3,
            "from": ladder["p99_low"] / 1e3,
            "to": ladder["p99_high"] / 1e3,
            "pooled p99 (ms)": ladder["pooled_p99_us"] / 1e3,
            "latencies": ladder["latencies"],
            "not sustained (% of blocks)": 100 * ladder["failed"],
            "client (cores)": ladder["client_share"],
        }
    ).reset_index(drop=True)


#: How the columns of the tables are shown.
CURVE_FORMATS: Final = {
    "events/s": ",.0f",
    "p50 (ms)": ".2f",
    "p99 (ms)": ".1f",
    "÷ no cache, same gathering": ".2f",
    "÷ none": ".2f",
    "from": ".2f",
    "to": ".2f",
    "statements/event": ".2f",
    "backend µs/event": ".0f",
    "client (cores)": ".2f",
}
LADDER_FORMATS: Final = {
    "offered/s": ",.0f",
    "p99 (ms)": ".1f",
    "from": ".1f",
    "to": ".1f",
    "pooled p99 (ms)": ".1f",
    "latencies": ",.0f",
    "not sustained (% of blocks)": ".0f",
    "client (cores)": ".2f",
}


def curve_caption(findings: Findings) -> str:
    """Return what stands above the table of closed loops."""
    return (
        f"Closed loops, {findings.pairs} blocks, {findings.run.pool.best} connections (the best of "
        f"those swept), profile {findings.profile}; limits at 95 %. The uncached engine against "
        f"itself: {findings.noise.mean:.2f}x ({findings.noise.low:.2f}–{findings.noise.high:.2f})."
    )


def ladder_caption(findings: Findings) -> str:
    """Return what stands above the table of rungs."""
    return (
        f"Offered rates, {findings.run.settings.ladder_blocks} blocks, at most "
        f"{findings.run.settings.in_flight} events in flight, profile {findings.profile}. Not "
        "sustained: fewer than 99 % completed, a growing backlog, or a saturated client (above "
        f"{percent(SATURATED_CLIENT)} of a core, and late)."
    )
