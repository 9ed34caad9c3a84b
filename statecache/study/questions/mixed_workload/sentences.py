"""What the mixed workload says: answer, what the claims are judged by, limits, the table."""

from __future__ import annotations

import math
from typing import Any, Final

import pandas as pd

from statecache.study.bounds import gain_where_reads_are_saved
from statecache.study.harness.variants import ALL, GATHER, NONE, REDIS
from statecache.study.intervals import Interval
from statecache.study.questions.mixed_workload.findings import Findings
from statecache.study.questions.mixed_workload.measure import (
    DOCUMENTED_SHARE,
    GATHER_REDIS,
    NOTEBOOK,
    cell_name,
)
from statecache.study.questions.pairs import JUDGED_PROFILES, average, ratio, saved
from statecache.study.verdicts import LEVEL, Measured

__all__ = ["answer", "limits", "measured", "ttl_text"]

#: A client busier than this share of a core is what limits, and is said so.
BUSY_CLIENT: Final = 0.7


def ttl_text(ttl_s: float) -> str:
    """Return a TTL for readers."""
    return f"{1000 * ttl_s:g} ms" if ttl_s < 1 else f"{ttl_s:g} s"


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the notebook opens with, the headline first."""
    longest = findings.run.settings.longest_ttl_s
    redis = findings.row(REDIS.name, DOCUMENTED_SHARE, longest)
    gathered = findings.row(GATHER_REDIS.name, DOCUMENTED_SHARE, longest)
    gather = findings.row(GATHER.name, DOCUMENTED_SHARE)
    every = findings.row(ALL.name, DOCUMENTED_SHARE, longest)
    callers = findings.run.settings.callers
    said = [
        (
            f"At 80 % reads, {callers} callers and {100 * redis['hit_rate']:.0f} % hits Redis "
            f"alone makes {_times(redis, 'gain')} the throughput (documented: 7x), and "
            f"{_times(gathered, 'gain')} beside the same gathering; gathering without any cache "
            f"makes {_times(gather, 'total')}, all mechanisms together {_times(every, 'total')}."
        ),
        (
            f"Of PostgreSQL's statements the cache saved {100 * redis['saved']:.1f} % at 80 % "
            "reads: the share of reads times the hit rate, and never more than the reads."
        ),
    ]
    if not math.isnan(redis["cpu_saved"]):
        said.append(
            f"Of the backends' CPU time an operation it saved {_percent(redis, 'cpu_saved')}; "
            f"a write costs {findings.costs.write_over_read:.1f} times a read, so hits can save at "
            f"most {100 * redis['cost_bound']:.0f} %."
        )
    return said


def measured(findings: Findings) -> list[Measured]:
    """Return what the claims are judged by, at the level of verdicts.

    Nothing in a profile that no claim is judged in.
    """
    if findings.profile not in JUDGED_PROFILES:
        return []
    cells, longest = findings.cells, findings.run.settings.longest_ttl_s
    none = cell_name(NONE.name, DOCUMENTED_SHARE)
    gather = cell_name(GATHER.name, DOCUMENTED_SHARE)
    redis = cell_name(REDIS.name, DOCUMENTED_SHARE, longest)
    gathered = cell_name(GATHER_REDIS.name, DOCUMENTED_SHARE, longest)
    alone = cell_name(NONE.name, DOCUMENTED_SHARE, sequential=True)
    alone_redis = cell_name(REDIS.name, DOCUMENTED_SHARE, longest, sequential=True)
    row = findings.row(REDIS.name, DOCUMENTED_SHARE, longest)
    at = _conditions(findings)
    one = at.replace(f"{findings.run.settings.callers} callers", "one caller")
    rate, cpu = "throughput_ops_s", "backend_us_per_op"
    found = [
        _measured(
            findings,
            "throughput_uncached",
            average(cells, none, rate, LEVEL),
            at.rpartition(", ")[0],
        ),
        _measured(findings, "throughput_cached", average(cells, redis, rate, LEVEL), at),
        _measured(
            findings,
            "throughput_gain",
            ratio(cells, redis, none, rate, LEVEL),
            f"no gathering, {at}",
            bound=row["gain_bound"] if findings.database_is_bottleneck else None,
            why=_bottleneck(findings),
        ),
        _measured(
            findings,
            "throughput_gain",
            ratio(cells, gathered, gather, rate, LEVEL),
            "both gather, otherwise the same",
        ),
        _measured(
            findings,
            "database_load",
            saved(cells, redis, none, cpu, LEVEL),
            f"no gathering, {at}",
            bound=row["cost_bound"],
            why=_cost_sentence(findings),
        ),
        _measured(
            findings,
            "database_load",
            saved(cells, gathered, gather, cpu, LEVEL),
            "both gather, otherwise the same",
        ),
        *_statements(findings),
        _measured(
            findings,
            "mixed_uncached",
            average(cells, alone, rate, LEVEL),
            one.rpartition(", ")[0],
        ),
        _measured(findings, "mixed_cached", average(cells, alone_redis, rate, LEVEL), one),
        _measured(
            findings,
            "mixed_gain",
            ratio(cells, alone_redis, alone, rate, LEVEL),
            one,
            bound=findings.sequential.bound,
            why=f"One call after the other, reads take "
            f"{100 * findings.sequential.reads_share:.0f} % of the time without a cache, and only "
            "that can be saved.",
        ),
    ]
    return [one for one in found if not math.isnan(one.interval.mean)]


def _statements(findings: Findings) -> list[Measured]:
    """Return the statements saved at every read share, the documented one first."""
    shares = sorted(
        findings.run.settings.read_shares, key=lambda share: (share != DOCUMENTED_SHARE, share)
    )
    found = []
    for share in shares:
        row = findings.row(REDIS.name, share, findings.run.settings.longest_ttl_s)
        value = float(row["saved"])
        found.append(
            _measured(
                findings,
                "database_queries",
                Interval(value, value, value),
                f"{100 * share:g} % reads, {100 * row['hit_rate']:.1f} % hits",
                # What is served by a read that is shared is no hit, and saves a statement, too.
                bound=max(value, float(row["served"])),
                counted=True,
            )
        )
    return found


def _measured(
    findings: Findings, claim: str, interval: Interval, conditions: str, **more: Any
) -> Measured:
    bound = more.pop("bound", None)
    return Measured(
        claim=claim,
        interval=interval,
        pairs=findings.pairs,
        profile=findings.profile,
        conditions=conditions,
        notebook=NOTEBOOK,
        command="statecache study run full",
        bound=None if bound is None or math.isnan(bound) else float(bound),
        **more,
    )


def _conditions(findings: Findings) -> str:
    settings = findings.run.settings
    row = findings.row(REDIS.name, DOCUMENTED_SHARE, settings.longest_ttl_s)
    return (
        f"80 % reads, {settings.callers} callers, {findings.run.pool.best} connections, zipf "
        f"{settings.zipf_exponent:g} over {settings.keys:,} keys, {100 * row['hit_rate']:.0f} % "
        "hits"
    )


def _bottleneck(findings: Findings) -> str:
    row = findings.row(NONE.name, DOCUMENTED_SHARE)
    if math.isnan(row["database_share"]):
        return "The backends' CPU time cannot be seen here, so no bound is given."
    busy = (
        f"without a cache the backends use {row['database_share']:.2f} of a core and the client "
        f"{row['client_share']:.2f}"
    )
    share = findings.costs.reads_share(DOCUMENTED_SHARE)
    full = gain_where_reads_are_saved(share, 1.0)
    if findings.database_is_bottleneck:
        return f"The database is the bottleneck: {busy}; without a miss it would gain {full:.1f}x."
    return (
        f"Here the client is busier than the database: {busy}. Where the database is the "
        f"bottleneck, hits gain at most {full:.1f}x."
    )


def _cost_sentence(findings: Findings) -> str:
    costs = findings.costs
    return (
        f"A read takes the backends {costs.read_us.mean:.0f} µs of CPU time and a write "
        f"{costs.write_us.mean:.0f} µs, each measured in cells of its own; in a mix writes share "
        "their commits with fewer others, so that the bound is an estimate."
    )


def limits(findings: Findings) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    settings, cells = findings.run.settings, findings.cells
    short = [row for _, row in findings.grid.iterrows() if row["ttl_s"] < settings.longest_ttl_s]
    said = [
        f"Cells last {1000 * settings.seconds:g} ms, and TTLs are scaled to that: what counts is "
        "the TTL times the requests for a key, so "
        + (
            f"{ttl_text(short[0]['ttl_s'])} at {short[0]['ops_s']:,.0f} requests a second are "
            f"like {ttl_text(short[0]['ttl_s'] * 100)} at {short[0]['ops_s'] / 100:,.0f}; "
            if short
            else ""
        )
        + "the hit rate shown is the one measured, the beginning of the cell included.",
        "PostgreSQL and Redis share one core, the client has the other; a client in Python costs "
        "more CPU time than a primary-key read, so on loopback it is often what limits."
        if "one core" in findings.run.measurements.placement
        else findings.run.measurements.placement or "Client and servers share all cores.",
        (
            "Everything is in PostgreSQL's buffers; a database that reads from disk has dearer "
            "reads and more to save."
        ),
        (
            "Gathering absorbs writes to the same key that wait at the same time: up to "
            f"{100 * findings.grid['absorbed'].max():.0f} % of the writes of a mix; with uniform "
            "keys there are next to none."
        ),
    ]
    late = int(cells["puts_late"].sum())
    if late:
        said.append(
            f"{late:,} puts came later than half their TTL and were refused, which counts as a "
            "miss of the next read: TTLs this short are for measuring only."
        )
    busy = findings.grid[findings.grid["client_share"] > BUSY_CLIENT]
    if len(busy):
        said.append(
            f"In {len(busy)} of {len(findings.grid)} conditions the client used more than "
            f"{100 * BUSY_CLIENT:.0f} % of a core: their throughput is the client's."
        )
    if findings.profile != "loopback":
        said.append(
            f"The round trips of the profile {findings.profile} are set by relays: what follows "
            "from them alone is assumed."
        )
    else:
        said.append("No network is in these figures; another profile is another run.")
    return said


def _times(row: pd.Series, name: str) -> str:
    return f"{row[name]:.2f}x ({row[name + '_low']:.2f}–{row[name + '_high']:.2f})"


def _percent(row: pd.Series, name: str) -> str:
    low, high = (100 * row[f"{name}_{end}"] for end in ("low", "high"))
    return f"{100 * row[name]:.0f} % ({low:.0f}–{high:.0f})"
