"""The forest plot of all verdicts; caption and alt text are computed from the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from statecache.study.display import Picture
from statecache.study.intervals import Interval
from statecache.study.pages import tally
from statecache.study.verdicts import LEVEL

__all__ = ["kept", "verdicts_picture"]

#: The axis reaches at least from a tenth of what was promised to ten times of it, at most so far.
NARROWEST: Final = (0.1, 10.0)
WIDEST: Final = (0.005, 200.0)

#: Colour and marker of a verdict; the word stands beside each point.
_LOOKS: Final = {
    "holds": ("#009E73", "o"),
    "holds in part": ("#0072B2", "D"),
    "does not hold": ("#D55E00", "s"),
    "cannot hold": ("#D55E00", "X"),
    "not decided": ("#555555", "o"),
    "assumed": ("#555555", "^"),
}
#: Inches a row.
ROW_HEIGHT: Final = 0.46


class Kept(NamedTuple):
    """How much of a promise was kept: 1 and more keeps it; NaN where nothing was measured."""

    value: float
    low: float
    high: float
    #: Where the documented band ends on the same scale; infinite where it is open.
    band_to: float


def kept(row: Mapping[str, Any]) -> Kept:
    """Return a row of ``verdicts.json`` as multiples of what was promised.

    That is measured over promised, and promised over measured where less was promised, as of
    times and sizes: on every row a point to the right of 1 keeps the promise. Of a claim with
    both ends ("within") it is measured over the lower end, and the band ends at ``band_to``.
    """
    low, high = row["band_low"], row["band_high"]
    numbers = (row["numbers"][name] for name in ("value", "low", "high"))
    value, lower, upper = Interval.from_plain(numbers)
    both_ends = low is not None and high is not None and low < high
    band_to = high / low if both_ends else np.inf
    if row["promise"] == "at most":
        return Kept(_over(high, value), _over(high, upper), _over(high, lower), band_to)
    return Kept(value / low, lower / low, upper / low, band_to)


def verdicts_picture(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Return the forest plot of rows of ``verdicts.json``, in their order from the top.

    A row: the claim, and below it point and interval on the documented band in grey; the verdict
    as a word at the right. One logarithmic axis for all kinds of figures, in multiples of what
    was promised.
    """
    if not rows:
        raise ValueError("there is no verdict to draw: give at least one row.")
    promises = [kept(row) for row in rows]
    left, right = _reach(promises)
    height = ROW_HEIGHT * len(rows) + 0.75
    figure, axes = plt.subplots(figsize=(5.8, height), layout="constrained")
    for place, (row, promise) in enumerate(zip(rows, promises, strict=True)):
        _draw(axes, place, row, promise, (left, right))
    axes.set_xscale("log")
    axes.set(xlim=(left, right), ylim=(len(rows) - 0.3, -0.75), yticks=[])
    axes.set_xlabel("as much as was promised, times (right of 1: kept)")
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    counted = tally(rows)
    profiles = sorted({profile for row in rows for profile in row["profile"].split(", ")})
    return Picture(
        "verdicts",
        figure,
        alt=_alt(rows, counted),
        caption=(
            f"{len(rows)} verdicts on documented figures, profile {', '.join(profiles)}: "
            f"{counted}. Point and {100 * LEVEL:.0f} % interval as multiples of what was promised "
            "(for times and sizes promised over measured), grey: the documented band, line: "
            "exactly as promised."
        ),
        table=pd.DataFrame(
            {
                "claim": [row["claim"] for row in rows],
                "profile": [row["profile"] for row in rows],
                "documented": [row["band"] for row in rows],
                "measured": [row["measured"] or "–" for row in rows],
                "interval": [row["interval"] or "–" for row in rows],
                "verdict": [row["verdict"] for row in rows],
            }
        ),
    )


def _draw(
    axes: Axes, place: int, row: Mapping[str, Any], promise: Kept, reach: tuple[float, float]
) -> None:
    colour, marker = _LOOKS[row["verdict"]]
    left, right = reach
    # It may reach below the verdicts, and the axes need not shrink for it.
    axes.text(left, place - 0.36, _name(row), va="center", fontsize=9.5).set_in_layout(False)
    axes.vlines(1, place - 0.14, place + 0.34, color="black", linewidth=1)
    axes.fill_betweenx(
        (place - 0.12, place + 0.32),
        1,
        min(max(promise.band_to, 1.03), right),
        color="0.5",
        alpha=0.25,
        linewidth=0,
    )
    axes.annotate(
        row["verdict"],
        (1.02, place + 0.1),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=10,
        color=colour,
        fontweight="bold",
        annotation_clip=False,
    )
    if np.isnan(promise.value):
        _beside(axes, "not measured", 1.0, place, side=-1)
        return
    # What lies beyond the axis is shown as an arrow at its end.
    shown = float(np.clip(promise.value, left * 1.04, right / 1.04))
    beyond = {True: ">" if promise.value > shown else "<"}.get(shown != promise.value, marker)
    if not np.isnan(promise.low):
        ends = np.clip((promise.low, promise.high), left, right)
        axes.plot(ends, (place + 0.1,) * 2, color=colour, marker="|", linestyle="-", markersize=7)
    fill = "none" if row["verdict"] == "not decided" else "full"
    axes.plot(
        shown, place + 0.1, color=colour, marker=beyond, fillstyle=fill, markersize=7, zorder=3
    )
    # The figure itself stands beside the point, away from the line if there is room.
    share = np.log(shown / left) / np.log(right / left)
    side = (1 if share < 0.75 else -1) if shown >= 1 else (-1 if share > 0.3 else 1)
    edge = promise.high if side > 0 else promise.low
    edge = shown if np.isnan(edge) else float(np.clip(edge, left, right))
    _beside(axes, row["measured"], edge, place, side)


def _beside(axes: Axes, text: str, x: float, place: int, side: int) -> None:
    """Write to the right (1) or to the left (-1) of a point."""
    axes.annotate(
        text,
        (x, place + 0.1),
        xytext=(7 * side, 0),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=9,
    )


def _reach(promises: Sequence[Kept]) -> tuple[float, float]:
    """Return the ends of the axis: all points, and the ends of the bands, if they lie within."""
    seen = np.array([part for promise in promises for part in promise])
    seen = seen[np.isfinite(seen) & (seen > 0)]
    left = min([NARROWEST[0], *(seen / 1.3)])
    right = max([NARROWEST[1], *(seen * 1.3)])
    return max(left, WIDEST[0]), min(right, WIDEST[1])


def _name(row: Mapping[str, Any], longest: int = 68) -> str:
    plain = row["profile"] == "loopback" or not row["measured"]
    name = row["claim"] if plain else f"{row['claim']} [{row['profile']}]"
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def _alt(rows: Sequence[Mapping[str, Any]], counted: str) -> str:
    named = []
    for word in _LOOKS:
        claims = [
            f"{row['claim']} ({row['measured'] or 'not measured'})"
            for row in rows
            if row["verdict"] == word
        ]
        if claims and word != "not decided":
            named.append(f"{word}: {'; '.join(claims)}")
    listed = ". ".join(named)
    return f"Forest plot of {len(rows)} verdicts: {counted}." + (f" {listed}." if listed else "")


def _over(promised: float, measured: float) -> float:
    return promised / measured if measured else np.inf
