"""Every sentence of the notebook on latency."""

from __future__ import annotations

from statecache.study.histograms import P99_SAMPLES
from statecache.study.intervals import MIN_PAIRS, Interval
from statecache.study.quantities import show_value
from statecache.study.questions.latency.findings import ONE_CALLER, Findings
from statecache.study.questions.wording import limits_of, percent, times_of
from statecache.study.verdicts import LEVEL

__all__ = ["absolute_caption", "answer", "limits", "stall_sentence"]


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the run's index opens with."""
    return [_read_sentence(findings), _write_sentence(findings), stall_sentence(findings)]


def stall_sentence(findings: Findings) -> str:
    """Return what the two loops recorded of the same stall."""
    table = findings.stall
    opened, closed = table.loc["open"], table.loc["closed"]
    hides = bool(closed["p999_ms"] < 100 * findings.halt_s)
    return (
        f"Redis stood still for {findings.halt_s:.2f} s: the open loop says so at its 99.9th "
        f"percentile ({opened['p999_ms']:,.0f} ms; {opened['slow']:,.0f} of "
        f"{opened['requests']:,.0f} loads took longer than a tenth of it), the closed loop beside "
        f"it {_does(hides)} ({closed['p999_ms']:,.1f} ms; {closed['slow']:,.0f} of "
        f"{closed['requests']:,.0f})."
    )


def absolute_caption(findings: Findings) -> str:
    """Return the caption of the table of absolute figures."""
    return (
        f"Latency by path, driver and size of the documents, profile {findings.profile}: all "
        f"{findings.blocks} blocks together, p50 and p99 within 1 %. A 99th percentile needs "
        f"{P99_SAMPLES:,} samples and a driver that was on time."
    )


def limits(findings: Findings) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    noise = findings.noise
    cells = findings.latencies.measurements.cells
    said = [
        _profile_sentence(findings),
        (
            "Everything is in PostgreSQL's buffers and in Redis, keys are asked for alike, and "
            "nobody else is at work: latency under load is another question (concurrency)."
        ),
        (
            f"The same load measured twice is {times_of(noise)} of itself, {percent(LEVEL)} "
            f"interval {limits_of(noise)}: what lies within that is noise."
        ),
        (
            f"Others had up to {percent(cells['foreign_share'].max())} of the machine during a "
            f"cell, at the median {percent(cells['foreign_share'].median())}."
        ),
    ]
    few = findings.absolute[findings.absolute["samples"] < P99_SAMPLES]
    if len(few):
        said.append(
            f"{len(few)} of {len(findings.absolute)} rows rest on fewer than {P99_SAMPLES:,} "
            "samples and have no 99th percentile."
        )
    late = findings.absolute[findings.absolute["driver late"]]
    if len(late):
        said.append(
            f"In {len(late)} rows under open load the driver was later than a tenth of the "
            "percentile: those are not shown."
        )
    own = findings.cells[findings.cells["path"] == "hit in process"]
    in_process = float(own["memory_hits"].sum() / own["hits"].sum())
    if in_process < 0.99:
        said.append(
            f"Of the hits in the in-process tier's path {percent(in_process)} came from the "
            "process; the others asked Redis, while the tier did not hear what others changed."
        )
    if findings.blocks < MIN_PAIRS:
        said.append(
            f"{findings.blocks} blocks decide nothing: verdicts on what was timed need {MIN_PAIRS}."
        )
    return [*said, findings.latencies.measurements.placement]


def _read_sentence(findings: Findings) -> str:
    read, hit = findings.latency("database read"), findings.latency("hit in Redis")
    memory = findings.latency("hit in process")
    gain = findings.ratio("database read", "hit in Redis", ONE_CALLER, findings.size, "p50")
    own = findings.ratio("database read", "hit in process", ONE_CALLER, findings.size, "p50")
    return (
        f"In the profile {findings.profile} a load takes {_us(read)} from PostgreSQL, {_us(hit)} "
        f"from Redis and {_us(memory)} from the process itself (medians, one caller): "
        f"{times_of(gain)} ({limits_of(gain)}) and {times_of(own)} ({limits_of(own)}) as fast."
    )


def _write_sentence(findings: Findings) -> str:
    update, cached = findings.latency("update"), findings.latency("update, cached")
    dearer = findings.ratio("update, cached", "update", ONE_CALLER, findings.size, "p50")
    miss = findings.ratio("miss", "database read", ONE_CALLER, findings.size, "p50")
    return (
        f"An update takes {_us(update)}, through the cache {_us(cached)} ({times_of(dearer)}, "
        f"{limits_of(dearer)}), and a miss {times_of(miss)} ({limits_of(miss)}) what a load "
        "without a cache takes."
    )


def _profile_sentence(findings: Findings) -> str:
    read = _us(findings.latency("database read"))
    if findings.profile == "loopback":
        return (
            f"The profile is loopback, where a load without a cache takes {read}. The documented "
            "2–5 ms contain a network, which is not here: they say something about distance, "
            "not about a cache."
        )
    return (
        f"The profile {findings.profile} sets the distance to the servers, and with it most of "
        f"the {read} of a load without a cache."
    )


def _does(hides: bool) -> str:
    return "does not" if hides else "does, too"


def _us(interval: Interval) -> str:
    return show_value(interval.mean, "duration", "µs")
