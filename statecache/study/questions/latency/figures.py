"""The figures on latency; captions and alt texts are computed from the same data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from statecache.study.display import Picture
from statecache.study.histograms import pooled
from statecache.study.questions.latency.findings import ONE_CALLER, OPEN, Findings, Ratio
from statecache.study.questions.latency.sentences import stall_sentence
from statecache.study.questions.wording import percent
from statecache.study.verdicts import LEVEL

__all__ = ["ecdf_picture", "gain_picture", "ratio_picture", "stall_picture", "tail_picture"]

PATHS = ("hit in process", "hit in Redis", "database read", "miss", "update", "update, cached")
COLOURS = dict(zip(PATHS, ("C2", "C0", "C4", "C3", "C1", "C1"), strict=True))
STYLES = dict(zip(PATHS, ("-.", "-", (0, (6, 1.5, 1, 1.5)), ":", "-", "--"), strict=True))

#: A percentile is drawn where at least this many samples lie beyond it.
BEYOND = 10

SHARES = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def ecdf_picture(findings: Findings) -> Picture:
    """Share of requests that took at most so long, one caller."""
    figure, axes = plt.subplots(figsize=(6.0, 3.9))
    for path in PATHS:
        histogram = findings.histogram(path, ONE_CALLER, findings.size)
        share = histogram["count"].cumsum() / histogram["count"].sum()
        axes.plot(
            histogram["high_us"] / 1e3,
            100 * share,
            drawstyle="steps-post",
            marker="",
            color=COLOURS[path],
            linestyle=STYLES[path],
            label=path,
        )
    axes.set(xlabel="latency, ms", ylabel="share of requests, %", ylim=(0, 100))
    _log_axis(axes, "x")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    absolute = findings.absolute
    one = absolute[
        (absolute["driver"] == ONE_CALLER) & (absolute["document (B)"] == findings.size)
    ].set_index("path")
    p50 = {path: float(str(one.loc[path, "p50 (µs)"])) for path in PATHS}
    medians = ", ".join(f"{path} {p50[path]:,.0f} µs" for path in PATHS)
    return Picture(
        "ecdf",
        figure,
        alt=f"Distribution of latency by path on a logarithmic axis; medians: {medians}.",
        caption=(
            f"Latency of single calls by path, one asynchronous caller, documents of "
            f"{findings.size} B, profile {findings.profile}, all {findings.blocks} blocks "
            f"together. Medians: {medians}."
        ),
        table=one.reset_index(),
    )


def tail_picture(findings: Findings) -> Picture:
    """Latency over percentile on the axis of HDR histograms, under open load."""
    figure, axes = plt.subplots(figsize=(6.0, 4.0))
    rows = []
    for path in PATHS:
        if findings.values(path, OPEN, findings.size, "p50").empty:
            continue
        histogram = findings.histogram(path, OPEN, findings.size)
        x, y, samples = _percentiles(histogram)
        axes.plot(
            x,
            y,
            marker="",
            drawstyle="steps-pre",
            color=COLOURS[path],
            linestyle=STYLES[path],
            label=path,
        )
        rows.append((path, samples, float(y[-1])))
    axes.set(ylabel="latency from the planned start, ms")
    _percentile_axis(axes)
    _log_axis(axes, "y")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    rate = findings.latencies.settings.rate_per_s
    table = pd.DataFrame(rows, columns=["path", "samples", "highest drawn (ms)"])
    return Picture(
        "tail",
        figure,
        alt=(
            "Latency against percentile on logarithmic axes, from the median outwards: "
            + ", ".join(f"{path} up to {highest:,.1f} ms" for path, _n, highest in rows)
            + "."
        ),
        caption=(
            f"Latency over percentile at {rate:g} requests a second (Poisson), counted from the "
            f"planned start, documents of {findings.size} B, profile {findings.profile}. Lines end "
            f"where {BEYOND} samples are left; from 99.9 % on they describe and decide nothing."
        ),
        table=table,
    )


def ratio_picture(findings: Findings) -> Picture:
    """Ratios of latencies with their intervals, by driver and size."""
    ratios = findings.ratios
    groups = list(dict.fromkeys((ratio.driver, ratio.size) for ratio in ratios))
    names = list(dict.fromkeys(map(_name, ratios)))
    figure, axes = plt.subplots(figsize=(6.0, 1.6 + 0.5 * len(names)))
    noise = findings.noise
    if np.isfinite([noise.low, noise.high]).all():
        axes.axvspan(noise.low, noise.high, color="0.5", alpha=0.18, linewidth=0)
    axes.axvline(1.0, color="0.4", linewidth=0.9)
    for number, (driver, size) in enumerate(groups):
        own = [ratio for ratio in ratios if (ratio.driver, ratio.size) == (driver, size)]
        offset = 0.6 * (number / max(1, len(groups) - 1) - 0.5) if len(groups) > 1 else 0.0
        means = np.array([ratio.interval.mean for ratio in own])
        reach = np.array(
            [[r.interval.mean - r.interval.low, r.interval.high - r.interval.mean] for r in own]
        ).T
        axes.errorbar(
            means,
            [names.index(_name(ratio)) + offset for ratio in own],
            xerr=None if np.isnan(reach).any() else reach,
            linestyle="none",
            markersize=4.5,
            fmt="os^DvX*"[number % 7],
            color=f"C{number % 5}",
            fillstyle="full" if number < 5 else "none",  # where colours come again
            label=f"{driver}, {size} B",
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("times")
    _log_axis(axes, "x")
    low, high = axes.get_xlim()  # few blocks have intervals without end
    axes.set_xlim(max(low, 0.2), min(high, 3_000))
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    first = [one for one in ratios if (one.driver, one.size) == (ONE_CALLER, findings.size)]
    said = "; ".join(f"{_name(one).replace(chr(10), ' ')} {one.interval.mean:.2f}" for one in first)
    return Picture(
        "ratios",
        figure,
        alt=f"Ratios of latencies with intervals on a logarithmic axis, {ONE_CALLER}: {said}.",
        caption=(
            f"Ratios paired by block, geometric means over {findings.blocks} blocks with "
            f"{percent(LEVEL)} intervals, profile {findings.profile}. Grey: the interval of the "
            "same load measured twice, which is noise. Under open load, latency counts from the "
            "planned start."
        ),
        table=pd.DataFrame(
            [
                (one.what, one.statistic, one.driver, one.size, *one.interval, one.pairs)
                for one in ratios
            ],
            columns=["what", "of", "driver", "document (B)", "times", "from", "to", "pairs"],
        ),
    )


def gain_picture(findings: Findings) -> Picture:
    """Mean gain of reads against the hit rate, beside the closed form."""
    gains, cost = findings.gains, findings.cache_cost
    figure, axes = plt.subplots(figsize=(6.0, 3.6))
    rates = np.linspace(0, 1, 201)
    axes.plot(
        100 * rates,
        [findings.bound(rate) for rate in rates],
        marker="",
        color="C0",
        label=f"1/(c + (1 − h)(1 + c)), c = {cost:.2f}",
    )
    axes.plot(
        100 * rates[:-1],
        1 / (1 - rates[:-1]),
        marker="",
        color="C1",
        linestyle="--",
        label="1/(1 − h): lookups cost nothing",
    )
    reach = np.vstack([gains["gain"] - gains["low"], gains["high"] - gains["gain"]])
    axes.errorbar(
        100 * gains["hit_rate"],
        gains["gain"],
        yerr=None if np.isnan(reach).any() else reach,
        fmt="o",
        color="black",
        linestyle="none",
        label=f"measured, {percent(LEVEL)} interval",
    )
    axes.axhspan(8, 100, color="0.5", alpha=0.18, linewidth=0)
    axes.text(22, 11, "documented 8–100x", fontsize="small")
    axes.axhline(1.0, color="0.4", linewidth=0.9)
    axes.set(xlabel="hit rate h, %", ylabel="mean read, times as fast", yscale="log")
    axes.set_ylim(0.8 * min(0.5, float(gains["gain"].min())), 20)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.legend(loc="lower right", fontsize="small")
    best = findings.bound(1.0)
    return Picture(
        "gain",
        figure,
        alt=(
            f"Mean read gain against hit rate: the closed form rises from "
            f"{findings.bound(0.0):.2f} times without a hit to {best:.2f} times where all hit; "
            + ", ".join(
                f"measured {gain:.2f} at {percent(hit_rate)}"
                for hit_rate, gain in gains[["hit_rate", "gain"]].to_numpy().tolist()
            )
            + "."
        ),
        caption=(
            f"How much faster loads are in the mean, by hit rate, profile {findings.profile}. A "
            f"lookup costs c = {cost:.2f} of a database read here, so even if every load hits, "
            f"the mean gain is {best:.1f}; at 90 % hits no cache of any speed reaches more than "
            "10 without load."
        ),
        table=gains,
    )


def stall_picture(findings: Findings) -> Picture:
    """The same stall as an open and a closed loop recorded it."""
    figure, axes = plt.subplots(figsize=(6.0, 3.8))
    for loop, colour, style in (("open", "C0", "-"), ("closed", "C1", "--")):
        own = findings.latencies.stall
        latencies = np.sort(own.loc[own["loop"] == loop, "latency_us"].to_numpy()) / 1e3
        beyond = len(latencies) / np.arange(len(latencies), 0, -1)
        axes.plot(
            beyond,
            latencies,
            drawstyle="steps-pre",
            marker="",
            color=colour,
            linestyle=style,
            label=f"{loop} loop, {len(latencies):,} loads",
        )
    axes.axhline(1e3 * findings.halt_s, color="0.4", linewidth=0.9)
    axes.text(1.1, 1.15e3 * findings.halt_s, "Redis stands still", fontsize="small")
    axes.set(ylabel="latency, ms")
    _percentile_axis(axes)
    _log_axis(axes, "y")
    axes.set_ylim(top=4e3 * findings.halt_s)
    axes.legend(loc="lower right", fontsize="small")
    return Picture(
        "stall",
        figure,
        alt=f"Latency against percentile of both loops. {stall_sentence(findings)}",
        caption=(
            f"{stall_sentence(findings)} Both loops ran side by side, profile {findings.profile}. "
            "A caller that waits for its answer sends nothing meanwhile and leaves out what others "
            "would have felt (coordinated omission)."
        ),
        table=findings.stall.reset_index(),
    )


def _percentiles(histogram: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, int]:
    """Return 1/(1 − p), the latency in ms, and the number of samples."""
    counts = pooled(histogram)
    reached = counts["count"].cumsum().to_numpy()
    samples = int(reached[-1])
    before = np.concatenate([[0], reached[:-1]])
    beyond = samples - before
    shown = beyond >= min(BEYOND, samples)
    return (samples / beyond)[shown], counts["high_us"].to_numpy()[shown] / 1e3, samples


def _name(ratio: Ratio) -> str:
    statistic = {"p50": "median", "mean": "mean", "p99": "99th percentile"}[ratio.statistic]
    return f"{ratio.what}\n({statistic})"


def _percentile_axis(axes: Axes) -> None:
    axes.set(xscale="log", xlabel="percentile")
    axes.xaxis.set_major_locator(FixedLocator([1 / (1 - share) for share in SHARES]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _place: f"{100 * (1 - 1 / value):.5g} %")
    )


def _log_axis(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 300 else (1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
