"""The frontier and the points measured; captions and alt texts are computed."""

from __future__ import annotations

from typing import Final

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from statecache.study.display import BLACK, BLUE, GREEN, PURPLE, VERMILLION, Picture
from statecache.study.questions.where_it_pays.findings import READ_SHARES, Findings
from statecache.study.questions.where_it_pays.sentences import answer

__all__ = ["frontier_picture", "ratio_picture"]

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
    """Break-even by distance, hit rate and share of reads, with the points that were measured."""
    points = _single(findings)
    figure, axes = plt.subplots(figsize=(6.0, 4.6))
    _draw_frontier(axes, findings)
    shares = ", ".join(f"{100 * reads:g} %" for reads in READ_SHARES)
    return Picture(
        "frontier",
        figure,
        alt=(
            "Hit rate against the time of a PostgreSQL read, logarithmic: right of each curve a "
            f"cache makes the mean operation faster; curves for {shares} reads. Measured points: "
            f"{_counted(points)}. {answer(findings)[0]}"
        ),
        caption=(
            "Where a cache pays for mean latency, one caller. Curves: the break-even by the model, "
            "from costs measured in the profile loopback; right of a curve the cache pays. Points: "
            f"measured in the profiles {', '.join(points['profile'].unique())}, whose distances "
            f"are assumed.{_void_text(findings)}"
        ),
        table=findings.break_even,
    )


def ratio_picture(findings: Findings) -> Picture:
    """Mean latency with the cache over without, point by point, beside the model's."""
    points = _single(findings)
    figure, axes = plt.subplots(figsize=(6.0, 1.2 + 0.29 * len(points)))
    _draw_ratios(axes, points)
    sound = points[~points["void"].astype(bool)]
    listed = "; ".join(f"{_name(point)}: {point['ratio']:.2f}" for _n, point in sound.iterrows())
    return Picture(
        "ratios",
        figure,
        alt=f"Mean latency with a cache over that without, below 1 where it pays: {listed}.",
        caption=(
            "Mean latency of an operation with a cache over that without, one caller: below 1 the "
            f"cache pays. 95 % intervals, {findings.measured.settings.blocks} pairs; crosses: the "
            f"model, from loopback's costs and the distance added.{_void_text(findings)}"
        ),
        table=points[_COLUMNS],
    )


def _single(findings: Findings) -> pd.DataFrame:
    return findings.points[findings.points["callers"] == 1].reset_index(drop=True)


def _counted(points: pd.DataFrame) -> str:
    words = points[~points["void"].astype(bool)]["word"].value_counts()
    return ", ".join(f"{count} {word}" for word, count in words.items()) or "none is sound"


def _void_text(findings: Findings) -> str:
    void = sorted(findings.measured.void)
    return f" Void, and hollow: {', '.join(void)}." if void else ""


def _name(point: pd.Series) -> str:
    return (
        f"{point['profile']}{' (void)' if point['void'] else ''}, {100 * point['reads']:g} % "
        f"reads, {100 * point['hit_rate']:.0f} % hits"
    )


def _draw_frontier(axes: Axes, findings: Findings) -> None:
    costs, points = findings.costs, findings.points
    single = points[points["callers"] == 1]
    lowest = 0.7 * min(costs.read, float(single["read_ms"].min()))
    highest = max(10.0, 1.6 * float(single["read_ms"].max()))
    for reads, colour in zip(READ_SHARES, (BLACK, BLUE, PURPLE), strict=True):
        curve = findings.frontier[findings.frontier["reads"] == reads]
        axes.plot(
            np.clip(curve["read_ms"], lowest / 2, None),
            100 * curve["hit_rate"],
            marker="",
            color=colour,
            label=f"{100 * reads:g} % reads",
        )
    axes.axvline(costs.read, color="0.4", linewidth=1, linestyle=":")
    axes.text(costs.read, 3, " loopback", fontsize="small", color="0.3", ha="left", va="bottom")
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
    figure = axes.get_figure()
    if figure is not None:
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize="small")


def _draw_ratios(axes: Axes, points: pd.DataFrame) -> None:
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
    names = [_name(point) for _number, point in points.iterrows()]
    axes.set_yticks(range(len(points)), names, fontsize="small")
    axes.set_ylim(len(points) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.set_xlabel("mean latency, with ÷ without a cache")
