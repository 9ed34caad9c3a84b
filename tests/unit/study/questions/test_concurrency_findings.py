"""What is found on concurrency: planted capacities and gains come out, and what failed counts."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from statecache.study.display import apply_style
from statecache.study.errors import StudyError
from statecache.study.harness.campaign import Measurements
from statecache.study.harness.pool_sizes import PoolSizes
from statecache.study.publish import verdicts_of
from statecache.study.questions.concurrency import figures, sentences, tables
from statecache.study.questions.concurrency.findings import (
    Findings,
    assert_agreement,
    capacity_gain,
    find,
)
from statecache.study.questions.concurrency.ladder import place_below
from statecache.study.questions.concurrency.measure import (
    VARIANTS,
    ConcurrencyRun,
    ConcurrencySettings,
)

SETTINGS = ConcurrencySettings(
    triggers=100,
    events=1_000,
    start="2013-02-04",
    callers=[1, 100],
    seconds=0.1,
    blocks=8,
    step=1.4,
    rungs=5,
    ladder_seconds=1.0,
    ladder_blocks=8,
    in_flight=256,
    limit_ms=50.0,
    pool_sizes=[16],
    pool_blocks=1,
    seed=1,
)

#: Events a second that each can do; a load costs 100 µs and an update 200 µs.
PEAKS = {
    "none": 1_000.0,
    "redis": 1_500.0,
    "gather": 4_000.0,
    "gather + redis": 6_000.0,
    "gather + redis + memory": 8_000.0,
}


def edges(chosen: ConcurrencySettings) -> dict[str, float]:
    """Return where each fails, as places on the ladder: at 80 % of its peak."""
    return {name: place_below(0.8 * peak, chosen.step) + 0.5 for name, peak in PEAKS.items()}


def run_of(*, client_share: float = 0.2, chosen: ConcurrencySettings = SETTINGS) -> ConcurrencyRun:
    """Return a run in which latency reaches the limit at 80 % of what each can do."""
    closed, ladder = [], []
    for block, condition in itertools.product(range(chosen.blocks), chosen.closed_conditions()):
        peak = PEAKS[condition.variant.name]
        rate = peak if condition.drive.callers > 1 else peak / 10
        read_share = getattr(condition.workload, "read_share", 0.5)
        redis = condition.variant.redis
        cost_us = 100 * 2 * read_share * (not redis) + 200 * 2 * (1 - read_share)
        if read_share in (0.0, 1.0):
            cost_us /= 2
        closed.append(
            dict(condition.labels)
            | {
                "cell": condition.cell,
                "block": block,
                "throughput_ops_s": rate / (1 + block / 10),
                "requests": 100,
                "hit_rate": 1.0 if redis else math.nan,
                "statements_per_op": 1.0 if redis else 2.0,
                "backend_us_per_op": cost_us,
                "client_share": client_share,
                "load_mean_us": 100.0,
                "load_count": 50,
                "update_mean_us": 200.0,
                "update_count": 50,
                "request_mean_us": 1e6 / rate,
                "request_p50_us": 1e6 / rate,
                "request_p99_us": 2e6 / rate,
            }
        )
    histograms = []
    for block, condition in itertools.product(
        range(chosen.ladder_blocks), chosen.ladder_conditions(PEAKS, edges(chosen))
    ):
        rate = condition.labels["offered_s"]
        # 50 ms at 80 % of the peak, and steeper than any queue.
        p99_us = 50_000 * (rate / (0.8 * PEAKS[condition.variant.name])) ** 4
        ladder.append(
            dict(condition.labels)
            | {
                "cell": condition.cell,
                "block": block,
                "requests": int(rate),
                "offered": int(rate),
                "completed_share": 1.0,
                "unfinished_half": 10,
                "unfinished_end": 10,
                "client_share": client_share,
                "late_p99_us": 10.0,
                "request_p99_us": p99_us,
                "throughput_ops_s": rate,
                "statements_per_op": 1.0 if condition.variant.redis else 2.0,
            }
        )
        histograms.append(
            pd.DataFrame(
                {
                    "cell": [condition.cell],
                    "block": [block],
                    "operation": ["event"],
                    "low_us": [p99_us * 0.99],
                    "high_us": [p99_us * 1.01],
                    "count": [int(rate)],
                }
            )
        )
    return ConcurrencyRun(
        chosen,
        Measurements(pd.DataFrame(closed), pd.DataFrame(), [], ""),
        Measurements(pd.DataFrame(ladder), pd.concat(histograms), [], ""),
        PoolSizes(16, pd.DataFrame({"connections": [16], "a second": [1_000.0]})),
    )


def found(**options: Any) -> Findings:
    return find(run_of(**options))


def test_planted_capacities_and_their_ratio_are_found() -> None:
    findings = found()
    for name, peak in PEAKS.items():
        capacity = findings.capacities[name]
        assert capacity.interval.mean == pytest.approx(0.8 * peak, rel=1e-6)
        assert capacity.sign == ""
    gain, sign = capacity_gain(findings, "redis", "none")
    assert (gain.mean, sign) == (pytest.approx(1.5), "")
    gain, _sign = capacity_gain(findings, "gather + redis", "gather")
    assert gain.mean == pytest.approx(1.5), "the same gathering, not the uncached engine"


@pytest.mark.parametrize(
    "change",
    [
        {"completed_share": 0.98},
        {"client_share": 0.96, "late_p99_us": 5_100},
        {"unfinished_half": 100, "unfinished_end": 400},
    ],
    ids=["lost", "saturated", "backlog"],
)
def test_a_rung_that_was_not_sustained_ends_the_ladder_whatever_its_latency(
    change: dict[str, float],
) -> None:
    run = run_of()
    cells = run.ladder.cells
    first = cells[cells["mechanisms"] == "none"]["offered_s"].min()
    higher = (cells["mechanisms"] == "none") & (cells["offered_s"] > first)
    for column, value in change.items():
        cells[column] = cells[column].astype(float).where(~higher, value)
    capacity = find(run).capacities["none"].interval.mean
    assert first <= capacity < first * SETTINGS.step
    assert capacity < 0.8 * PEAKS["none"] / 1.2


@pytest.mark.parametrize("change", [{"client_share": 0.99}, {"late_p99_us": 5_100}])
def test_a_client_that_is_busy_or_late_for_another_reason_is_not_saturated(
    change: dict[str, float],
) -> None:
    run = run_of()
    for column, value in change.items():
        run.ladder.cells[column] = value
    findings = find(run)
    assert findings.capacities["none"].interval.mean == pytest.approx(800, rel=1e-6)
    assert findings.ladder["busy"].all() == ("client_share" in change)
    assert not findings.ladder["saturated"].any()


def test_saturated_clients_are_told_of() -> None:
    run = run_of(client_share=0.99)
    run.ladder.cells.loc[run.ladder.cells["mechanisms"] == "none", "late_p99_us"] = 5_100
    rungs = len(run.ladder.cells[run.ladder.cells["block"] == 0])
    said = next(one for one in sentences.limits(find(run)) if "saturated" in one)
    assert said.startswith(f"At {rungs} of {rungs} rungs the client used more than 95 % of a core.")
    assert f"at {SETTINGS.rungs} rungs, the client was saturated" in said


def test_a_rung_in_which_nothing_was_handled_failed_and_breaks_nothing() -> None:
    run = run_of()
    nothing = {"requests": 0, "completed_share": 0.0, "statements_per_op": 0.0}
    place = run.ladder.cells.index[run.ladder.cells["mechanisms"] == "none"][0]
    for column, value in (nothing | {"request_p99_us": math.nan}).items():
        run.ladder.cells.loc[place, column] = value
    findings = find(run)
    assert "exactly once" in assert_agreement(findings)
    assert 700 < findings.capacities["none"].interval.mean <= 801, "the fit evens one rung out"
    assert findings.ladder["p99_us"].notna().all()


def test_a_backlog_of_chance_does_not_end_a_ladder() -> None:
    run = run_of()
    run.ladder.cells["unfinished_end"] = 12
    assert find(run).capacities["none"].interval.mean == pytest.approx(800, rel=1e-6)


def test_pooled_percentiles_need_ten_thousand_latencies() -> None:
    ladder = found().ladder
    enough = ladder["latencies"] >= 10_000
    assert enough.any()
    assert not enough.all()
    assert ladder["pooled_p99_us"].notna().equals(enough)
    assert np.allclose(ladder["pooled_p99_us"][enough], ladder["p99_us"][enough], rtol=0.02)


def test_verdicts_name_both_conditions_and_the_bound() -> None:
    rows = {row["id"]: row for row in verdicts_of("concurrency", sentences.measured(found()))}
    assert rows["concurrent_uncached"]["verdict"] == "does not hold", "it does far more"
    assert rows["concurrent_cached"]["verdict"] == "holds"
    assert rows["event_capacity_cached"]["verdict"] == "holds"
    assert rows["evaluation_gain"]["verdict"] == "cannot hold", "1.5x at most"
    assert rows["event_capacity_gain"]["verdict"] in ("cannot hold", "does not hold")
    assert "both gather" in rows["concurrent_gain"]["why"]


@pytest.mark.parametrize(
    ("change", "uncached", "cached", "interval"),
    [
        (0.05, "does not hold", "holds", "≥ "),  # every rung was sustained
        (100.0, "not decided", "does not hold", "≤ "),  # none was
    ],
)
def test_a_ladder_that_missed_an_end_decides_what_the_other_end_does(
    change: float, uncached: str, cached: str, interval: str
) -> None:
    run = run_of()
    run.ladder.cells["request_p99_us"] *= change
    rows = {row["id"]: row for row in verdicts_of("concurrency", sentences.measured(find(run)))}
    for claim, word in (("event_capacity_uncached", uncached), ("event_capacity_cached", cached)):
        assert rows[claim]["verdict"] == word
        assert rows[claim]["interval"].startswith(interval)
    assert rows["event_capacity_gain"]["interval"] == "limits unknown", "both missed it"


def test_a_bound_of_the_database_is_given_only_where_it_is_the_bottleneck() -> None:
    def bounds(findings: Findings) -> list[float | None]:
        claims = ("concurrent_gain", "event_capacity_gain")
        return [one.bound for one in sentences.measured(findings) if one.claim in claims]

    # Without gathering, and beside it, where there is no bound.
    assert bounds(found(client_share=0.1)) == [pytest.approx(1.5), None] * 2
    assert bounds(found(client_share=0.9)) == [None] * 4


def test_nothing_is_judged_in_a_profile_that_no_claim_names() -> None:
    assert sentences.measured(found(chosen=replace(SETTINGS, profile="same-zone"))) == []


def test_an_event_of_another_number_of_statements_is_found() -> None:
    run = run_of()
    assert "exactly once" in assert_agreement(find(run))
    run.ladder.cells.loc[0, "statements_per_op"] = 1.9
    with pytest.raises(AssertionError, match="one load and one update"):
        assert_agreement(find(run))


def test_settings_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(StudyError, match="callers"):
        replace(SETTINGS, callers=[1, 16])
    with pytest.raises(StudyError, match="ladder"):
        replace(SETTINGS, step=1.0)


@pytest.mark.parametrize("blocks", [1, 8])
@pytest.mark.parametrize("seen", [True, False], ids=["", "foreign servers"])
def test_everything_is_said_and_drawn_without_a_warning(blocks: int, seen: bool) -> None:
    apply_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = run_of(chosen=replace(SETTINGS, blocks=blocks, ladder_blocks=blocks))
        if not seen:
            run.closed.cells["backend_us_per_op"] = math.nan
        findings = find(run)
        pictures = [
            picture(findings)
            for picture in (
                figures.callers_picture,
                figures.trade_picture,
                figures.latency_picture,
                figures.capacity_picture,
            )
        ]
        for picture in pictures:
            picture.figure.canvas.draw()
            plt.close(picture.figure)
            assert "loopback" in picture.caption
            assert len(picture.table)
        said = [*sentences.answer(findings), *sentences.limits(findings)]
        said += [one.why for one in sentences.measured(findings)]
    assert set(tables.CURVE_FORMATS) <= set(tables.curve_table(findings).columns)
    assert set(tables.LADDER_FORMATS) <= set(tables.ladder_table(findings).columns)
    assert len(tables.ladder_table(findings)) == len(VARIANTS) * SETTINGS.rungs
    if blocks > 1:
        assert not any("nan" in one for one in said)
