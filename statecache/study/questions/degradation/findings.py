"""What the timelines show; every sentence is computed from the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from statecache.study.intervals import Interval
from statecache.study.questions.degradation.measure import NOTEBOOK, Recorded
from statecache.study.questions.degradation.settings import DISABLED, NAMES
from statecache.study.questions.degradation.tables import PHASES
from statecache.study.verdicts import Measured

__all__ = [
    "FORMATS",
    "Findings",
    "answer",
    "check",
    "find",
    "limits",
    "measured",
    "table",
    "table_caption",
]

#: Fewer requests than this have no 99th percentile that anything may rest on.
MIN_SAMPLES: Final = 10_000

#: Counts that are added up over the repetitions.
_SUMS: Final = (
    "requests",
    "errors",
    "wrong",
    "own_stale",
    "broken",
    "acknowledged",
    "lost",
    "stale",
    "stale_after_repair",
    "stale_at_the_end",
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The timelines, summed up over the repetitions.

    ``by_trouble``, a row a trouble in the order of ``NAMES``: trouble, name, the counts of
    ``Recorded.cells`` added up, stale_longest_s, used_after_s, repaired_after_s and warm_after_s
    (longest; NaN where it never came to that), trouble_s, hit_rate_<phase>,
    statements_per_s_<phase> and throughput_per_s_<phase> (medians), log_lines (most),
    samples_<phase>, p50_ms_<phase>, p99_ms_<phase> (of all requests).
    """

    recorded: Recorded
    by_trouble: pd.DataFrame

    @property
    def troubled(self) -> pd.DataFrame:
        """The rows in which something was done to the cache."""
        return self.by_trouble[~self.by_trouble["trouble"].isin(["none", DISABLED])]

    def row(self, trouble: str) -> pd.Series | None:
        """Return the row of a trouble; ``None`` where it was not measured."""
        found = self.by_trouble[self.by_trouble["trouble"] == trouble]
        return None if found.empty else found.iloc[0]


def find(recorded: Recorded) -> Findings:
    """Sum up what was recorded."""
    rows = []
    for trouble, name in NAMES.items():
        cells = recorded.cells[recorded.cells["cell"] == trouble]
        if cells.empty:
            continue
        row: dict[str, Any] = {"trouble": trouble, "name": name}
        row |= {one: int(cells[one].sum()) for one in _SUMS}
        row |= {
            one: float(cells[one].max(skipna=False))
            for one in ("stale_longest_s", "used_after_s", "repaired_after_s", "warm_after_s")
        }
        row |= {
            "trouble_s": float(cells["trouble_s"].median()),
            "log_lines": cells["log_lines"].max(),
        }
        for phase in PHASES:
            for one in ("hit_rate", "statements_per_s", "throughput_per_s"):
                row[f"{one}_{phase}"] = float(cells[f"{one}_{phase}"].median())
            chosen = recorded.histograms[recorded.histograms["cell"] == f"{trouble} {phase}"]
            row[f"samples_{phase}"] = int(chosen["count"].sum())
            for percent in (50, 99):
                row[f"p{percent}_ms_{phase}"] = _quantile_us(chosen, percent / 100) / 1e3
        rows.append(row)
    return Findings(recorded, pd.DataFrame(rows))


def check(findings: Findings) -> str:
    """Return a sentence on what held, or raise ``AssertionError``.

    Asserted is what no machine may break: no caller sees an error or an answer that nobody wrote,
    no acknowledged write is lost, the manager that wrote never reads older than that, no read is
    older than what the cache had acknowledged, and nothing is stale once the writer has repaired.
    """
    must_be_none = {
        "errors": "calls failed",
        "wrong": "answers held what nobody wrote",
        "lost": "keys lost an acknowledged write",
        "own_stale": "reads were older than the same manager's own write",
        "broken": "reads were older than what the cache had acknowledged",
        "stale_after_repair": "reads were stale after the writer had repaired everything",
        "stale_at_the_end": "keys were read in an older state than the row's in the end",
    }
    for _place, row in findings.by_trouble.iterrows():
        for count, what in must_be_none.items():
            texts = findings.recorded.cells.loc[
                findings.recorded.cells["cell"] == row["trouble"], "error_text"
            ]
            hint = f" ({texts.max()})" if count == "errors" else ""
            assert row[count] == 0, (  # noqa: S101 - the notebook's check
                f"{row[count]} {what} ({row['name']}, {row['requests']} requests){hint}"
            )
    total = findings.by_trouble[["requests", "acknowledged"]].sum()
    return (
        f"Checked on {total['requests']:,} requests: no call failed, and none of "
        f"{total['acknowledged']:,} acknowledged writes was lost."
    )


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the run's index opens with."""
    rows = findings.troubled
    if rows.empty:
        return [check(findings)]
    names = _listed(rows["name"])
    slowest = rows.iloc[int(rows["p50_ms_trouble"].argmax())]
    busiest = rows.iloc[int(rows["statements_per_s_trouble"].argmax())]
    failed = _of(rows["errors"].sum(), rows["requests"].sum())
    lost = _of(rows["lost"].sum(), rows["acknowledged"].sum())
    said = [
        (
            f"With the cache {names}, {failed} requests failed and {lost} acknowledged writes "
            "were lost."
        ),
        (
            f"Callers felt it most while it was {slowest['name']}: a median of "
            f"{slowest['p50_ms_trouble']:.1f} ms instead of {slowest['p50_ms_healthy']:.1f} ms; "
            f"PostgreSQL took up to {busiest['statements_per_s_trouble']:.0f} statements/s instead "
            f"of {busiest['statements_per_s_healthy']:.0f}."
        ),
    ]
    used = rows["used_after_s"]
    stale = (
        f"{rows['stale'].sum():,} reads by another process's manager were stale meanwhile, none "
        "once the writer had repaired the cache."
        if rows["stale"].sum()
        else "no read was stale."
    )
    said.append(
        "It was in use again "
        + ("at the latest " if len(rows) > 1 else "")
        + f"{used.max():.2f} s after it was back; {stale}"
        if used.notna().all()
        else f"After some troubles it was not in use again within the time watched; {stale}"
    )
    return said


def measured(findings: Findings) -> list[Measured]:
    """Return what was found for the claims that are judged here."""
    found = []
    rows = findings.troubled
    repetitions = findings.recorded.settings.repetitions
    if not rows.empty:
        requests, acknowledged = rows["requests"].sum(), rows["acknowledged"].sum()
        spoilt = rows[["lost", "stale_after_repair", "stale_at_the_end"]].sum().sum()
        conditions = f"{_listed(rows['name'])}; {_load_text(findings)}"
        found += [
            _counted(
                "survives_redis",
                1 - rows["errors"].sum() / requests,
                repetitions,
                conditions,
                f"Failed: {_of(rows['errors'].sum(), requests)} requests.",
            ),
            _counted(
                "data_integrity",
                1 - spoilt / acknowledged,
                repetitions,
                conditions,
                f"Lost: {_of(rows['lost'].sum(), acknowledged)} acknowledged writes; "
                f"{rows['stale_after_repair'].sum() + rows['stale_at_the_end'].sum()} reads were "
                "stale after the recovery.",
            ),
        ]
    without = findings.row(DISABLED)
    if without is not None:
        found.append(
            _counted(
                "rollback",
                1 - without["errors"] / without["requests"],
                repetitions,
                f"STATE_CACHE_ENABLED=false, no client; {_load_text(findings)}",
                f"Failed: {_of(without['errors'], without['requests'])} requests; median latency "
                f"{without['p50_ms_healthy']:.1f} ms.",
            )
        )
    return found


def table(findings: Findings) -> pd.DataFrame:
    """Return the figures of each trouble for readers."""
    rows = findings.by_trouble
    return pd.DataFrame(
        {
            "cache": rows["name"],
            "requests": rows["requests"],
            "errors": rows["errors"],
            "lost writes": rows["lost"],
            "stale reads": rows["stale"],
            "after repair": rows["stale_after_repair"] + rows["stale_at_the_end"],
            "added p50 (ms)": rows["p50_ms_trouble"] - rows["p50_ms_healthy"],
            "added p99 (ms)": rows["p99_ms_trouble"] - rows["p99_ms_healthy"],
            "used again (s)": rows["used_after_s"],
            "hit rate back (s)": rows["warm_after_s"],
            "statements/s before": rows["statements_per_s_healthy"],
            "during": rows["statements_per_s_trouble"],
            "log lines": rows["log_lines"],
        }
    )


#: How the columns of ``table`` are shown.
FORMATS: Final = {
    "requests": ",.0f",
    "added p50 (ms)": "+.2f",
    "added p99 (ms)": "+.1f",
    "used again (s)": ".2f",
    "hit rate back (s)": ".2f",
    "statements/s before": ",.0f",
    "during": ",.0f",
    "log lines": ".0f",
}


def table_caption(findings: Findings) -> str:
    """Return what stands above the table."""
    rows, settings = findings.by_trouble, findings.recorded.settings
    fewest = int(rows["samples_trouble"].min())
    said = (
        f"Every trouble, {_load_text(findings)}, profile loopback. Added latency compares the "
        f"{settings.trouble_s:g} s from its beginning with the {settings.healthy_s:g} s before; "
        "stale reads are those of the manager that does not write; hit rate back: at least 90 % of "
        "what it was, over a quarter of a second."
    )
    if fewest < MIN_SAMPLES:
        said += (
            f" The 99th percentiles rest on {fewest:,} requests or more and are descriptive: "
            f"a verdict would need {MIN_SAMPLES:,}."
        )
    return said


def limits(findings: Findings) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    recorded = findings.recorded
    said = [
        (
            "The cache's own process was killed, stopped and started again, on loopback; only "
            "its slowness came from a relay before it, which itself adds to every exchange. To "
            "start it again is work of the callers' own process and holds them up for some tens "
            "of milliseconds."
            if recorded.is_own
            else "These servers are not the study's own, so nothing was done to their processes: a "
            "relay before the cache reset connections (killed, restarted; the study's own keys "
            "were removed meanwhile), held what was sent (hung), or was slow. It adds to every "
            "exchange."
        ),
        (
            "PostgreSQL was healthy throughout, and so was the network to it; a full cache, a "
            "read-only one and a failover are covered by the tests, not here."
        ),
        (
            "At this load PostgreSQL could carry every request without the cache "
            f"({recorded.settings.rate_per_s:g} a second). Where it cannot, requests queue as long "
            "as the cache is away."
        ),
    ]
    none = findings.row("none")
    if none is not None:
        said.append(
            "With no trouble at all the same comparison gives "
            f"{none['p50_ms_trouble'] - none['p50_ms_healthy']:+.2f} ms at the median and "
            f"{none['p99_ms_trouble'] - none['p99_ms_healthy']:+.1f} ms at the 99th percentile: "
            "that is the noise floor."
        )
        if none["stale"] or none["hit_rate_healthy"] < 0.9:
            said.append(
                "The machine was so busy that exchanges with a healthy cache took longer than the "
                f"time-out of 50 ms: its hit rate was {none['hit_rate_healthy']:.0%} before any "
                "trouble.".replace("%", " %")
            )
    late = recorded.cells["late_p99_us"].max() / 1e3
    said.append(f"The driver started requests up to {late:.1f} ms late (99th percentile).")
    return said


def _load_text(findings: Findings) -> str:
    settings = findings.recorded.settings
    times = f", {settings.repetitions} times each" if settings.repetitions > 1 else ""
    return (
        f"{settings.rate_per_s:g} requests/s (Poisson), {settings.read_share:.0%} reads, "
        f"{settings.keys:,} keys, zipf{times}"
    ).replace("%", " %")


def _counted(claim: str, share: float, pairs: int, conditions: str, why: str) -> Measured:
    value = float(share)
    return Measured(
        claim=claim,
        interval=Interval(value, value, value),
        pairs=pairs,
        profile="loopback",
        conditions=conditions,
        notebook=NOTEBOOK,
        command="statecache study run standard",
        counted=True,
        why=why,
    )


def _quantile_us(histograms: pd.DataFrame, share: float) -> float:
    """Return the quantile of pooled histograms, the middle of its bucket."""
    buckets = histograms.sort_values("low_us")
    counts = buckets["count"].to_numpy()
    if not counts.sum():
        return float("nan")
    bucket = int(np.argmax(np.cumsum(counts) >= share * counts.sum()))
    return float(np.sqrt(buckets["low_us"].iloc[bucket] * buckets["high_us"].iloc[bucket]))


def _of(count: float, total: float) -> str:
    return f"{'none' if not count else f'{count:,.0f}'} of {total:,.0f}"


def _listed(names: pd.Series) -> str:
    *first, last = names.tolist()
    return f"{', '.join(first)} and {last}" if first else str(last)
