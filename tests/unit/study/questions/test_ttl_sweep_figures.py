from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from statecache.study.display import apply_style, figure_svg
from statecache.study.intervals import Interval
from statecache.study.questions.ttl_sweep.figures import (
    Picture,
    hit_rate_picture,
    latency_picture,
    reads_picture,
    statements_picture,
)
from statecache.study.questions.ttl_sweep.findings import Decision, Findings
from statecache.study.questions.ttl_sweep.measure import UNCACHED, Sweep, SweepSettings

NONE = float("nan")

SETTINGS = SweepSettings(
    starts=("2013-02-04", "2013-06-10"),
    days=1.5,
    time_scale=7_200.0,
    ttls_min=(60.5, 240.5),
    looks=("schedule",),
    timeout_ms=1_000,
    seed=1,
)

#: By hand, so that every figure in a text can be told from the others.
BY_TTL = pd.DataFrame(
    {
        "ttl_min": [60.5, 240.5],
        "live_ttl_ms": [504, 2_004],
        "hit_rate": [0.611, 0.822],
        "low": [0.591, 0.812],
        "high": [0.631, 0.832],
        "exact": [0.612, 0.821],
        "closed_form": [0.462, 0.921],
        "saved": [0.413, 0.554],
        "saved_low": [0.403, 0.544],
        "saved_high": [0.423, 0.564],
        "hit_p50_us": [250.0, 250.0],
        "hit_p99_us": [700.0, 800.0],
        "load_p50_us": [350.0, 300.0],
        "load_p99_us": [1_900.0, 1_800.0],
        "commit_p50_us": [1_310.0, 1_310.0],
        "commit_p99_us": [3_000.0, 3_100.0],
        "miss_p50_us": [900.0, 900.0],
        "first": [0.021, 0.022],
        "age_min": [17.3, 31.9],
        "age_exact_min": [17.4, 32.1],
    }
)

UNCACHED_ROW = pd.Series(
    {"load_p50_us": 640.0, "load_p99_us": 2_000.0, "commit_p50_us": 1_170.0, "commit_p99_us": 3e3}
)

CURVE = pd.DataFrame(
    {
        "ttl_min": [5.0, 60.0, 240.0, 2_880.0],
        "exact": [0.20, 0.60, 0.82, 0.95],
        "closed_form": [0.03, 0.45, 0.91, 0.99],
        "first": [0.021, 0.021, 0.021, 0.021],
        "expired": [0.779, 0.379, 0.159, 0.029],
        "age_min": [1.9, 17.4, 32.1, 71.0],
    }
)

PICTURES = (hit_rate_picture, reads_picture, statements_picture, latency_picture)


def cells(settings: SweepSettings) -> pd.DataFrame:
    """Return cells of which one is 0.37 points off the executed times, and none is noisy."""
    rows: list[dict[str, Any]] = [
        {
            "start": start,
            "variant": f"ttl {ttl}",
            "ttl_min": ttl,
            "hit_rate": rate,
            "served_rate": rate + 0.001,
            "hit_rate_executed": rate,
            "hit_rate_planned": rate + 0.001,
            "quiet": True,
        }
        for start in settings.starts
        for ttl, rate in ((60.5, 0.611), (240.5, 0.822))
    ]
    rows[0]["hit_rate_executed"] -= 0.0037
    rates = ("ttl_min", "hit_rate", "served_rate", "hit_rate_executed", "hit_rate_planned")
    uncached = dict.fromkeys(rates, NONE) | {"variant": UNCACHED, "quiet": True}
    made = pd.DataFrame([uncached | {"start": start} for start in settings.starts] + rows)
    return made.assign(counted_by="PostgreSQL")


def findings_of(settings: SweepSettings = SETTINGS, **changes: Any) -> Findings:
    return replace(
        Findings(
            sweep=Sweep(settings, cells(settings), pd.DataFrame(), []),
            by_ttl=BY_TTL,
            uncached=UNCACHED_ROW,
            curve=CURVE,
            read_share=0.667,
            documented=Interval(0.2, 0.18, 0.22),
            high_traffic=Interval(0.4, 0.3, 0.5),
            best_ttl_min=1_440.5,
            most_saved=Interval(0.6, 0.5, 0.7),
            decision=Decision(240.5, 0.822, 0.55, 0.1, 0.04, falls_short=False),
        ),
        **changes,
    )


def one_pass() -> Findings:
    limits = dict.fromkeys(("low", "high", "saved_low", "saved_high"), NONE)
    return findings_of(
        replace(SETTINGS, starts=SETTINGS.starts[:1]), by_ttl=BY_TTL.assign(**limits)
    )


def noisy(*quiet: bool) -> Findings:
    found = findings_of()
    seen = cells(SETTINGS).assign(quiet=[True, True, *quiet])
    return replace(found, sweep=replace(found.sweep, cells=seen))


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test draws: matplotlib warns of too many figures, and warnings are errors."""
    with plt.rc_context():
        apply_style()
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def told() -> dict[str, Picture]:
    return {picture.name: picture for picture in (draw(findings_of()) for draw in PICTURES)}


def drawn(picture: Picture) -> ET.Element:
    svg = ET.fromstring(figure_svg(picture.figure))
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}path"))) > 20
    return svg


# Drawing


@pytest.mark.parametrize("draw", PICTURES)
@pytest.mark.parametrize(
    "found",
    [
        pytest.param(findings_of(), id="all"),
        pytest.param(one_pass(), id="one pass"),
        pytest.param(findings_of(by_ttl=BY_TTL.iloc[:1]), id="one TTL"),
        pytest.param(noisy(True, False, True, True), id="a noisy cell"),
        pytest.param(noisy(*[False] * 4), id="noisy cells only"),
    ],
)
def test_a_figure_is_drawn_without_a_warning(
    draw: Callable[[Findings], Picture], found: Findings
) -> None:
    picture = draw(found)
    drawn(picture)
    assert len(picture.table) == len(found.by_ttl)


@pytest.mark.parametrize("draw", PICTURES)
def test_a_figure_leaves_the_findings_as_they_were(draw: Callable[[Findings], Picture]) -> None:
    found = findings_of()
    draw(found)
    pd.testing.assert_frame_equal(found.by_ttl, BY_TTL)
    pd.testing.assert_frame_equal(found.curve, CURVE)
    pd.testing.assert_frame_equal(found.sweep.cells, cells(SETTINGS))


def test_figures_have_names_of_their_own(told: dict[str, Picture]) -> None:
    assert set(told) == {"hit_rate", "reads", "statements", "latency"}


def points(picture: Picture, axes: int = 0) -> list[tuple[list[float], list[float]]]:
    """Return what is drawn in a part of the figure: x and y of every line."""
    lines = picture.figure.axes[axes].lines
    return [
        (np.atleast_1d(line.get_xdata()).tolist(), np.atleast_1d(line.get_ydata()).tolist())
        for line in lines
    ]


def holds(drawn: list[tuple[list[float], list[float]]], x: Any, y: Any) -> bool:
    return any(
        one == pytest.approx(list(x)) and other == pytest.approx(list(y))
        for one, other in drawn
        if len(one) == len(list(x))
    )


def test_points_and_curves_are_those_of_the_findings(told: dict[str, Picture]) -> None:
    ttls, grid = BY_TTL["ttl_min"], CURVE["ttl_min"]
    hits = points(told["hit_rate"])
    assert holds(hits, ttls, 100 * BY_TTL["hit_rate"])
    assert holds(hits, grid, 100 * CURVE["exact"])
    assert holds(hits, grid, 100 * CURVE["closed_form"])
    off = points(told["hit_rate"], axes=2)
    assert holds(off, grid, [-17.0, -15.0, 9.0, 4.0])
    saved = points(told["statements"])
    assert holds(saved, ttls, 100 * BY_TTL["saved"])
    assert holds(saved, grid, 66.7 * CURVE["exact"])
    medians, tails = (points(told["latency"], axes) for axes in (0, 1))
    for kind in ("hit", "load", "commit"):
        assert holds(medians, ttls, BY_TTL[f"{kind}_p50_us"] / 1e3)
        assert holds(tails, ttls, BY_TTL[f"{kind}_p99_us"] / 1e3)
    assert holds(medians, [0, 1], [0.64, 0.64]), "the load without a cache"
    assert holds(tails, [0, 1], [3.0, 3.0]), "the update without a cache"


@pytest.mark.parametrize("counted_by", ["PostgreSQL", "the managers"])
def test_the_figure_tells_who_counted_the_statements(counted_by: str) -> None:
    found = findings_of()
    seen = cells(SETTINGS).assign(counted_by=counted_by)
    picture = statements_picture(replace(found, sweep=replace(found.sweep, cells=seen)))
    _lines, labels = picture.figure.axes[0].get_legend_handles_labels()
    assert any(label.endswith(f"counted by {counted_by}") for label in labels)


def residuals(found: Findings) -> int:
    picture = hit_rate_picture(found)
    widest = picture.figure.axes[1].get_ylim()
    drawn = [y for _x, line in points(picture, axes=1) for y in line]
    assert all(widest[0] < y < widest[1] for y in drawn), "no residual is cut off"
    return len(drawn)


def test_every_residual_is_drawn_noisy_or_not() -> None:
    counts = [
        residuals(noisy(*quiet)) for quiet in ([True] * 4, [False] * 4, [True, False, False, True])
    ]
    assert counts == [8, 8, 8], "four cells beside the executed and beside the planned times"
    far = noisy(True, False, True, True)
    seen = far.sweep.cells.assign(hit_rate_planned=0.4)
    assert residuals(replace(far, sweep=replace(far.sweep, cells=seen))) == 8


# Texts


def figures_in(text: str) -> list[str]:
    return re.findall(r"\d[\d,.]*\d|\d", text)


@pytest.mark.parametrize("found", [findings_of(), one_pass(), noisy(*[False] * 4)])
@pytest.mark.parametrize("draw", PICTURES)
def test_alt_and_caption_are_sentences_without_a_figure_that_is_none(
    draw: Callable[[Findings], Picture], found: Findings
) -> None:
    picture = draw(found)
    for text in (picture.alt, picture.caption):
        assert text.endswith(".")
        assert text.splitlines() == [text]
        assert not re.search(r"\b(nan|inf|None)\b", text)
        assert not re.search(r"\d%", text), "a space before the per cent"
    assert "loopback" in picture.caption


@pytest.mark.parametrize("draw", PICTURES)
def test_the_caption_tells_what_was_replayed(draw: Callable[[Findings], Picture]) -> None:
    caption = draw(findings_of()).caption
    assert {"2", "1.5", "7,200"} <= set(figures_in(caption))


def test_the_hit_rate_is_told_with_its_residuals(told: dict[str, Picture]) -> None:
    picture = told["hit_rate"]
    for figure in ("61 %", "82 %", "1 h", "4 h", "17 points"):
        assert figure in picture.alt
    for figure in ("0.37 points", "0.5", "17 to +9 points"):
        assert figure in picture.caption


def test_the_statements_are_told_beside_their_bound(told: dict[str, Picture]) -> None:
    picture = told["statements"]
    for figure in ("55 %", "4 h", "67 %"):
        assert figure in picture.alt
    assert "66.7 %" in picture.caption


def test_the_latency_is_told_beside_the_one_without_a_cache(told: dict[str, Picture]) -> None:
    picture = told["latency"]
    for figure in ("0.25 ms", "0.64 ms", "1.31 ms", "1.17 ms"):
        assert figure in picture.alt
    assert "2.6 times" in picture.caption


# The data beside a figure


def test_the_table_holds_what_is_drawn(told: dict[str, Picture]) -> None:
    hits, saved = told["hit_rate"].table, told["statements"].table
    latency = told["latency"].table
    for table in (hits, saved, latency):
        assert table["TTL (min)"].tolist() == [60.5, 240.5]
    assert hits["live (%)"].tolist() == pytest.approx([61.1, 82.2])
    assert hits["interval from (%)"].tolist() == pytest.approx([59.1, 81.2])
    assert hits["to (%)"].tolist() == pytest.approx([63.1, 83.2])
    assert hits["exact replay (%)"].tolist() == pytest.approx([61.2, 82.1])
    assert hits["closed form (%)"].tolist() == pytest.approx([46.2, 92.1])
    assert saved["saved (%)"].tolist() == pytest.approx([41.3, 55.4])
    assert saved["interval from (%)"].tolist() == pytest.approx([40.3, 54.4])
    assert saved["to (%)"].tolist() == pytest.approx([42.3, 56.4])
    assert saved["bound (%)"].tolist() == pytest.approx([66.7, 66.7])
    assert latency["hit p50 (ms)"].tolist() == pytest.approx([0.25, 0.25])
    assert latency["load p99 (ms)"].tolist() == pytest.approx([1.9, 1.8])
    assert latency["commit p99 (ms)"].tolist() == pytest.approx([3.0, 3.1])
