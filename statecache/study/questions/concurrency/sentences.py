"""What the concurrency study says: answer, what the claims are judged by, limits, tables."""

from __future__ import annotations

import math

from statecache.study.capacity import Capacity, find_capacity
from statecache.study.harness.variants import ALL, GATHER, GATHER_REDIS, NONE, REDIS
from statecache.study.intervals import Interval
from statecache.study.questions.concurrency.findings import (
    Findings,
    assert_agreement,
    capacity_gain,
)
from statecache.study.questions.concurrency.ladder import LATE, SATURATED_CLIENT, judged_ladder
from statecache.study.questions.concurrency.measure import (
    DOCUMENTED_CALLERS,
    NOTEBOOK,
    ConcurrencySettings,
    cell_name,
)
from statecache.study.questions.evidence import Evidence
from statecache.study.questions.pairs import JUDGED_PROFILES, average, ratio
from statecache.study.questions.wording import (
    bottleneck_sentence,
    busy_sentences,
    network_sentence,
    percent,
    with_interval,
)
from statecache.study.verdicts import LEVEL, Measured

__all__ = [
    "answer",
    "capacity_text",
    "limits",
    "measured",
]


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the notebook opens with, the headline first."""
    redis, gathered = findings.row(REDIS.name), findings.row(GATHER_REDIS.name)
    gather, every = findings.row(GATHER.name), findings.row(ALL.name)
    capacities = findings.capacities
    bound = (
        ""
        if math.isnan(findings.bound)
        else f"An event is one load and one update, so where the database is the bottleneck hits "
        f"gain at most {findings.bound:.1f}x (a write costs "
        f"{findings.costs.write_over_read:.1f} reads); more comes from gathering. "
    )
    return [
        (
            f"With {DOCUMENTED_CALLERS} events under way Redis alone makes "
            f"{with_interval(redis, 'gain')} the events a second (documented: 7.3x), and "
            f"{with_interval(gathered, 'gain')} beside the same gathering; gathering without any "
            f"cache makes {with_interval(gather, 'total')}, all mechanisms together "
            f"{with_interval(every, 'total')}."
        ),
        (
            f"Event capacity, with a 99th percentile of at most "
            f"{findings.run.settings.limit_ms:g} ms: {capacity_text(capacities[NONE.name])} events "
            f"a second without a cache, {capacity_text(capacities[REDIS.name])} with Redis, "
            f"{capacity_text(capacities[GATHER.name])} with gathering alone, "
            f"{capacity_text(capacities[ALL.name])} with all mechanisms (documented: 100 → 1000+)."
        ),
        f"{bound}{assert_agreement(findings)}",
    ]


def capacity_text(capacity: Capacity) -> str:
    """Return a capacity with its interval."""
    found = capacity.interval
    sign = {"?": "about "}.get(capacity.sign, capacity.sign)
    limits = "" if math.isnan(found.low) else f" ({found.low:,.0f}–{found.high:,.0f})"
    return f"{sign}{found.mean:,.0f}{limits}"


def _known(interval: Interval, sign: str) -> Interval:
    """Return what is known where a ladder missed an end: one side at most decides something.

    A rung that stands for what lies above it takes from the mean and adds no deviation that was
    not there, so the lower limit is one of the true value, too; the same for what lies below.
    """
    low, high = {
        "": (interval.low, interval.high),
        "≥": (interval.low, math.inf),
        "≤": (0.0, interval.high),
    }.get(sign, (math.nan, math.nan))
    return Interval(interval.mean, low, high)


def measured(findings: Findings) -> list[Measured]:
    """Return what the claims are judged by, at the level of verdicts.

    Nothing in a profile that no claim is judged in.
    """
    if findings.profile not in JUDGED_PROFILES:
        return []
    cells, rate = findings.cells, "throughput_ops_s"
    evidence, at = _evidence(findings), _conditions(findings)
    none, redis, gather, gathered = (
        cell_name(variant.name, DOCUMENTED_CALLERS)
        for variant in (NONE, REDIS, GATHER, GATHER_REDIS)
    )
    alone, alone_redis = cell_name(NONE.name, 1), cell_name(REDIS.name, 1)
    bound = findings.bound if findings.database_is_bottleneck else math.nan
    found = [
        evidence.of(
            "evaluation_gain",
            ratio(cells, alone, alone_redis, "request_mean_us", LEVEL),
            "one caller, every load hits",
            bound=findings.one_by_one_bound,
            why=f"One call after the other, loads take {100 * findings.one_by_one_share:.0f} % of "
            "the time without a cache, and only that can be saved.",
        ),
        evidence.of(
            "concurrent_uncached",
            average(cells, none, rate, LEVEL),
            at.rpartition(", ")[0],
        ),
        evidence.of("concurrent_cached", average(cells, redis, rate, LEVEL), at),
        evidence.of(
            "concurrent_gain",
            ratio(cells, redis, none, rate, LEVEL),
            f"no gathering, {at}",
            bound=bound,
            why=_bottleneck(findings),
        ),
        evidence.of(
            "concurrent_gain",
            ratio(cells, gathered, gather, rate, LEVEL),
            "both gather, otherwise the same",
        ),
        *_capacities(findings, bound),
    ]
    return [one for one in found if not math.isnan(one.interval.mean)]


def _capacities(findings: Findings, bound: float) -> list[Measured]:
    settings = findings.run.settings
    ladder = (
        f"ladder of {settings.rungs} rates or more at a ratio of {settings.step:g}, "
        f"{settings.ladder_seconds:g} s each, Poisson arrivals"
    )
    steps = judged_ladder(findings.run.ladder.cells, settings.limit_ms)
    evidence = _evidence(findings)
    found = []
    for claim, variant in (("event_capacity_uncached", NONE), ("event_capacity_cached", REDIS)):
        capacity = find_capacity(
            steps[steps["mechanisms"] == variant.name],
            limit_us=1_000 * settings.limit_ms,
            level=LEVEL,
        )
        found.append(
            evidence.of(
                claim,
                _known(capacity.interval, capacity.sign),
                ladder,
                pairs=settings.ladder_blocks,
                why=_ends(capacity),
            )
        )
    for ours, theirs, words in (
        (REDIS, NONE, "no gathering"),
        (GATHER_REDIS, GATHER, "both gather"),
    ):
        interval, sign = capacity_gain(findings, ours.name, theirs.name, LEVEL)
        why = _bottleneck(findings) if theirs is NONE else ""
        if sign:
            much = {"≤": "at most", "≥": "at least"}.get(sign, "about")
            why += f" A ladder missed its limit in some blocks: the gain is {much} this."
        found.append(
            evidence.of(
                "event_capacity_gain",
                _known(interval, sign),
                f"{words}, {ladder}",
                pairs=settings.ladder_blocks,
                bound=bound if theirs is NONE else math.nan,
                why=why.strip(),
            )
        )
    return found


def _ends(capacity: Capacity) -> str:
    said = []
    if capacity.above:
        said.append(
            f"In {capacity.above} blocks the highest rung was still sustained: it is at least this."
        )
    if capacity.below:
        said.append(f"In {capacity.below} blocks not even the lowest rung was: it is at most this.")
    return " ".join(said)


def _evidence(findings: Findings) -> Evidence:
    return Evidence(NOTEBOOK, findings.profile, findings.pairs)


def _conditions(findings: Findings) -> str:
    settings = findings.run.settings
    return (
        f"{settings.triggers} triggers, {settings.events:,} events looped, {DOCUMENTED_CALLERS} "
        f"under way, {findings.run.pool.best} connections, every load hits"
    )


def _bottleneck(findings: Findings) -> str:
    return bottleneck_sentence(findings.row(NONE.name), findings.bound)


def _events(settings: ConcurrencySettings) -> str:
    if settings.trace:
        return f"accesses of the {settings.triggers} busiest keys of a recorded stream"
    return f"departures of the {settings.triggers} busiest routes"


def limits(findings: Findings) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    settings, ladder = findings.run.settings, findings.ladder
    said = [
        (
            f"Events are {settings.events:,} {_events(settings)} in their order, looped; a "
            "trigger's events are handled one after the other, and the wait for the one before "
            "counts as latency."
        ),
        (
            f"A rung lasts {1000 * settings.ladder_seconds:g} ms: an overload of less than "
            f"{100 * min(1.0, settings.limit_ms / 1000 / settings.ladder_seconds):.0f} % does not "
            "bring latency to the limit in that time and shows only as a growing backlog, so a "
            f"capacity is known to about a rung, a ratio of {settings.step:g}, and rather too high."
        ),
        findings.run.closed.placement,
    ]
    if ladder["pooled_p99_us"].isna().any():
        said.append(
            "Rungs with fewer than 10,000 latencies have no 99th percentile of their own: what is "
            "read off the ladder is the mean over the blocks of what each block showed."
        )
    late = int((ladder["late_p99_us"] > LATE * 1_000 * settings.limit_ms).sum())
    if late:
        said.append(
            f"At {late} of {len(ladder)} rungs the driver started events later than a tenth of "
            "the limit (99th percentile), mostly for want of CPU time: latency counts from when "
            "an event was due, so the capacity is rather higher than shown."
        )
    said += busy_sentences(findings.curve["client_share"], "closed loops")
    busy, saturated = (int((ladder[name] > 0).sum()) for name in ("busy", "saturated"))
    if busy:
        said.append(
            f"At {busy} of {len(ladder)} rungs the client used more than "
            f"{percent(SATURATED_CLIENT)} of a core. With events still started on time that is no "
            "limit: gathering spends what is free on small batches. Where they were late as well, "
            f"at {saturated} rungs, the client was saturated and the rung counts as not sustained: "
            "the capacity there is the client's, not the servers'."
        )
    return [*said, network_sentence(findings.profile)]
