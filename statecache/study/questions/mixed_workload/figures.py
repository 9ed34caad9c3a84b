"""The figures of the mixed workload; captions and alt texts are computed from the same data."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from statecache.study.bounds import gain_where_reads_are_saved
from statecache.study.display import Picture
from statecache.study.harness.variants import ALL, GATHER, GATHER_REDIS, NONE, REDIS
from statecache.study.questions.mixed_workload.findings import Findings
from statecache.study.questions.mixed_workload.sentences import keys_text, ttl_text
from statecache.study.questions.wording import percent

__all__ = ["gain_picture", "heat_picture", "saved_picture"]


def heat_picture(findings: Findings) -> Picture:
    """Throughput with Redis over that without, TTL by read share; with and without gathering."""
    panels = [
        (name, title, findings.grid[findings.grid["mechanisms"] == name])
        for name, title in (
            (REDIS.name, "Redis ÷ no cache"),
            (GATHER_REDIS.name, "gather + Redis ÷ gather"),
        )
    ]
    heights = [rows["ttl_s"].nunique() for _name, _title, rows in panels]
    figure, all_axes = plt.subplots(
        2, 1, sharex=True, figsize=(5.8, 1.7 + 0.62 * sum(heights)), height_ratios=heights
    )
    gains = pd.concat([rows["gain"] for _name, _title, rows in panels])
    widest = max(float(np.exp(np.abs(np.log(gains)).max())), 1.2)
    norm = LogNorm(1 / widest, widest)
    for axes, (_name, title, rows) in zip(all_axes, panels, strict=True):
        mesh = _heat(axes, rows, norm)
        axes.set_title(title)
    all_axes[-1].set_xlabel("reads, % of the operations")
    figure.supylabel("TTL", fontsize=11)
    bar = figure.colorbar(mesh, ax=all_axes, label="throughput, times as much", shrink=0.8)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:.2g}"))
    rows = pd.concat([rows for _name, _title, rows in panels])
    crossing = int(((rows["gain_low"] <= 1) & (rows["gain_high"] >= 1)).sum())
    return Picture(
        "heat",
        figure,
        alt=(
            f"Two heat maps of the throughput with Redis over that without, TTL by read share: "
            f"without gathering from {_least(panels[0][2])} to {_most(panels[0][2])}, beside the "
            f"same gathering from {_least(panels[1][2])} to {_most(panels[1][2])}."
        ),
        caption=(
            "Throughput with Redis over that without, with the same gathering; below it the hit "
            f"rate, which the TTL gives at this rate of requests. A ~ marks the {crossing} of "
            f"{len(rows)} whose 95 % interval crosses 1. {_about(findings)}."
        ),
        table=pd.DataFrame(
            {
                "mechanisms": rows["mechanisms"],
                "TTL": rows["ttl_s"].map(ttl_text),
                "reads (%)": 100 * rows["read_share"],
                "hits (%)": 100 * rows["hit_rate"],
                "times as much": rows["gain"],
                "from": rows["gain_low"],
                "to": rows["gain_high"],
            }
        ),
    )


def _heat(axes: Axes, rows: pd.DataFrame, norm: LogNorm) -> QuadMesh:
    """Draw a map with the values in its cells."""
    shares, ttls = sorted(set(rows["read_share"])), sorted(set(rows["ttl_s"]))
    gains = rows.pivot_table(index="ttl_s", columns="read_share", values="gain")
    mesh = axes.pcolormesh(gains.to_numpy(), cmap="cividis", norm=norm, edgecolors="white")
    for _, row in rows.iterrows():
        place = shares.index(row["read_share"]) + 0.5, ttls.index(row["ttl_s"]) + 0.5
        crosses = row["gain_low"] <= 1 <= row["gain_high"]
        text = f"{row['gain']:.2f}{' ~' if crosses else ''}\n{100 * row['hit_rate']:.0f} % hits"
        dark = norm(row["gain"]) < 0.55
        axes.text(
            *place,
            text,
            ha="center",
            va="center",
            fontsize=9.5,
            color="white" if dark else "black",
        )
    axes.set_xticks(np.arange(len(shares)) + 0.5, [f"{100 * share:.3g}" for share in shares])
    axes.set_yticks(np.arange(len(ttls)) + 0.5, [ttl_text(ttl) for ttl in ttls])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return mesh


def saved_picture(findings: Findings) -> Picture:
    """Statements and backend CPU saved against the hit rate, beside ρh and φh."""
    grid = findings.grid[findings.grid["mechanisms"] == REDIS.name]
    shares = sorted(set(grid["read_share"]))
    figure, (left, right) = plt.subplots(1, 2, sharex=True, sharey=True, figsize=(5.8, 4.2))
    hits = np.array([0.0, 1.0])
    for number, share in enumerate(shares):
        rows = grid[grid["read_share"] == share].sort_values("hit_rate")
        colour = plt.get_cmap("cividis")(number / max(1, len(shares) - 1) * 0.85)
        marker = "os^Dv<>"[number % 7]
        style = {"color": colour, "marker": "", "linestyle": "-", "linewidth": 1.2}
        left.plot(100 * hits, 100 * share * hits, **style)
        right.plot(100 * hits, 100 * findings.costs.reads_share(share) * hits, **style)
        points = {"color": colour, "linestyle": "none", "marker": marker, "markersize": 6}
        left.plot(
            100 * rows["hit_rate"],
            100 * rows["saved"],
            label=f"{100 * share:.3g} % reads",
            **points,
        )
        reach = 100 * np.vstack(
            [
                rows["cpu_saved"] - rows["cpu_saved_low"],
                rows["cpu_saved_high"] - rows["cpu_saved"],
            ]
        )
        right.errorbar(
            100 * rows["hit_rate"],
            100 * rows["cpu_saved"],
            yerr=None if np.isnan(reach).any() else reach,
            **points,
        )
    for axes in (left, right):
        axes.axhspan(70, 90, color="0.5", alpha=0.18, linewidth=0)
        axes.axhline(0, color="0.4", linewidth=0.8)
        axes.set_xlabel("hit rate, % of reads")
    left.text(4, 80, "documented\n70–90 %", va="center", fontsize=9)
    lowest = float(np.nanmin([0.0, 100 * grid["cpu_saved_low"].min()]))
    left.set(ylim=(max(lowest, -60) - 4, 103), ylabel="saved an operation, %", title="statements")
    right.set(title="backend CPU time")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    best = findings.row(REDIS.name, findings.share, findings.run.settings.longest_ttl_s)
    return Picture(
        "saved",
        figure,
        alt=(
            "Share of PostgreSQL's statements and of its CPU time that Redis saves, against the "
            f"hit rate: statements lie on the line of ρh; at {percent(findings.share)} reads and "
            f"{100 * best['hit_rate']:.0f} % hits {100 * best['saved']:.0f} % of the statements"
            + (
                " are saved."
                if math.isnan(best["cpu_saved"])
                else f" and {100 * best['cpu_saved']:.0f} % of the CPU time are saved."
            )
        ),
        caption=(
            "Saved by Redis against the uncached manager, without gathering. Lines: the bounds "
            "ρh for statements (ρ: share of reads, h: hit rate) and φh for CPU time"
            + (
                ", which cannot be seen on servers that are not ours"
                if math.isnan(findings.costs.write_over_read)
                else f", with a write measured at {findings.costs.write_over_read:.1f} times the "
                "cost of a read"
            )
            + f"; bars: 95 %. {_about(findings)}."
        ),
        table=pd.DataFrame(
            {
                "reads (%)": 100 * grid["read_share"],
                "TTL": grid["ttl_s"].map(ttl_text),
                "hits (%)": 100 * grid["hit_rate"],
                "statements saved (%)": 100 * grid["saved"],
                "ρh, shared fetches too (%)": 100 * grid["served"],
                "CPU time saved (%)": 100 * grid["cpu_saved"],
                "from (%)": 100 * grid["cpu_saved_low"],
                "to (%)": 100 * grid["cpu_saved_high"],
                "φh (%)": 100 * grid["cost_bound"],
            }
        ),
    )


def gain_picture(findings: Findings) -> Picture:
    """Throughput of each mechanism over the uncached manager, by read share, and the bound."""
    longest = findings.run.settings.longest_ttl_s
    names = [REDIS.name, GATHER.name, GATHER_REDIS.name, ALL.name]
    grid = findings.grid[findings.grid["ttl_s"].isna() | (findings.grid["ttl_s"] == longest)]
    shares = sorted(set(grid["read_share"]))
    places = np.arange(len(shares), dtype=float)
    figure, axes = plt.subplots(figsize=(5.8, 4.2))
    for number, name in enumerate(names):
        rows = grid[grid["mechanisms"] == name].sort_values("read_share")
        reach = np.vstack([rows["total"] - rows["total_low"], rows["total_high"] - rows["total"]])
        axes.errorbar(
            places + 0.11 * (number - 1.5),
            rows["total"],
            yerr=None if np.isnan(reach).any() else reach,
            linestyle="none",
            label="Redis" if name == REDIS.name else name.replace("redis", "Redis"),
        )
    bounds = [gain_where_reads_are_saved(findings.costs.reads_share(share), 1) for share in shares]
    axes.hlines(bounds, places - 0.24, places + 0.24, color="0.3", label="bound 1/(1 − φ)")
    axes.axhline(1, color="0.4", linewidth=0.8)
    axes.axhline(7, color="0.4", linewidth=1, linestyle=":", label="documented, 7x")
    axes.set(yscale="log", ylabel="throughput ÷ no cache", xlabel="reads, % of the operations")
    axes.set_xticks(places, [f"{100 * share:.3g}" for share in shares])
    axes.set_xlim(-0.5, len(shares) - 0.5)
    axes.yaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    own = {name: findings.row(name, findings.share, longest) for name in (REDIS.name, ALL.name)}
    gather = findings.row(GATHER.name, findings.share)
    return Picture(
        "gain",
        figure,
        alt=(
            "Throughput over the uncached manager by read share, logarithmic: at "
            f"{percent(findings.share)} reads Redis "
            f"{own[REDIS.name]['total']:.1f}x, gathering alone {gather['total']:.1f}x, all "
            f"mechanisms {own[ALL.name]['total']:.1f}x."
        ),
        caption=(
            "Throughput of each mechanism over the uncached manager where every read hits; bars: "
            "95 %. The dash is 1/(1 − φ), the most that hits can gain where the database is the "
            f"bottleneck; what lies above it is gathering, not caching. {_about(findings)}."
        ),
        table=pd.DataFrame(
            {
                "mechanisms": grid["mechanisms"],
                "reads (%)": 100 * grid["read_share"],
                "ops/s": grid["ops_s"],
                f"over {NONE.name}": grid["total"],
                "from": grid["total_low"],
                "to": grid["total_high"],
            }
        ),
    )


def _about(findings: Findings) -> str:
    settings = findings.run.settings
    return (
        f"{settings.callers} callers, {keys_text(settings)}, {findings.pairs} pairs, profile "
        f"{findings.profile}"
    )


def _least(rows: pd.DataFrame) -> str:
    return f"{rows['gain'].min():.2f}"


def _most(rows: pd.DataFrame) -> str:
    return f"{rows['gain'].max():.2f}"
