"""What is said of latencies, from latencies that are known."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.checkout import find_root
from statecache.study.claims import load_claims
from statecache.study.display import apply_style, figure_svg
from statecache.study.errors import StudyError
from statecache.study.harness.campaign import Measurements
from statecache.study.histograms import histogram, pooled, quantile_us
from statecache.study.questions.latency import figures, sentences
from statecache.study.questions.latency.findings import Findings, check, find, measured
from statecache.study.questions.latency.measure import Latencies, LatencySettings, conditions
from statecache.study.verdicts import judge_all

CHOSEN = LatencySettings(
    blocks=8, closed_s=0.1, open_s=0.1, rate_per_s=500.0, sizes=(190, 1024), keys=100,
    stall_s=1.0, stall_run_s=4.0, seed=1,
)  # fmt: skip

#: µs of every path, far enough from each other that a text says which one it means.
TAKES = {
    "database read": 300.0, "hit in Redis": 100.0, "hit in process": 2.0, "miss": 450.0,
    "half hits": 250.0, "update": 700.0, "update, cached": 840.0, "delete": 650.0,
    "delete, cached": 780.0,
}  # fmt: skip
HITS = {"hit in Redis": 1.0, "hit in process": 1.0, "miss": 0.0, "half hits": 0.5}


def latencies(blocks: int = 8, factors: list[float] | None = None, samples: int = 40) -> Latencies:
    """Every request of a path takes the same time, all of a block by the block's factor longer."""
    rows, histograms = [], []
    for block in range(blocks):
        factor = 1.0 if factors is None else factors[block]
        for condition in conditions(replace(CHOSEN, blocks=blocks)):
            path, operation = condition.labels["path"], condition.labels["operation"]
            took = TAKES[path] * factor
            rows.append(
                {
                    "cell": condition.cell, "profile": "loopback", "block": block,
                    **condition.labels,
                    **{
                        f"{one}_{name}_us": took if one == operation else float("nan")
                        for one in ("load", "update", "delete") for name in ("p50", "mean", "p99")
                    },
                    "hit_rate": HITS.get(path, float("nan")), "hits": 10, "memory_hits": 10,
                    "foreign_share": 0.1, "p50_void": None, "p99_void": None,
                }
            )  # fmt: skip
            buckets = histogram(np.full(samples, took / 1e6))
            buckets.insert(0, "operation", operation)
            buckets.insert(0, "block", block)
            buckets.insert(0, "cell", condition.cell)
            histograms.append(buckets)
    measurements = Measurements(
        pd.DataFrame(rows), pd.concat(histograms, ignore_index=True), [], "Nothing was pinned."
    )
    return Latencies(replace(CHOSEN, blocks=blocks), measurements, stall())


def stall() -> pd.DataFrame:
    """An open loop whose loads waited up to a second, and a closed one that has one such load."""
    opened = pd.DataFrame({"loop": "open", "due_s": np.arange(2_000) / 500})
    wait = np.where(opened["due_s"].between(1, 2), (2 - opened["due_s"]) * 1e6, 200.0)
    opened = opened.assign(latency_us=wait, stalled=opened["due_s"].between(1, 2))
    closed = pd.DataFrame({"loop": "closed", "due_s": np.arange(9_000) / 2_250})
    closed = closed.assign(latency_us=150.0, stalled=False)
    closed.loc[2_000, "latency_us"] = 1e6
    return pd.concat([opened, closed], ignore_index=True).assign(halt_s=1.0)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return find(latencies())


@given(st.lists(st.floats(0.2, 5.0), min_size=8, max_size=8))
@settings(max_examples=10, deadline=None)
def test_what_slows_a_whole_block_down_cancels_out(factors: list[float]) -> None:
    found = find(latencies(factors=factors))
    gain = found.ratio("database read", "hit in Redis", "one caller, async", 190, "p50")
    assert gain == pytest.approx((3.0, 3.0, 3.0))
    assert found.noise == pytest.approx((1.0, 1.0, 1.0))


def test_a_block_in_which_nothing_was_deleted_is_left_out(findings: Findings) -> None:
    measurements = findings.latencies.measurements
    cells = measurements.cells.copy()
    none = (cells["path"] == "delete") & (cells["block"] == 3)
    cells.loc[none, "delete_p50_us"] = float("nan")
    found = find(replace(findings.latencies, measurements=replace(measurements, cells=cells)))
    pairs = {one.what: one.pairs for one in found.ratios if one.size == 190}
    assert pairs["a delete through the cache takes"] == 7
    assert pairs["a miss takes"] == 8


def test_the_answer_says_what_was_measured(findings: Findings) -> None:
    read, write, stalled = sentences.answer(findings)
    for part in ("loopback", "300 µs", "100 µs", "2 µs", "3x", "150x"):
        assert part in read
    for part in ("700 µs", "840 µs", "1.2x", "1.5x"):
        assert part in write
    assert "does not" in stalled
    assert re.search(r"\b45[01] of 2,000 loads", stalled), "all that waited longer than .1 s"
    assert "1 of 9,000" in stalled


def test_a_closed_loop_that_shows_the_stall_is_not_said_to_hide_it(findings: Findings) -> None:
    loads = findings.latencies.stall.copy()
    loads.loc[loads["loop"] == "closed", "latency_us"] = 9e5
    found = find(replace(findings.latencies, stall=loads))
    assert "does, too" in sentences.stall_sentence(found)


def test_every_claim_of_this_notebook_is_measured_and_no_other(findings: Findings) -> None:
    claims = load_claims(find_root())
    here = {name for name, claim in claims.items() if "latency" in claim.notebooks}
    found = measured(findings)
    assert {one.claim for one in found} == here
    assert found[0].conditions == "one caller, async, documents of 190 B"
    rows = {row["id"]: row for row in judge_all({name: claims[name] for name in here}, found)}
    assert rows["read_uncached"]["verdict"] == "does not hold"
    assert rows["read_gain"]["verdict"] == "does not hold"
    assert rows["hit_latency"]["verdict"] == "holds"
    assert rows["read_gain"]["numbers"]["value"] == pytest.approx(3.0)


def test_few_blocks_decide_nothing() -> None:
    found = find(latencies(blocks=2))
    claims = load_claims(find_root())
    here = {name: one for name, one in claims.items() if "latency" in one.notebooks}
    assert {row["verdict"] for row in judge_all(here, measured(found))} == {"not decided"}
    assert any("2 blocks decide nothing" in said for said in sentences.limits(found))


def test_a_99th_percentile_needs_ten_thousand_samples(findings: Findings) -> None:
    assert findings.absolute["p99 (µs)"].isna().all()
    absolute = find(latencies(samples=1_250)).absolute
    assert absolute["p99 (µs)"].notna().all()
    assert (absolute["samples"] == 10_000).all()


def test_no_percentile_is_shown_where_the_driver_was_late() -> None:
    late = latencies(samples=1_250)
    cells = late.measurements.cells
    cells.loc[cells["driver"].str.startswith("open"), "p99_void"] = True
    absolute = find(late).absolute
    assert absolute.loc[absolute["driver late"], "p99 (µs)"].isna().all()
    assert set(absolute.loc[absolute["driver late"], "driver"].str[:4]) == {"open"}


def test_the_bound_meets_the_hits_and_stays_below_one_without(findings: Findings) -> None:
    assert findings.cache_cost == pytest.approx(1 / 3)
    assert findings.bound(1.0) == pytest.approx(3.0)
    assert findings.bound(0.0) == pytest.approx(0.6)
    assert findings.gains["hit_rate"].tolist() == [0.0, 0.5, 1.0]


def test_a_path_that_is_not_what_it_says_is_refused(findings: Findings) -> None:
    check(findings)
    measurements = findings.latencies.measurements
    cells = measurements.cells.copy()
    cells.loc[cells["path"] == "hit in Redis", "hit_rate"] = 0.99
    found = find(replace(findings.latencies, measurements=replace(measurements, cells=cells)))
    with pytest.raises(StudyError, match="hit at 99"):
        check(found)


@pytest.mark.parametrize("blocks", [1, 8])
@pytest.mark.parametrize("name", figures.__all__)
def test_figures_are_drawn_and_name_their_profile(name: str, blocks: int) -> None:
    apply_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = getattr(figures, name)(find(latencies(blocks=blocks)))
        assert figure_svg(picture.figure).startswith("<svg")
    assert "loopback" in picture.caption
    assert picture.alt
    assert len(picture.table)
    plt.close(picture.figure)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_of_pooled_histograms_lies_within_a_bucket_of_the_true_one(
    values: list[float], share: float
) -> None:
    parts = [histogram(np.array(values[start::2])) for start in (0, 1) if values[start::2]]
    true = float(np.quantile(np.array(values), share, method="inverted_cdf")) * 1e6
    assert quantile_us(pooled(pd.concat(parts)), share) == pytest.approx(true, rel=0.012)
