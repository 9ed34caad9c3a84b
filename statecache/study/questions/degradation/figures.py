"""The timelines as figures; captions and alt texts are computed from the same data."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from statecache.study.display import Picture
from statecache.study.questions.degradation.findings import Findings
from statecache.study.questions.degradation.sentences import answer
from statecache.study.questions.degradation.settings import DISABLED

__all__ = ["latency_picture", "load_picture"]


def latency_picture(findings: Findings) -> Picture:
    """Median and 99th percentile of each bin, a panel a trouble."""

    def draw(axes: Axes, bins: pd.DataFrame) -> None:
        axes.plot(bins["at_s"], bins["p50_ms"], marker="", label="median")
        axes.plot(bins["at_s"], bins["p99_ms"], marker="", linewidth=1.3, label="99th percentile")
        if without is not None:
            axes.axhline(
                without["p50_ms_healthy"],
                color="black",
                linestyle=":",
                linewidth=1,
                label="median without a cache",
            )

    without = findings.row(DISABLED)
    figure, panels = _panels(findings, draw, "latency, ms")
    for axes in panels:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    settings = findings.recorded.settings
    described = "; ".join(
        f"{row['name']}: median {row['p50_ms_healthy']:.1f} ms before and "
        f"{row['p50_ms_trouble']:.1f} ms during, 99th percentile {row['p99_ms_healthy']:.0f} and "
        f"{row['p99_ms_trouble']:.0f} ms"
        for _place, row in _shown(findings).iterrows()
    )
    return Picture(
        "latency",
        figure,
        alt=f"Latency over time, a panel for each trouble of the cache. {described}.",
        caption=(
            f"Latency from the planned start, for each {settings.bin_ms} ms of the load, on a "
            "logarithmic axis; grey: the trouble. Calls wait for the cache until its time-out of "
            f"50 ms or until the breaker leaves it alone. {_setup(findings)}"
        ),
        table=_data(findings, ["p50_ms", "p99_ms", "max_ms"]),
    )


def load_picture(findings: Findings) -> Picture:
    """Answers, statements, stale reads and errors a second, a panel a trouble."""
    width_s = findings.recorded.settings.bin_ms / 1000

    def draw(axes: Axes, bins: pd.DataFrame) -> None:
        axes.plot(bins["at_s"], bins["throughput_per_s"], marker="", label="answers")
        axes.plot(bins["at_s"], bins["statements_per_s"], marker="", label="PostgreSQL statements")
        axes.bar(
            bins["at_s"],
            bins["stale"] / width_s,
            width=width_s,
            color="C3",
            label="stale reads",
        )
        failed = bins[bins["errors"] > 0]
        axes.plot(
            failed["at_s"],
            failed["errors"] / width_s,
            "x",
            color="black",
            linestyle="none",
            label="errors",
        )

    figure, panels = _panels(findings, draw, "a second")
    for axes in panels:
        axes.set_ylim(bottom=0)
    described = "; ".join(
        f"{row['name']}: {row['throughput_per_s_healthy']:.0f} answers/s before and "
        f"{row['throughput_per_s_trouble']:.0f} during, {row['statements_per_s_healthy']:.0f} and "
        f"{row['statements_per_s_trouble']:.0f} statements/s, {row['stale']} stale reads, "
        f"{row['errors']} errors"
        for _place, row in _shown(findings).iterrows()
    )
    return Picture(
        "load",
        figure,
        alt=f"Answers and statements a second over time, a panel for each trouble. {described}.",
        caption=(
            "Answers, statements that PostgreSQL took, stale reads (by the manager that does not "
            f"write) and errors, a second; grey: the trouble. {answer(findings)[0]} "
            f"{_setup(findings)}"
        ),
        table=_data(
            findings, ["throughput_per_s", "statements_per_s", "stale", "errors", "hit_rate"]
        ),
    )


def _panels(
    findings: Findings, draw: Callable[[Axes, pd.DataFrame], None], ylabel: str
) -> tuple[Figure, list[Axes]]:
    """Draw a panel for each trouble, two in a row, the trouble in grey."""
    rows = _shown(findings)
    lines = -(-len(rows) // 2)
    figure, grid = plt.subplots(
        lines, 2, sharex=True, sharey=True, figsize=(6.0, 1.1 + 1.75 * lines), squeeze=False
    )
    panels = list(grid.flat)
    for axes, (_place, row) in zip(panels, rows.iterrows(), strict=False):
        bins = _bins(findings, row["trouble"])
        if row["trouble"] != "none":
            # A moment is to be seen, too.
            least = 0.02 * float(bins["at_s"].max() - bins["at_s"].min())
            axes.axvspan(0, max(row["trouble_s"], least), color="0.5", alpha=0.28, linewidth=0)
        draw(axes, bins)
        axes.set_title(row["name"])
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(rows) - 2) : len(rows)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("seconds since it began")
    for line in grid:
        line[0].set_ylabel(ylabel)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure, panels[: len(rows)]


def _shown(findings: Findings) -> pd.DataFrame:
    return findings.by_trouble[findings.by_trouble["trouble"] != DISABLED]


def _bins(findings: Findings, trouble: str) -> pd.DataFrame:
    """Return a trouble's bins: medians over the repetitions, counts of errors and stale reads."""
    bins = findings.recorded.bins
    chosen = bins[bins["cell"] == trouble].copy()
    chosen["at_s"] = chosen["at_s"].round(6)
    repetitions = max(1, chosen["block"].nunique())
    grouped = chosen.groupby("at_s")
    counts = grouped[["errors", "stale"]].sum() / repetitions
    numbers = [
        name
        for name in chosen.columns
        if name not in ("cell", "block", "at_s", "errors", "stale", "breaker_open")
    ]
    # Where a repetition took longer to recover than the others, its tail is its own.
    enough = grouped.size() >= repetitions / 2
    return grouped[numbers].median().join(counts)[enough].reset_index()


def _data(findings: Findings, columns: list[str]) -> pd.DataFrame:
    frames = []
    for _place, row in _shown(findings).iterrows():
        bins = _bins(findings, row["trouble"])
        frames.append(bins[["at_s", *columns]].assign(cache=row["name"]))
    data = pd.concat(frames, ignore_index=True)
    return data[["cache", "at_s", *columns]].rename(columns={"at_s": "since it began (s)"})


def _setup(findings: Findings) -> str:
    settings = findings.recorded.settings
    way = "" if findings.recorded.is_own else ", troubles by a relay"
    return (
        f"Profile loopback, {settings.rate_per_s:g} requests/s offered, "
        f"{100 * settings.read_share:.0f} % reads{way}."
    )
