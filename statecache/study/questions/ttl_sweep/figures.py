"""The figures of the TTL sweep; captions and alt texts are computed from the same data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from statecache.study.display import Picture
from statecache.study.questions.ttl_sweep.cells import EXECUTED_LIMIT
from statecache.study.questions.ttl_sweep.findings import Findings, ttl_name
from statecache.study.questions.wording import days_of

__all__ = ["hit_rate_picture", "latency_picture", "reads_picture", "statements_picture"]

TICKS_MIN = (5, 15, 60, 120, 240, 480, 1440, 2880)


def hit_rate_picture(findings: Findings) -> Picture:
    """Hit rate against TTL: live points, exact replay, closed form; residuals below."""
    by_ttl, curve, cells = findings.by_ttl, findings.curve, findings.cached_cells
    figure, (top, live, model) = plt.subplots(
        3, 1, sharex=True, figsize=(5.8, 6.2), height_ratios=(4, 1.5, 1.3)
    )
    top.axhspan(70, 90, color="0.5", alpha=0.18, linewidth=0)
    top.text(5.3, 80, "documented\n70–90 %", va="center", fontsize="small")
    top.plot(curve["ttl_min"], 100 * curve["exact"], marker="", label="exact replay, planned times")
    top.plot(curve["ttl_min"], 100 * curve["closed_form"], marker="", label="closed form")
    reach = 100 * np.vstack(
        [by_ttl["hit_rate"] - by_ttl["low"], by_ttl["high"] - by_ttl["hit_rate"]]
    )
    top.errorbar(
        by_ttl["ttl_min"],
        100 * by_ttl["hit_rate"],
        yerr=None if np.isnan(reach).any() else reach,
        fmt="o",
        color="black",
        markersize=5,
        capsize=3,
        linestyle="none",
        label="live, mean and 95 % interval",
    )
    top.set(ylabel="hit rate, % of reads", ylim=(0, 102))
    top.legend(loc="lower right")

    quiet = cells["quiet"].astype(bool)
    off = 100 * (cells["served_rate"] - cells["hit_rate_planned"])
    executed = 100 * (cells["hit_rate"] - cells["hit_rate_executed"])
    grey = 100 * EXECUTED_LIMIT
    live.axhspan(-grey, grey, color="0.5", alpha=0.18, linewidth=0)
    live.plot(
        cells["ttl_min"] * 0.96,
        executed,
        "o",
        color="black",
        markersize=4,
        linestyle="none",
        label="executed times",
    )
    for mask, fill, label in (
        (quiet, "full", "planned times"),
        (~quiet, "none", "planned, commits slow"),
    ):
        if mask.any():
            live.plot(
                cells["ttl_min"][mask] * 1.04,
                off[mask],
                "^",
                color="C0",
                fillstyle=fill,
                markersize=5,
                linestyle="none",
                label=label,
            )
    widest = max(1.6, float(pd.concat([off, executed]).abs().max()) * 1.6)
    live.set(ylabel="live − replay,\npoints", ylim=(-widest, widest))
    live.legend(loc="upper right", ncols=3, fontsize="x-small")

    model.axhline(0, color="0.5", linewidth=0.8)
    model.plot(
        curve["ttl_min"], 100 * (curve["closed_form"] - curve["exact"]), "--", color="C1", marker=""
    )
    model.set(ylabel="closed −\nexact, points", xlabel="TTL, event time")
    _time_axis(model)
    model_off = 100 * (curve["closed_form"] - curve["exact"])
    first, last = by_ttl.iloc[0], by_ttl.iloc[-1]
    return Picture(
        "hit_rate",
        figure,
        alt=(
            f"Hit rate against TTL on a logarithmic axis: live points rise "
            f"{100 * first['hit_rate']:.0f} % at {ttl_name(first['ttl_min'])} to "
            f"{100 * last['hit_rate']:.0f} % at {ttl_name(last['ttl_min'])} and lie on the line of "
            f"the exact replay; the closed form is off by up to {model_off.abs().max():.0f} "
            "points. Below, the residuals."
        ),
        caption=(
            f"Hit rate against TTL, {_passes(findings)}, profile loopback. Live points and exact "
            f"replay of the executed times differ by at most {executed.abs().max():.2f} points "
            f"(grey: ±{grey:g}); the closed form assumes flights without a timetable and is off "
            f"by {model_off.min():+.0f} to {model_off.max():+.0f} points."
        ),
        table=pd.DataFrame(
            {
                "TTL (min)": by_ttl["ttl_min"],
                "live (%)": 100 * by_ttl["hit_rate"],
                "interval from (%)": 100 * by_ttl["low"],
                "to (%)": 100 * by_ttl["high"],
                "exact replay (%)": 100 * by_ttl["exact"],
                "closed form (%)": 100 * by_ttl["closed_form"],
            }
        ),
    )


def reads_picture(findings: Findings) -> Picture:
    """What becomes of reads against TTL, and the age of entries when they are hit."""
    by_ttl, curve = findings.by_ttl, findings.curve
    figure, (top, bottom) = plt.subplots(
        2, 1, sharex=True, figsize=(5.8, 5.6), height_ratios=(3, 2)
    )
    parts = {
        "hit": curve["exact"],
        "missed, expired": curve["expired"],
        "missed, first ever": curve["first"],
    }
    top.stackplot(
        curve["ttl_min"],
        [100 * part for part in parts.values()],
        labels=list(parts),
        colors=["C0", "C1", "0.6"],
        alpha=0.45,
        linewidth=0,
    )
    live = {"color": "black", "linestyle": "none", "markersize": 5}
    top.plot(by_ttl["ttl_min"], 100 * by_ttl["hit_rate"], "o", label="live", **live)
    top.plot(by_ttl["ttl_min"], 100 * (1 - by_ttl["first"]), "o", **live)
    top.set(ylabel="reads, %", ylim=(0, 100))
    bottom.plot(curve["ttl_min"], curve["ttl_min"], ":", color="0.4", marker="", label="the TTL")
    bottom.plot(curve["ttl_min"], curve["age_min"], marker="", color="C0", label="mean age, replay")
    bottom.plot(by_ttl["ttl_min"], by_ttl["age_min"], "o", label="live", **live)
    bottom.set(ylabel="age at hit", yscale="log", xlabel="TTL, event time")
    bottom.yaxis.set_major_locator(FixedLocator([1, 5, 15, 60, 240, 1440]))
    bottom.yaxis.set_minor_locator(NullLocator())
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: ttl_name(value)))
    bottom.legend(loc="upper left")
    _time_axis(bottom)
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    last = by_ttl.iloc[-1]
    first_ever = 100 * float(curve["first"].mean())
    return Picture(
        "reads",
        figure,
        alt=(
            "Reads against TTL, stacked: hits grow and expired misses shrink with it, and "
            f"{first_ever:.1f} % of the reads are the first ever of their key whatever the TTL; "
            "below, the mean age of an entry when it is hit, far below the TTL where that is long."
        ),
        caption=(
            f"What becomes of reads, by exact replay and live (dots), {_passes(findings)}, profile "
            "loopback. An expired miss is what a longer TTL avoids; a first one no TTL does. At a "
            f"TTL of {ttl_name(last['ttl_min'])} an entry is on average "
            f"{ttl_name(last['age_min'])} old when it is hit: every write renews it."
        ),
        table=pd.DataFrame(
            {
                "TTL (min)": by_ttl["ttl_min"],
                "hit, live (%)": 100 * by_ttl["hit_rate"],
                "first ever, live (%)": 100 * by_ttl["first"],
                "expired, live (%)": 100 * (1 - by_ttl["hit_rate"] - by_ttl["first"]),
                "age at hit, live (min)": by_ttl["age_min"],
                "age at hit, replay (min)": by_ttl["age_exact_min"],
            }
        ),
    )


def statements_picture(findings: Findings) -> Picture:
    """PostgreSQL statements saved against TTL, beside the bound."""
    by_ttl, curve, share = findings.by_ttl, findings.curve, findings.read_share
    figure, axes = plt.subplots(figsize=(5.8, 3.6))
    axes.axhspan(70, 90, color="0.5", alpha=0.18, linewidth=0)
    axes.text(5.3, 80, "documented\n70–90 %", va="center", fontsize="small")
    axes.axhline(
        100 * share, color="C1", linestyle="--", label=f"bound: share of reads, {100 * share:.1f} %"
    )
    axes.plot(
        curve["ttl_min"],
        100 * share * curve["exact"],
        color="C0",
        marker="",
        label="share of reads × exact hit rate",
    )
    axes.plot(
        by_ttl["ttl_min"],
        100 * by_ttl["saved"],
        "o",
        color="black",
        linestyle="none",
        markersize=5,
        label=f"live, counted by {findings.counted_by}",
    )
    axes.set(ylabel="statements saved, %", ylim=(0, 102), xlabel="TTL, event time")
    axes.legend(loc="lower right")
    _time_axis(axes)
    last = by_ttl.iloc[-1]
    return Picture(
        "statements",
        figure,
        alt=(
            f"Share of PostgreSQL statements saved against TTL: live points rise to "
            f"{100 * last['saved']:.0f} % at {ttl_name(last['ttl_min'])}, along the share of reads "
            f"times the hit rate, and stay below the bound of {100 * share:.0f} %."
        ),
        caption=(
            f"PostgreSQL statements saved against the uncached manager in the same pass, "
            f"{_passes(findings)}, profile loopback. Only reads can be saved: "
            f"{100 * share:.1f} % of the statements."
        ),
        table=pd.DataFrame(
            {
                "TTL (min)": by_ttl["ttl_min"],
                "saved (%)": 100 * by_ttl["saved"],
                "interval from (%)": 100 * by_ttl["saved_low"],
                "to (%)": 100 * by_ttl["saved_high"],
                "bound (%)": 100 * share,
            }
        ),
    )


def latency_picture(findings: Findings) -> Picture:
    """Latency by TTL: hits, all loads and commits, beside the uncached manager."""
    by_ttl, uncached = findings.by_ttl, findings.uncached
    figure, (left, right) = plt.subplots(1, 2, sharex=True, sharey=True, figsize=(5.8, 3.6))
    for axes, percent, title in ((left, "p50", "median"), (right, "p99", "99th percentile")):
        for kind, marker, label in (
            ("hit", "o", "load, hit"),
            ("load", "s", "load, all"),
            ("commit", "^", "update"),
        ):
            axes.plot(
                by_ttl["ttl_min"],
                by_ttl[f"{kind}_{percent}_us"] / 1e3,
                marker=marker,
                markersize=4,
                label=label,
            )
        for kind, style in (("load", ":"), ("commit", "-.")):
            axes.axhline(
                uncached[f"{kind}_{percent}_us"] / 1e3,
                color="black",
                linewidth=1,
                linestyle=style,
                label=f"{'load' if kind == 'load' else 'update'}, no cache",
            )
        axes.set_title(title)
        axes.set(xlabel="TTL, event time", yscale="log")
        _time_axis(axes, every=2)
    left.set_ylabel("latency, ms")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_minor_locator(NullLocator())
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small"
    )
    hit, load = by_ttl["hit_p50_us"].median(), uncached["load_p50_us"]
    faster = load / hit
    return Picture(
        "latency",
        figure,
        alt=(
            f"Median and 99th percentile of latency by TTL, logarithmic: a hit takes "
            f"{hit / 1e3:.2f} ms at the median, a load without a cache {load / 1e3:.2f} ms, an "
            f"update {by_ttl['commit_p50_us'].median() / 1e3:.2f} ms with and "
            f"{uncached['commit_p50_us'] / 1e3:.2f} ms without a cache."
        ),
        caption=(
            f"Latency from the call to its answer, medians over the passes, {_passes(findings)}, "
            f"profile loopback: at the median a hit is {faster:.1f} times as fast as a load "
            "without a cache. All variants ran at once, so these are latencies under the others' "
            "load, and no verdict rests on them."
        ),
        table=pd.DataFrame(
            {
                "TTL (min)": by_ttl["ttl_min"],
                **{
                    f"{kind} {percent} (ms)": by_ttl[f"{kind}_{percent}_us"] / 1e3
                    for kind in ("hit", "load", "commit")
                    for percent in ("p50", "p99")
                },
            }
        ),
    )


def _time_axis(axes: Axes, every: int = 1) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS_MIN[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: ttl_name(value)))


def _passes(findings: Findings) -> str:
    settings = findings.sweep.settings
    return (
        f"{len(settings.starts)} passes of {days_of(settings.days)} each, "
        f"{settings.time_scale:,.0f} times compressed"
    )
