"""What the notebook says: answer, what the claims are judged by, limits; all computed."""

from __future__ import annotations

import pandas as pd

from statecache.study.intervals import Interval
from statecache.study.questions.degradation.findings import Findings, check
from statecache.study.questions.degradation.measure import NOTEBOOK
from statecache.study.questions.degradation.settings import DISABLED
from statecache.study.questions.evidence import Evidence
from statecache.study.verdicts import Measured

__all__ = ["answer", "limits", "load_text", "measured"]


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
        conditions = f"{_listed(rows['name'])}; {load_text(findings)}"
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
                f"STATE_CACHE_ENABLED=false, no client; {load_text(findings)}",
                f"Failed: {_of(without['errors'], without['requests'])} requests; median latency "
                f"{without['p50_ms_healthy']:.1f} ms.",
            )
        )
    return found


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


def load_text(findings: Findings) -> str:
    """Return the load in words."""
    settings = findings.recorded.settings
    times = f", {settings.repetitions} times each" if settings.repetitions > 1 else ""
    return (
        f"{settings.rate_per_s:g} requests/s (Poisson), {settings.read_share:.0%} reads, "
        f"{settings.keys:,} keys, zipf{times}"
    ).replace("%", " %")


def _counted(claim: str, share: float, pairs: int, conditions: str, why: str) -> Measured:
    value = float(share)
    evidence = Evidence(NOTEBOOK, "loopback", pairs)
    return evidence.of(claim, Interval(value, value, value), conditions, counted=True, why=why)


def _of(count: float, total: float) -> str:
    return f"{'none' if not count else f'{count:,.0f}'} of {total:,.0f}"


def _listed(names: pd.Series) -> str:
    *first, last = names.tolist()
    return f"{', '.join(first)} and {last}" if first else str(last)
