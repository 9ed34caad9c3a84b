"""The frontier with the points that were measured; caption and alt text are computed."""

from __future__ import annotations

from typing import Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from statecache.study.display import GREEN, VERMILLION
from statecache.study.questions.where_it_pays.findings import READ_SHARES, Findings, answer
from statecache.study.ttl_figures import Picture

__all__ = ["frontier_picture"]

_COLOURS: Final = {"pays": GREEN, "costs": VERMILLION, "not decided": "#777777"}
_COLUMNS: Final = [
    "profile",
    "reads",
    "cache",
    "read_ms",
    "hit_rate",
    "ratio",
    "low",
    "high",
    "predicted_ratio",
    "word",
    "void",
]
_MARKERS: Final = ("o", "s", "^", "D")


def frontier_picture(findings: Findings) -> Picture:
    """Break-even by distance, hit rate and share of reads; below, the points against the model."""
    points = findings.points[findings.points["callers"] == 1].reset_index(drop=True)
    height = 4.4 + 0.27 * len(points)
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(6.0, height), height_ratios=(3.4, 0.4 + 0.27 * len(points))
    )
    _draw_frontier(top, findings)
    _draw_ratios(bottom, findings)
    shares = ", ".join(f"{100 * reads:g} %" for reads in READ_SHARES)
    words = points[~points["void"].astype(bool)]["word"].value_counts()
    counted = ", ".join(f"{count} {word}" for word, count in words.items()) or "none is sound"
    void = sorted(findings.measured.void)
    return Picture(
        "frontier",
        figure,
        alt=(
            "Hit rate against the time of a PostgreSQL read, logarithmic: right of each curve a "
            f"cache makes the mean operation faster; curves for {shares} reads. Measured points: "
            f"{counted}. Below, each point's ratio of mean latencies with its interval. "
            f"{answer(findings)[0]}"
        ),
        caption=(
            "Where a cache pays for mean latency, one caller. Curves: the break-even by the model, "
            "from costs measured in the profile loopback; right of a curve the cache pays. Points: "
            "measured, each under the profile named below, whose distances are assumed; 95 % "
            f"intervals in {findings.measured.settings.blocks} pairs, × what the model says."
            + (f" Void: {', '.join(void)} (hollow)." if void else "")
        ),
        table=points[_COLUMNS],
    )


def _draw_frontier(axes: Axes, findings: Findings) -> None:
    costs, points = findings.costs, findings.points
    single = points[points["callers"] == 1]
    lowest = 0.7 * min(costs.read, float(single["read_ms"].min()))
    highest = max(10.0, 1.6 * float(single["read_ms"].max()))
    for reads in READ_SHARES:
        curve = findings.frontier[findings.frontier["reads"] == reads]
        axes.plot(
            np.clip(curve["read_ms"], lowest / 2, None),
            100 * curve["hit_rate"],
            marker="",
            label=f"{100 * reads:g} % reads",
        )
    axes.axvline(costs.read, color="0.4", linewidth=1, linestyle=":")
    axes.text(costs.read, 101, " loopback", fontsize="small", color="0.3", ha="left", va="bottom")
    for place, reads in enumerate(sorted(single["reads"].unique())):
        for _number, point in single[single["reads"] == reads].iterrows():
            colour = _COLOURS[point["word"]]
            axes.plot(
                point["read_ms"],
                100 * point["hit_rate"],
                _MARKERS[place],
                color=colour,
                markerfacecolor="none" if point["void"] else colour,
                markersize=7,
                clip_on=False,
                zorder=4,
            )
    axes.set(xlim=(lowest, highest), ylim=(0, 100), ylabel="hit rate, %", xscale="log")
    axes.set_xlabel("a read of PostgreSQL takes, ms")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    handles, labels = axes.get_legend_handles_labels()
    for place, reads in enumerate(sorted(single["reads"].unique())):
        handles.append(Line2D([], [], marker=_MARKERS[place], color="0.3", linestyle="none"))
        labels.append(f"measured, {100 * reads:g} %")
    for word in sorted(set(single["word"]), key=list(_COLOURS).index):
        handles.append(Line2D([], [], marker="o", color=_COLOURS[word], linestyle="none"))
        labels.append(word)
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")


def _draw_ratios(axes: Axes, findings: Findings) -> None:
    points = findings.points[findings.points["callers"] == 1].reset_index(drop=True)
    axes.axvline(1, color="0.4", linewidth=1)
    for place, (_number, point) in enumerate(points.iterrows()):
        colour = _COLOURS[point["word"]]
        reach = [[point["ratio"] - point["low"]], [point["high"] - point["ratio"]]]
        axes.errorbar(
            point["ratio"],
            place,
            xerr=None if np.isnan(reach).any() else reach,
            fmt="o",
            color=colour,
            markerfacecolor="none" if point["void"] else colour,
            linestyle="none",
        )
        axes.plot(point["predicted_ratio"], place, "x", color="black", markersize=6)
    axes.set_yticks(
        range(len(points)),
        [
            f"{point['profile']}{' (void)' if point['void'] else ''}, {100 * point['reads']:g} % "
            f"reads, {100 * point['hit_rate']:.0f} % hits"
            for _number, point in points.iterrows()
        ],
        fontsize="small",
    )
    axes.set_ylim(len(points) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.set_xlabel("mean latency, with ÷ without a cache")
