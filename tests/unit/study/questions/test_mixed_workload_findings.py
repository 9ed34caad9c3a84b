"""What is found in the mixed workload: planted costs and hit rates come out as the laws say."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.display import apply_style
from statecache.study.errors import StudyError
from statecache.study.harness.campaign import Measurements
from statecache.study.harness.pool_sizes import PoolSizes
from statecache.study.publish import verdicts_of
from statecache.study.questions.mixed_workload import figures, sentences, tables
from statecache.study.questions.mixed_workload.findings import (
    Findings,
    assert_agreement,
    find,
)
from statecache.study.questions.mixed_workload.measure import MixedRun, MixedSettings

SETTINGS = MixedSettings(
    read_shares=[0.5, 0.8],
    ttls_s=[0.05, 600.0],
    gathered_ttls_s=[600.0],
    callers=32,
    keys=1_000,
    zipf_exponent=1.0,
    seconds=0.1,
    blocks=8,
    pool_sizes=[16],
    pool_blocks=1,
    seed=1,
)


def run_of(
    *,
    hit_rate: float = 1.0,
    write_cost: float = 2.0,
    client_share: float = 0.1,
    chosen: MixedSettings = SETTINGS,
) -> MixedRun:
    """Return a run in which PostgreSQL is the bottleneck: a read costs 100 µs, a hit nothing.

    Entries of the longest TTL hit at this rate, others half as often. Gathering makes statements
    ten times cheaper. Each block is slower than the one before, for everybody.
    """
    rows = []
    for block in range(chosen.blocks):
        for condition in chosen.conditions():
            read_share = condition.workload.read_share  # type: ignore[union-attr]
            variant = condition.variant
            longest = variant.ttl_s >= chosen.longest_ttl_s
            hits = (hit_rate if longest else hit_rate / 2) if variant.redis else math.nan
            missed = 1 - (hits if variant.redis else 0.0)
            per_statement = 0.1 if variant.gather else 1.0
            reads, writes = read_share * missed, 1 - read_share
            cost_us = per_statement * (100 * reads + 100 * write_cost * writes)
            # A little for a cache that would save everything: nothing is infinitely fast.
            cost_us = max(cost_us, 1.0)
            rows.append(
                dict(condition.labels)
                | {
                    "cell": condition.cell,
                    "block": block,
                    "throughput_ops_s": 1e6 / cost_us / (1 + block / 10),
                    "requests": 1_000,
                    "hits": 1_000 * read_share * (1 - missed),
                    "coalesced": 0,
                    "hit_rate": hits,
                    "statements_per_op": per_statement * (reads + writes),
                    "backend_us_per_op": cost_us,
                    "absorbed_share": 0.0,
                    "client_share": client_share,
                    "puts_late": 0,
                    "load_mean_us": 100.0,
                    "load_count": 800,
                    "update_mean_us": 100 * write_cost,
                    "update_count": 200,
                    "request_p50_us": 100.0,
                    "request_p99_us": 200.0,
                }
            )
    cells = pd.DataFrame(rows)
    return MixedRun(
        chosen,
        Measurements(cells, pd.DataFrame(), [], ""),
        PoolSizes(16, pd.DataFrame({"connections": [16], "a second": [1_000.0]})),
    )


def found(**options: Any) -> Findings:
    return find(run_of(**options))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 1.0), st.floats(0.5, 8.0))
def test_savings_and_gain_are_the_bounds_where_hits_are_free(
    hit_rate: float, write_cost: float
) -> None:
    findings = found(hit_rate=hit_rate, write_cost=write_cost)
    for share in SETTINGS.read_shares:
        for ttl_s, hits in ((600.0, hit_rate), (0.05, hit_rate / 2)):
            row = findings.row("redis", share, ttl_s)
            cost = share / (share + (1 - share) * write_cost)
            assert row["saved"] == pytest.approx(share * hits)
            assert row["saved"] == pytest.approx(row["served"])
            assert row["cost_bound"] == pytest.approx(cost * hits)
            assert row["cpu_saved"] == pytest.approx(cost * hits)
            assert row["gain"] == pytest.approx(1 / (1 - cost * hits)), "the blocks cancel out"
            assert row["gain"] == pytest.approx(row["gain_bound"])
    assert findings.costs.write_over_read == pytest.approx(write_cost)


def test_redis_beside_gathering_is_compared_with_gathering() -> None:
    findings = found(hit_rate=0.5)
    gathered = findings.row("gather + redis", 0.8, 600.0)
    alone = findings.row("redis", 0.8, 600.0)
    assert gathered["gain"] == pytest.approx(alone["gain"])
    assert gathered["total"] == pytest.approx(10 * alone["gain"]), "the rest is gathering"
    assert math.isnan(gathered["gain_bound"])


def words(findings: Findings) -> dict[str, str]:
    rows = verdicts_of("mixed_workload", sentences.measured(findings))
    return {row["id"]: row["verdict"] for row in rows}


def test_verdicts_follow_from_the_bounds() -> None:
    judged = words(found())
    assert judged["database_queries"] == "holds in part", "80 % at 80 % reads, 50 % at 50 %"
    assert judged["database_load"] == "cannot hold" or judged["database_load"] == "does not hold"
    assert judged["mixed_gain"] == "cannot hold", "3x at most"
    assert judged["throughput_uncached"] == "does not hold"
    assert judged["throughput_cached"] == "holds"


def test_a_bound_of_the_database_is_given_only_where_it_is_the_bottleneck() -> None:
    busy_database, busy_client = found(client_share=0.1), found(client_share=1.5)
    assert [one.bound for one in _gains(busy_database)] == [pytest.approx(3.0), None]
    assert [one.bound for one in _gains(busy_client)] == [None, None]
    assert "client is busier" in _gains(busy_client)[0].why


def _gains(findings: Findings) -> list[Any]:
    return [one for one in sentences.measured(findings) if one.claim == "throughput_gain"]


def test_few_blocks_decide_nothing_that_was_timed() -> None:
    judged = words(found(chosen=replace(SETTINGS, blocks=3)))
    assert judged["throughput_cached"] == "not decided"
    assert judged["database_queries"] == "holds in part", "that is counted"


def test_a_statement_too_many_is_found() -> None:
    run = run_of()
    assert "no acknowledged write was lost" in assert_agreement(find(run))
    cells = run.measurements.cells
    place = cells.index[cells["mechanisms"] == "redis"][3]
    cells.loc[place, "statements_per_op"] += 0.001
    with pytest.raises(AssertionError, match="redis"):
        assert_agreement(find(run))


def test_settings_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(StudyError, match=r"0\.8"):
        replace(SETTINGS, read_shares=[0.5])
    with pytest.raises(StudyError, match="between 0 and 1"):
        replace(SETTINGS, read_shares=[0.8, 1.0])
    with pytest.raises(StudyError, match="longest"):
        replace(SETTINGS, gathered_ttls_s=[0.05])
    with pytest.raises(StudyError, match="choose from"):
        replace(SETTINGS, gathered_ttls_s=[7.0])


@pytest.mark.parametrize("blocks", [1, 8])
@pytest.mark.parametrize("seen", [True, False], ids=["", "foreign servers"])
def test_everything_is_said_and_drawn_without_a_warning(blocks: int, seen: bool) -> None:
    apply_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = run_of(chosen=replace(SETTINGS, blocks=blocks))
        if not seen:
            run.measurements.cells["backend_us_per_op"] = math.nan
        findings = find(run)
        pictures = [
            picture(findings)
            for picture in (figures.heat_picture, figures.saved_picture, figures.gain_picture)
        ]
        for picture in pictures:
            picture.figure.canvas.draw()
            plt.close(picture.figure)
            assert "loopback" in picture.caption
            assert len(picture.table)
        said = [*sentences.answer(findings), *sentences.limits(findings)]
        said.append(tables.table_caption(findings))
        said += [one.why for one in sentences.measured(findings)]
        if blocks > 1:
            said += [picture.caption + picture.alt for picture in pictures]
    assert set(tables.TABLE_FORMATS) <= set(tables.table(findings).columns)
    assert len(tables.table(findings)) == 2 * 6
    if blocks > 1:
        assert not any("nan" in one for one in said)
