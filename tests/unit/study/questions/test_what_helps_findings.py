"""What each mechanism is credited with, from throughputs that are known."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.display import apply_style, figure_svg
from statecache.study.errors import StudyError
from statecache.study.harness.campaign import Measurements
from statecache.study.harness.variants import ALL, FACTORIAL, GATHER, NONE
from statecache.study.harness.workloads import Workload
from statecache.study.questions.memory import COMPRESSED, LARGE
from statecache.study.questions.what_helps import figures, sentences
from statecache.study.questions.what_helps.findings import Findings, check, find, measured
from statecache.study.questions.what_helps.measure import (
    MECHANISMS,
    Helps,
    HelpsSettings,
    cell_name,
    conditions,
)

CHOSEN = HelpsSettings(
    blocks=8, seconds=0.1, callers=(32, 100), pool_sizes=(4, 8), pool_blocks=2, keys=100,
    read_share=0.8, seed=1,
)  # fmt: skip
BEST = {32: 8, 100: 4}
RATES = {
    "none": 1_000.0, "gather": 5_000.0, "redis": 800.0, "gather + redis": 6_000.0,
    "redis + memory": 1_600.0, "gather + redis + memory": 9_000.0,
}  # fmt: skip


def helps(
    blocks: int = 8, rates: dict[str, float] | None = None, factors: list[float] | None = None
) -> Helps:
    """Every cell of a variant has the same throughput, but for the block's factor."""
    rates = RATES if rates is None else rates
    rows: list[dict[str, Any]] = []
    for block in range(blocks):
        for condition in conditions(CHOSEN, BEST):
            variant = condition.variant
            rate = rates.get(variant.name, 700.0) * (0.9 if condition.cold else 1.0)
            rows.append(
                {
                    "cell": condition.cell, "variant": variant.name, "profile": "loopback",
                    "block": block, **condition.labels,
                    "throughput_ops_s": rate * (1.0 if factors is None else factors[block]),
                    "request_p99_us": 5_000.0, "hit_rate": 1.0 if variant.redis else float("nan"),
                    "statements_per_op": 1.0 if variant == NONE else 0.2,
                    "backend_us_per_op": 100.0, "client_us_per_op": 150.0,
                    "redis_commands_per_op": 2.0 if variant.redis else 0.0,
                    "absorbed_share": 0.25 * (condition.workload.popularity == "zipf")
                    * variant.gather,
                    "client_share": 0.5, "foreign_share": 0.1, "is_cold": condition.cold,
                }
            )  # fmt: skip
    pools = pd.DataFrame(
        {
            "connections": [4, 8, 4, 8], "a second": [900.0, 1_000.0, 1_000.0, 900.0],
            "callers": [32, 32, 100, 100], "best": [False, True, True, False],
        }
    )  # fmt: skip
    measurements = Measurements(pd.DataFrame(rows), pd.DataFrame(), [], "Nothing was pinned.")
    memory = pd.DataFrame(
        {"kind": [LARGE.name, LARGE.name, COMPRESSED.name], "bytes": [4_000, 4_400, 2_100]}
    )
    return Helps(replace(CHOSEN, blocks=blocks), measurements, pools, memory)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return find(helps())


def test_every_condition_is_measured_once_with_the_best_pool() -> None:
    chosen = conditions(CHOSEN, BEST)
    names = [one.cell for one in chosen]
    assert len(names) == len(set(names))
    assert {(one.labels["callers"], one.pool_size) for one in chosen} == {(32, 8), (100, 4)}
    for callers in CHOSEN.callers:
        for workload in ("zipf", "uniform"):
            assert {cell_name(one, workload, callers) for one in FACTORIAL} <= set(names)


def test_a_mechanism_is_compared_with_what_differs_in_nothing_else() -> None:
    for one in MECHANISMS:
        if one.cold:
            assert one.on == one.off
            continue
        changed = replace(
            one.on,
            mark=one.off.mark,
            settings=one.off.settings,
            synchronous_commit=one.off.synchronous_commit,
            outside_writes=one.off.outside_writes,
        )
        assert changed == one.off != one.on
        differences = [
            one.on.settings != one.off.settings,
            one.on.synchronous_commit != one.off.synchronous_commit,
            one.on.outside_writes != one.off.outside_writes,
        ]
        assert sum(differences) == 1, one.name


@given(
    st.fixed_dictionaries({name: st.floats(10, 1e5) for name in RATES}),
    st.lists(st.floats(0.2, 5.0), min_size=8, max_size=8),
)
@settings(max_examples=10, deadline=None)
def test_the_shares_multiply_to_the_whole(rates: dict[str, float], factors: list[float]) -> None:
    found = find(helps(rates=rates, factors=factors))

    def share(name: str) -> float:
        return found.effect(name, "zipf", 32).mean

    whole = found.gain(ALL, "zipf", 32).mean
    assert whole == pytest.approx(rates[ALL.name] / rates[NONE.name])
    assert share("gathering, no cache") * share("both caches, gathered") == pytest.approx(whole)
    assert share("Redis, gathered") * share("in-process tier, gathered") == pytest.approx(
        share("both caches, gathered")
    )
    assert share("Redis, not gathered") * share("gathering, with Redis") == pytest.approx(
        share("gathering, no cache") * share("Redis, gathered")
    )
    assert found.noise == pytest.approx((1.0, 1.0, 1.0))


def test_the_answer_credits_gathering_apart_from_the_cache(findings: Findings) -> None:
    first, second, cache, absorbed, _memory, others = sentences.answer(findings)
    for part in ("32 callers", "9x", "best pool of 8", "which is not caching, 5x", "1.8x"):
        assert part in first
    assert "100 callers" in second
    assert "best pool of 4" in second
    for part in ("Redis 0.8x", "1.2x", "1.5x"):
        assert part in cache
    assert "25.0 %" in absorbed
    assert "0.0 %" in absorbed
    assert "slower:" in others
    assert "synchronous_commit off" in others


def test_few_blocks_decide_nothing() -> None:
    found = find(helps(blocks=2))
    assert "none changed the throughput" in sentences.answer(found)[-1]
    assert any("2 blocks decide nothing" in said for said in sentences.limits(found))


def test_a_cold_cell_that_could_not_be_cold_is_said_to_be_warm(findings: Findings) -> None:
    assert findings.is_cold
    warm = helps()
    warm.measurements.cells["is_cold"] = False
    assert any("is warm" in said for said in sentences.limits(find(warm)))


def test_the_table_has_a_row_a_variant_and_what_was_counted(findings: Findings) -> None:
    table = findings.table.set_index(["mechanisms", "keys", "callers"])
    assert len(table) == len(FACTORIAL) * 2 * 2
    assert table.loc[(ALL.name, "zipf", 100), "times"] == pytest.approx(9.0)
    assert table.loc[(GATHER.name, "zipf", 32), "writes absorbed (%)"] == 25.0
    assert len(findings.other_table) == len(MECHANISMS)


@pytest.mark.parametrize(
    ("column", "variant", "value"),
    [("absorbed_share", "redis", 0.1), ("statements_per_op", "none", 0.9),
     ("statements_per_op", "gather", 1.1)],
)  # fmt: skip
def test_what_holds_on_any_machine_is_checked(column: str, variant: str, value: float) -> None:
    wrong = helps()
    check(find(wrong))
    cells = wrong.measurements.cells
    cells.loc[cells["cell"] == f"{variant}, zipf, 32 callers", column] = value
    with pytest.raises(StudyError, match=f"^{variant}, zipf"):
        check(find(wrong))


def test_no_claim_is_judged_here(findings: Findings) -> None:
    assert measured(findings) == []


@pytest.mark.parametrize("blocks", [1, 8])
@pytest.mark.parametrize("name", figures.__all__)
def test_figures_are_drawn_and_name_their_profile(name: str, blocks: int) -> None:
    apply_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = getattr(figures, name)(find(helps(blocks=blocks)))
        assert figure_svg(picture.figure).startswith("<svg")
    assert "loopback" in picture.caption
    assert picture.alt
    assert len(picture.table)
    plt.close(picture.figure)


def test_compression_is_weighed(findings: Findings) -> None:
    assert findings.bytes_of(LARGE) == 4_200
    assert any(
        "2,100 B in Redis instead of 4,200 (0.50x)" in one for one in sentences.answer(findings)
    )


def test_a_recorded_stream_takes_the_place_of_the_mix(tmp_path: Path) -> None:
    path = tmp_path / "stream.parquet"
    columns = {"time_s": [0.0, 1.0, 2.0, 3.0], "key": list("abac"), "op": ["read"] * 3 + ["write"]}
    pd.DataFrame(columns).to_parquet(path)
    chosen = replace(CHOSEN, trace=str(path))
    assert chosen.mixes == ("recorded", "uniform")
    by_name = {one.labels["workload"]: one.workload for one in conditions(chosen, BEST)}
    assert by_name["recorded"] == Workload(trace=str(path))
    assert by_name["uniform"].read_share == 0.75
