"""The figures on what helps; captions and alt texts are computed from the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from statecache.study.display import Picture
from statecache.study.harness.variants import FACTORIAL, NONE
from statecache.study.intervals import Interval
from statecache.study.questions.what_helps.findings import EFFECTS, Findings
from statecache.study.questions.wording import percent
from statecache.study.verdicts import LEVEL

__all__ = ["other_picture", "share_picture", "variant_picture"]

#: Interval ends beyond these are not drawn: a few blocks have intervals without end.
WIDEST = (0.05, 100.0)


def variant_picture(findings: Findings) -> Picture:
    """Throughput of every combination of mechanisms, as a multiple of none."""
    variants = [variant for variant in FACTORIAL if variant != NONE]
    rows = [
        (variant.name, workload, callers, findings.gain(variant, workload, callers))
        for callers in findings.callers
        for workload in findings.helps.settings.mixes
        for variant in variants
    ]
    figure = _dots(findings, rows, [variant.name for variant in variants])
    last = findings.callers[-1]
    said = ", ".join(
        f"{name} {interval.mean:.2g}"
        for name, workload, callers, interval in rows
        if (workload, callers) == (findings.mix, last)
    )
    return Picture(
        "variants",
        figure,
        alt=(
            "Throughput by mechanisms as a multiple of none on a logarithmic axis; "
            f"{findings.mix} keys, {last} callers: {said}."
        ),
        caption=(
            "Throughput of every combination of mechanisms over that of none with its best pool, "
            f"{_how(findings)}. What gathers is ahead with a cache or without: compare variants "
            "with the same gathering to see what the cache adds."
        ),
        table=_frame(rows, "mechanisms"),
    )


def share_picture(findings: Findings) -> Picture:
    """What each mechanism adds to the same manager without it."""
    rows = [(one.name, one.workload, one.callers, one.interval) for one in findings.effects]
    figure = _dots(findings, rows, list(EFFECTS))
    first = findings.callers[0]
    said = ", ".join(
        f"{name} {interval.mean:.2g}"
        for name, workload, callers, interval in rows
        if (workload, callers) == (findings.mix, first)
    )
    return Picture(
        "shares",
        figure,
        alt=(
            "What each mechanism adds, as a ratio of throughput on a logarithmic axis; "
            f"{findings.mix} keys, {first} callers: {said}."
        ),
        caption=(
            "Each mechanism's own share: throughput with it over the same manager without it, "
            f"{_how(findings)}. Redis is compared with the baseline that gathers as it does: what "
            "gathering gains is not the cache's."
        ),
        table=_frame(rows, "mechanism"),
    )


def other_picture(findings: Findings) -> Picture:
    """The further mechanisms, each alone."""
    others = findings.others
    figure, axes = plt.subplots(figsize=(6.0, 1.3 + 0.42 * len(others)))
    _backdrop(axes, findings)
    _errorbar(axes, [one.interval for one in others], np.arange(len(others)), color="black")
    axes.set_yticks(range(len(others)), [one.name.replace(", ", ",\n", 1) for one in others])
    axes.invert_yaxis()
    _ratio_axis(axes)
    said = ", ".join(f"{one.name} {one.interval.mean:.2f}" for one in others)
    return Picture(
        "others",
        figure,
        alt=f"Throughput with each further mechanism over without, on a logarithmic axis: {said}.",
        caption=(
            f"Throughput with one mechanism on over the same manager with it off, "
            f"{findings.callers[0]} callers, {percent(LEVEL)} intervals over {findings.blocks} "
            f"blocks, profile {findings.profile}. Grey: the baseline against itself."
        ),
        table=findings.other_table,
    )


def _dots(
    findings: Findings, rows: Sequence[tuple[str, str, int, Interval]], names: Sequence[str]
) -> Any:
    """Draw ratios with intervals: a panel a number of callers, a mark a popularity of keys."""
    callers = findings.callers
    figure, panels = plt.subplots(
        len(callers),
        1,
        sharex=True,
        squeeze=False,
        figsize=(6.0, 0.9 + len(callers) * (0.5 + 0.33 * len(names))),
    )
    for number, axes in zip(callers, panels[:, 0], strict=True):
        _backdrop(axes, findings)
        for place, workload in enumerate(findings.helps.settings.mixes):
            own = {
                name: interval
                for name, kind, count, interval in rows
                if (kind, count) == (workload, number)
            }
            _errorbar(
                axes,
                [own[name] for name in names],
                np.arange(len(names)) + 0.3 * (place - 0.5),
                color=f"C{place}",
                fmt="os"[place],
                label=f"{workload} keys",
            )
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_title(f"{number} callers")
    _ratio_axis(panels[-1, 0])
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _errorbar(
    axes: Axes, intervals: Sequence[Interval], places: np.ndarray, *, fmt: str = "o", **style: Any
) -> None:
    means = np.array([one.mean for one in intervals])
    low = np.array([max(one.low, min(WIDEST[0], one.mean)) for one in intervals])
    high = np.array([min(one.high, max(WIDEST[1], one.mean)) for one in intervals])
    reach = np.vstack([means - low, high - means])
    axes.errorbar(
        means,
        places,
        xerr=None if np.isnan(reach).any() else reach,
        fmt=fmt,
        markersize=4.5,
        linestyle="none",
        **style,
    )


def _backdrop(axes: Axes, findings: Findings) -> None:
    noise = findings.noise
    if np.isfinite([noise.low, noise.high]).all():
        low, high = max(noise.low, WIDEST[0]), min(noise.high, WIDEST[1])
        axes.axvspan(low, high, color="0.5", alpha=0.18, linewidth=0)
    axes.axvline(1.0, color="0.4", linewidth=0.9)


def _ratio_axis(axes: Axes) -> None:
    axes.set(xscale="log", xlabel="throughput, times")
    low, high = axes.get_xlim()
    ticks: Sequence[float] = (1,) if high / low > 300 else (1, 2, 5)
    if high / low < 8:
        ticks = (0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 4, 5)
        axes.set_xticks([tick for tick in ticks if low < tick < high])
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))


def _frame(rows: Sequence[tuple[str, str, int, Interval]], what: str) -> pd.DataFrame:
    return pd.DataFrame(
        [(name, workload, callers, *interval) for name, workload, callers, interval in rows],
        columns=[what, "keys", "callers", "times", "from", "to"],
    )


def _how(findings: Findings) -> str:
    return (
        f"{percent(findings.helps.settings.read_share)} reads, {percent(LEVEL)} intervals over "
        f"{findings.blocks} blocks, profile {findings.profile}; grey: the baseline against itself"
    )
