"""The figures of the tuning; captions and alt texts are computed from the same data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from statecache.study.advisor import wording
from statecache.study.display import Picture
from statecache.study.questions.tune_ttl.findings import offs
from statecache.study.questions.tune_ttl.measure import EXECUTED_LIMIT, Tuning

__all__ = ["curve_picture", "groups_picture", "halves_picture", "proof_picture"]

#: Where a time axis has its ticks, in seconds.
_TICKS_S = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 5_184_000)


def curve_picture(tuning: Tuning) -> Picture:
    """Hit rate and statements against TTL, with the knee, the choice and what is excluded."""
    advice, choice = tuning.advice, tuning.advice.choice
    curve = choice.curve
    figure, (top, below) = plt.subplots(2, 1, sharex=True, figsize=(5.8, 5.4), height_ratios=(3, 2))
    for axes, column, scale in ((top, "hit_rate", 100.0), (below, "db_qps", 1.0)):
        axes.plot(curve["ttl_s"], scale * curve[column], marker="")
        for number, exclusion in enumerate(choice.exclusions):
            for begin, end in exclusion.stretches:
                axes.axvspan(begin, end, color=f"C{number + 1}", alpha=0.16, linewidth=0)
        axes.axvline(choice.ttl_s, color="black", linewidth=1.2, linestyle="-")
    if choice.knee_place is not None:
        bend = curve.iloc[choice.knee_place]
        name = f"knee, {wording.duration(bend['ttl_s'])}"
        top.plot(
            bend["ttl_s"], 100 * bend["hit_rate"], "D", color="black", linestyle="none", label=name
        )
    chosen = "advised" if advice.feasible else "misses the limits by least"
    top.plot(
        [],
        [],
        color="black",
        linewidth=1.2,
        linestyle="-",
        marker="",
        label=f"{chosen}, {wording.duration(choice.ttl_s)}",
    )
    for number, exclusion in enumerate(choice.exclusions):
        if exclusion.stretches:
            top.fill_between(
                [],
                [],
                color=f"C{number + 1}",
                alpha=0.3,
                label=f"excluded by {exclusion.limit.what}",
            )
    top.set(ylabel="hit rate, % of reads", ylim=(0, 102))
    top.legend(loc="upper left")
    below.set(ylabel="PostgreSQL\nstatements/s", xlabel="TTL", ylim=(0, None))
    _time_axis(below, curve["ttl_s"])
    row = choice.row
    excluded = " ".join(wording.exclusion_sentences(advice)) or "No limit was given."
    return Picture(
        "curve",
        figure,
        alt=(
            f"Hit rate and PostgreSQL statements a second against TTL on a logarithmic axis: the "
            f"hit rate rises from {100 * curve['hit_rate'].iloc[0]:.0f} % to "
            f"{100 * curve['hit_rate'].iloc[-1]:.0f} %; a line marks "
            f"{wording.duration(choice.ttl_s)} with {100 * row['hit_rate']:.0f} %. {excluded}"
        ),
        caption=(
            f"Exact replay of {advice.operations:,} operations under {len(curve)} TTLs. {excluded}"
        ),
        table=pd.DataFrame(
            {
                "TTL (s)": curve["ttl_s"],
                "hit rate (%)": 100 * curve["hit_rate"],
                "statements/s": curve["db_qps"],
                "states": curve["mean_live_keys"],
                "within limits": curve["meets"].astype(bool),
            }
        ).iloc[:: max(1, len(curve) // 40)],
    )


def halves_picture(tuning: Tuning) -> Picture | None:
    """Hit rate against TTL on each half of the trace; None where one of them says nothing."""
    halves = tuning.advice.halves
    if halves is None:
        return None
    figure, axes = plt.subplots(figsize=(5.8, 3.5))
    for name, choice, colour in (
        ("first half", halves.first, "C0"),
        ("second half", halves.second, "C1"),
    ):
        curve = choice.curve
        axes.plot(curve["ttl_s"], 100 * curve["hit_rate"], marker="", color=colour, label=name)
        axes.plot(
            [choice.ttl_s],
            [100 * choice.row["hit_rate"]],
            "o" if colour == "C0" else "s",
            color=colour,
            linestyle="none",
            markersize=7,
        )
    axes.set(ylabel="hit rate, % of reads", xlabel="TTL", ylim=(0, 102))
    axes.legend(loc="upper left")
    _time_axis(axes, halves.first.curve["ttl_s"])
    said = wording.halves_sentence(tuning.advice)
    return Picture(
        "halves",
        figure,
        alt=f"Hit rate against TTL for the first and the second half of the trace. {said}",
        caption=f"The choice on each half (marked), by the same rule and limits. {said}",
        table=pd.DataFrame(
            {
                "TTL (s)": halves.first.curve["ttl_s"],
                "first half (%)": 100 * halves.first.curve["hit_rate"],
                "second half (%)": 100 * halves.second.curve["hit_rate"],
            }
        ).iloc[:: max(1, len(halves.first.curve) // 40)],
    )


def groups_picture(tuning: Tuning) -> Picture | None:
    """Hit rate of each group of keys, with one TTL and with its own; None without groups."""
    groups = tuning.advice.groups
    if groups is None:
        return None
    table = groups.table
    rows = np.arange(len(table))[::-1]
    figure, axes = plt.subplots(figsize=(5.8, 1.4 + 0.42 * len(table)))
    axes.hlines(
        rows, 100 * table["hit_rate_one"], 100 * table["hit_rate"], color="0.6", linewidth=2
    )
    axes.plot(
        100 * table["hit_rate_one"],
        rows,
        "o",
        color="C0",
        linestyle="none",
        label=f"one TTL, {wording.duration(groups.ttl_s)}",
    )
    axes.plot(100 * table["hit_rate"], rows, "s", color="C1", linestyle="none", label="own TTL")
    axes.set_yticks(
        rows,
        [
            f"{name}, {wording.duration(ttl)}"
            for name, ttl in zip(table["group"], table["ttl_s"], strict=True)
        ],
    )
    axes.set(xlabel="hit rate, % of reads", xlim=(-2, 102), ylim=(-0.6, len(table) - 0.4))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    said = wording.groups_sentence(tuning.advice)
    return Picture(
        "groups",
        figure,
        alt=f"Hit rate of {len(table)} groups of keys with one TTL and with their own. {said}",
        caption=(
            f"Keys by {groups.by}, with the TTL of their own beside the name, in no more memory "
            f"than one TTL takes. {said}"
        ),
        table=pd.DataFrame(
            {
                f"keys by {groups.by}": table["group"],
                "own TTL (s)": table["ttl_s"],
                "hit rate (%)": 100 * table["hit_rate"],
                "with one TTL (%)": 100 * table["hit_rate_one"],
            }
        ),
    )


def proof_picture(tuning: Tuning) -> Picture:
    """Live hit rates on the replay of the slice, and what they are off by."""
    cells, off, part = tuning.cells, offs(tuning.cells), tuning.part
    ttls = np.geomspace(cells["ttl_s"].min() / 8, cells["ttl_s"].max() * 4, 40)
    curve = tuning.advice.policy.replayed(part.trace)(ttls)
    figure, (top, below) = plt.subplots(
        2, 1, sharex=True, figsize=(5.8, 4.6), height_ratios=(3, 1.4)
    )
    top.plot(ttls, 100 * curve["hit_rate"], marker="", label="exact replay, planned times")
    top.plot(
        cells["ttl_s"],
        100 * cells["served_rate"],
        "o",
        color="black",
        linestyle="none",
        markersize=6,
        label="live",
    )
    top.set(ylabel="hit rate, % of reads", ylim=(0, 102))
    top.legend(loc="lower right")
    grey = 100 * EXECUTED_LIMIT
    below.axhspan(-grey, grey, color="0.5", alpha=0.18, linewidth=0)
    below.plot(
        cells["ttl_s"] * 0.96,
        100 * (cells["hit_rate"] - cells["hit_rate_executed"]),
        "o",
        color="black",
        linestyle="none",
        label="executed times",
    )
    below.plot(
        cells["ttl_s"] * 1.04,
        100 * (cells["served_rate"] - cells["hit_rate_planned"]),
        "^",
        color="C0",
        linestyle="none",
        label="planned times",
    )
    widest = max(1.2, 160 * float(off[["executed", "planned"]].max().max()))
    below.set(ylabel="live − replay,\npoints", xlabel="TTL", ylim=(-widest, widest))
    below.legend(loc="upper right", ncols=2, fontsize="x-small")
    _time_axis(below, pd.Series(ttls))
    return Picture(
        "proof",
        figure,
        alt=(
            "Live hit rates of three TTLs lie on the line of the exact replay of the same "
            f"operations: {', '.join(f'{100 * rate:.1f} %' for rate in cells['served_rate'])}. "
            "Below, what they are off by."
        ),
        caption=(
            f"{len(part.trace):,} operations on real PostgreSQL and Redis, "
            f"{part.time_scale:,.0f} times compressed, profile loopback: off the replay of the "
            f"executed times by at most {100 * off['executed'].max():.2f} points (grey: "
            f"±{grey:g}), of the planned times by {100 * off['planned'].max():.2f}. Live are hits, "
            "and loads that shared another's database read."
        ),
        table=pd.DataFrame(
            {
                "TTL (s)": cells["ttl_s"],
                "live (%)": 100 * cells["hit_rate"],
                "executed (%)": 100 * cells["hit_rate_executed"],
                "live, shared too (%)": 100 * cells["served_rate"],
                "planned (%)": 100 * cells["hit_rate_planned"],
            }
        ),
    )


def _time_axis(axes: Axes, ttls: pd.Series) -> None:
    axes.set_xscale("log")
    ticks = [tick for tick in _TICKS_S if ttls.min() / 1.2 <= tick <= ttls.max() * 1.2]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: _tick_name(value)))


def _tick_name(seconds: float) -> str:
    """Return a tick's name in the largest unit that goes in without a rest."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return wording.duration(seconds)
