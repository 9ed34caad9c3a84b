"""The figures of the concurrency study; captions and alt texts come from the same data."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from statecache.study.display import Picture
from statecache.study.harness.variants import ALL, NONE, REDIS
from statecache.study.questions.concurrency.findings import Findings
from statecache.study.questions.concurrency.measure import (
    DOCUMENTED_CALLERS,
    VARIANTS,
)
from statecache.study.questions.concurrency.sentences import capacity_text

__all__ = ["callers_picture", "capacity_picture", "latency_picture", "trade_picture"]


def callers_picture(findings: Findings) -> Picture:
    """Events a second against callers, closed loop."""
    curve = findings.curve
    figure, axes = plt.subplots(figsize=(5.8, 4.3))
    for number, variant in enumerate(VARIANTS):
        rows = curve[curve["mechanisms"] == variant.name].sort_values("callers")
        # A little apart, so that no interval hides another.
        shift = 1.04 ** (number - 2)
        axes.errorbar(
            rows["callers"] * shift,
            rows["events_s"],
            yerr=_reach(rows, "events_s", "events_low", "events_high"),
            label=_named(variant.name),
        )
    axes.set(xscale="log", yscale="log", xlabel="callers", ylabel="events a second")
    _plain(axes.xaxis, sorted(set(curve["callers"])))
    _steps(axes.yaxis)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    none, every = findings.row(NONE.name), findings.row(ALL.name)
    return Picture(
        "callers",
        figure,
        alt=(
            "Events a second against callers, both logarithmic, for five combinations of "
            f"mechanisms: with {DOCUMENTED_CALLERS} callers {none['events_s']:,.0f} without a "
            f"cache and {every['events_s']:,.0f} with all mechanisms."
        ),
        caption=(
            "Events a second of the trigger engine in a closed loop; bars: 95 %. Lines with the "
            f"same gathering differ by what the cache adds. {_about(findings)}, {findings.pairs} "
            "blocks."
        ),
        table=_columns(
            curve,
            {
                "mechanisms": "mechanisms",
                "callers": "callers",
                "events/s": "events_s",
                "from": "events_low",
                "to": "events_high",
            },
        ),
    )


def trade_picture(findings: Findings) -> Picture:
    """Latency against throughput, callers along the lines."""
    curve = findings.curve
    figure, axes = plt.subplots(figsize=(5.8, 4.3))
    for variant in VARIANTS:
        rows = curve[curve["mechanisms"] == variant.name].sort_values("callers")
        axes.plot(rows["events_s"], rows["p99_us"] / 1e3, label=_named(variant.name))
        last = rows.iloc[-1]
        axes.annotate(
            f"{last['callers']:g}",
            (last["events_s"], last["p99_us"] / 1e3),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=9,
        )
    _limit_line(axes, findings)
    axes.set(xscale="log", yscale="log", xlabel="events a second", ylabel="p99 of an event, ms")
    _steps(axes.xaxis)
    _steps(axes.yaxis)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    most = sorted(set(curve["callers"]))
    return Picture(
        "trade",
        figure,
        alt=(
            "99th percentile of latency against events a second, both logarithmic, a line for each "
            f"combination of mechanisms from {most[0]} to {most[-1]} callers: up and to the right "
            "with more callers."
        ),
        caption=(
            f"What more callers cost: 99th percentile of an event's latency, mean over the blocks, "
            f"against events a second; along each line {', '.join(map(str, most))} callers. A "
            f"closed loop hides what events that do not wait would feel. {_about(findings)}."
        ),
        table=_columns(
            curve.assign(p50=curve["p50_us"] / 1e3, p99=curve["p99_us"] / 1e3),
            {
                "mechanisms": "mechanisms",
                "callers": "callers",
                "events/s": "events_s",
                "p50 (ms)": "p50",
                "p99 (ms)": "p99",
            },
        ),
    )


def latency_picture(findings: Findings) -> Picture:
    """99th percentile against the offered rate, open loop, with the limit."""
    ladder = findings.ladder
    figure, axes = plt.subplots(figsize=(5.8, 4.3))
    for number, variant in enumerate(VARIANTS):
        rows = ladder[ladder["mechanisms"] == variant.name].sort_values("offered_s")
        (line, _caps, _bars) = axes.errorbar(
            rows["offered_s"],
            rows["p99_us"] / 1e3,
            yerr=_reach(rows, "p99_us", "p99_low", "p99_high", 1e-3),
            label=_named(variant.name),
        )
        lost = rows[rows["failed"] > 0.5]
        axes.plot(
            lost["offered_s"],
            lost["p99_us"] / 1e3,
            linestyle="none",
            marker="x",
            markersize=11,
            color=line.get_color(),
            label="not sustained" if number == len(VARIANTS) - 1 else None,
        )
    _limit_line(axes, findings)
    axes.set(xscale="log", yscale="log", xlabel="offered, events a second", ylabel="p99, ms")
    _steps(axes.xaxis)
    _steps(axes.yaxis)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    text = {name: capacity_text(found) for name, found in findings.capacities.items()}
    return Picture(
        "latency",
        figure,
        alt=(
            "99th percentile of latency against the offered rate, both logarithmic, with the line "
            f"of {findings.run.settings.limit_ms:g} ms; capacities: "
            + "; ".join(f"{_named(name)} {value}" for name, value in text.items())
            + " events a second."
        ),
        caption=(
            "Latency from when an event was due, offered by Poisson arrivals; bars: 95 %. Crosses: "
            "most blocks did not sustain the rate (backlog, too few completed, or a saturated "
            f"client). {_about(findings)}, {findings.run.settings.ladder_blocks} blocks."
        ),
        table=_columns(
            ladder.assign(p99=ladder["p99_us"] / 1e3, lost=100 * ladder["failed"]),
            {
                "mechanisms": "mechanisms",
                "offered/s": "offered_s",
                "p99 (ms)": "p99",
                "not sustained (% of blocks)": "lost",
            },
        ),
    )


def capacity_picture(findings: Findings) -> Picture:
    """Event capacities as points with intervals."""
    names = [variant.name for variant in VARIANTS]
    found = [findings.capacities[name] for name in names]
    figure, axes = plt.subplots(figsize=(5.8, 3.2))
    for place, one in enumerate(found):
        mean, low, high = one.interval
        reach = None if math.isnan(low) else [[mean - low], [high - mean]]
        axes.errorbar([mean], [place], xerr=reach, marker="o", color="#0072B2", linestyle="none")
        axes.annotate(
            f"{capacity_text(one).partition(' (')[0]}",
            (mean, place),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9.5,
        )
    for rate, words in ((100, "documented,\nno cache"), (1_000, "documented,\ncached")):
        axes.axvline(rate, color="0.4", linestyle=":", linewidth=1)
        axes.text(
            rate,
            1.01,
            words,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=9,
        )
    axes.set(xscale="log", xlabel="events a second", ylim=(len(names) - 0.4, -0.7))
    axes.set_yticks(range(len(names)), [_named(name) for name in names])
    axes.set_xlim(left=50)
    _steps(axes.xaxis)
    axes.grid(visible=False, axis="y")
    return Picture(
        "capacity",
        figure,
        alt=(
            "Event capacity of five combinations of mechanisms, logarithmic: "
            + "; ".join(
                f"{_named(name)} {capacity_text(one)}"
                for name, one in zip(names, found, strict=True)
            )
            + " events a second."
        ),
        caption=(
            "Event capacity: the highest offered rate with a 99th percentile of at most "
            f"{findings.run.settings.limit_ms:g} ms, at least 99 % completed, no growing backlog "
            "and no saturated client; bars: 95 %. Gathering alone beside gathering with "
            f"{_named(REDIS.name)} shows what the cache adds. {_about(findings)}."
        ),
        table=pd.DataFrame(
            {
                "mechanisms": names,
                "events/s": [one.interval.mean for one in found],
                "from": [one.interval.low for one in found],
                "to": [one.interval.high for one in found],
                "blocks above the ladder": [one.above for one in found],
                "blocks below it": [one.below for one in found],
            }
        ),
    )


def _limit_line(axes: Any, findings: Findings) -> None:
    limit = findings.run.settings.limit_ms
    axes.axhline(limit, color="0.3", linewidth=1, linestyle=":", label=f"limit, {limit:g} ms")


def _reach(
    rows: pd.DataFrame, value: str, low: str, high: str, scale: float = 1.0
) -> np.ndarray | None:
    """Return the lengths of the bars; ``None`` where there are no intervals."""
    reach = scale * np.vstack([rows[value] - rows[low], rows[high] - rows[value]])
    return None if np.isnan(reach).any() else reach


def _plain(axis: Axis, places: list[int]) -> None:
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))


def _steps(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,g}"))


def _named(mechanisms: str) -> str:
    """Return the mechanisms for readers."""
    if mechanisms == NONE.name:
        return "no cache"
    return "Redis" if mechanisms == REDIS.name else mechanisms.replace("redis", "Redis")


def _columns(frame: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({label: frame[name] for label, name in names.items()}).reset_index(
        drop=True
    )


def _about(findings: Findings) -> str:
    settings = findings.run.settings
    return f"{settings.triggers} triggers, profile {findings.profile}"
