"""What the mixed workload says: answer, what the claims are judged by, limits, the table."""

from __future__ import annotations

import math

import pandas as pd

from statecache.study.bounds import gain_where_reads_are_saved
from statecache.study.harness.variants import ALL, GATHER, GATHER_REDIS, NONE, REDIS
from statecache.study.intervals import Interval
from statecache.study.questions.evidence import Evidence
from statecache.study.questions.mixed_workload.findings import Findings
from statecache.study.questions.mixed_workload.measure import (
    NOTEBOOK,
    MixedSettings,
    cell_name,
)
from statecache.study.questions.pairs import JUDGED_PROFILES, average, ratio, saved
from statecache.study.questions.wording import (
    bottleneck_sentence,
    busy_sentences,
    network_sentence,
    percent,
    with_interval,
)
from statecache.study.verdicts import LEVEL, Measured

__all__ = ["answer", "keys_text", "limits", "measured", "ttl_text"]


def ttl_text(ttl_s: float) -> str:
    """Return a TTL for readers."""
    return f"{1000 * ttl_s:g} ms" if ttl_s < 1 else f"{ttl_s:g} s"


def keys_text(settings: MixedSettings) -> str:
    """Return which keys are asked for, and how often."""
    if settings.trace:
        return f"the keys of a recorded stream, {settings.states:,} of them"
    return f"zipf {settings.zipf_exponent:g} over {settings.states:,} keys"


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the notebook opens with, the headline first."""
    longest = findings.run.settings.longest_ttl_s
    redis = findings.row(REDIS.name, findings.share, longest)
    gathered = findings.row(GATHER_REDIS.name, findings.share, longest)
    gather = findings.row(GATHER.name, findings.share)
    every = findings.row(ALL.name, findings.share, longest)
    callers = findings.run.settings.callers
    said = [
        (
            f"At {percent(findings.share)} reads, {callers} callers and "
            f"{100 * redis['hit_rate']:.0f} % hits Redis alone makes "
            f"{with_interval(redis, 'gain')} the throughput (documented: 7x), and "
            f"{with_interval(gathered, 'gain')} beside the same gathering; gathering without any "
            f"cache makes {with_interval(gather, 'total')}, all mechanisms together "
            f"{with_interval(every, 'total')}."
        ),
        (
            f"Of PostgreSQL's statements the cache saved {100 * redis['saved']:.1f} % at "
            f"{percent(findings.share)} reads: the share of reads times the hit rate, and never "
            "more than the reads."
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
    evidence = _evidence(findings)
    none = cell_name(NONE.name, findings.share)
    gather = cell_name(GATHER.name, findings.share)
    redis = cell_name(REDIS.name, findings.share, longest)
    gathered = cell_name(GATHER_REDIS.name, findings.share, longest)
    alone = cell_name(NONE.name, findings.share, sequential=True)
    alone_redis = cell_name(REDIS.name, findings.share, longest, sequential=True)
    row = findings.row(REDIS.name, findings.share, longest)
    at = _conditions(findings)
    one = at.replace(f"{findings.run.settings.callers} callers", "one caller")
    rate, cpu = "throughput_ops_s", "backend_us_per_op"
    found = [
        evidence.of(
            "throughput_uncached",
            average(cells, none, rate, LEVEL),
            at.rpartition(", ")[0],
        ),
        evidence.of("throughput_cached", average(cells, redis, rate, LEVEL), at),
        evidence.of(
            "throughput_gain",
            ratio(cells, redis, none, rate, LEVEL),
            f"no gathering, {at}",
            bound=row["gain_bound"] if findings.database_is_bottleneck else math.nan,
            why=_bottleneck(findings),
        ),
        evidence.of(
            "throughput_gain",
            ratio(cells, gathered, gather, rate, LEVEL),
            "both gather, otherwise the same",
        ),
        evidence.of(
            "database_load",
            saved(cells, redis, none, cpu, LEVEL),
            f"no gathering, {at}",
            bound=row["cost_bound"],
            why=_cost_sentence(findings),
        ),
        evidence.of(
            "database_load",
            saved(cells, gathered, gather, cpu, LEVEL),
            "both gather, otherwise the same",
        ),
        *_statements(findings),
        evidence.of(
            "mixed_uncached",
            average(cells, alone, rate, LEVEL),
            one.rpartition(", ")[0],
        ),
        evidence.of("mixed_cached", average(cells, alone_redis, rate, LEVEL), one),
        evidence.of(
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
    shares = sorted(findings.run.settings.mixes, key=lambda share: (share != findings.share, share))
    found = []
    for share in shares:
        row = findings.row(REDIS.name, share, findings.run.settings.longest_ttl_s)
        value = float(row["saved"])
        found.append(
            _evidence(findings).of(
                "database_queries",
                Interval(value, value, value),
                f"{percent(share)} reads, {100 * row['hit_rate']:.1f} % hits",
                # What is served by a read that is shared is no hit, and saves a statement, too.
                bound=float(row["served"]),
                counted=True,
            )
        )
    return found


def _evidence(findings: Findings) -> Evidence:
    return Evidence(NOTEBOOK, findings.profile, findings.pairs)


def _conditions(findings: Findings) -> str:
    settings = findings.run.settings
    row = findings.row(REDIS.name, findings.share, settings.longest_ttl_s)
    return (
        f"{percent(findings.share)} reads, {settings.callers} callers, "
        f"{findings.run.pool.best} connections, {keys_text(settings)}, "
        f"{100 * row['hit_rate']:.0f} % hits"
    )


def _bottleneck(findings: Findings) -> str:
    row = findings.row(NONE.name, findings.share)
    share = findings.costs.reads_share(findings.share)
    return bottleneck_sentence(row, gain_where_reads_are_saved(share, 1.0))


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
        findings.run.measurements.placement,
        (
            "Everything is in PostgreSQL's buffers; a database that reads from disk has dearer "
            "reads and more to save."
        ),
        (
            "Gathering absorbs writes to the same key that wait at the same time: up to "
            f"{100 * findings.grid['absorbed'].max():.0f} % of the writes of a mix, with the "
            "popularity of keys that it has."
        ),
    ]
    late = int(cells["puts_late"].sum())
    if late:
        said.append(
            f"{late:,} puts came later than half their TTL and were refused, which counts as a "
            "miss of the next read: TTLs this short are for measuring only."
        )
    said += busy_sentences(findings.grid["client_share"], "conditions")
    return [*said, network_sentence(findings.profile)]


def _percent(row: pd.Series, name: str) -> str:
    low, high = (100 * row[f"{name}_{end}"] for end in ("low", "high"))
    return f"{100 * row[name]:.0f} % ({low:.0f}–{high:.0f})"
