"""What is said of where a cache pays, from cells made up here."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from statecache.study.checkout import find_root
from statecache.study.claims import load_claims
from statecache.study.display import apply_style
from statecache.study.errors import StudyError
from statecache.study.profiles import calibration_table
from statecache.study.profiles.calibration import Calibration
from statecache.study.questions.where_it_pays import figures
from statecache.study.questions.where_it_pays.findings import check, find
from statecache.study.questions.where_it_pays.measure import Measured, Settings
from statecache.study.questions.where_it_pays.model import Costs
from statecache.study.questions.where_it_pays.sentences import answer, limits, measured
from statecache.study.questions.where_it_pays.tables import cost_table, memory_table
from statecache.study.verdicts import judge_all

COSTS = Costs(read=0.2, write=1.0, hit=0.15, miss=0.5, write_through=1.15)
SETTINGS = Settings(
    profiles=["loopback", "documented"],
    blocks=8,
    cell_s=0.1,
    keys=100,
    read_share=0.8,
    short_ttl_s=0.5,
    states=10,
)
ADDED_MS = {"loopback": 0.0, "documented": 2.4}
HITS = {"hits": 1.0, "some": 0.6}


def cells(**changes: Any) -> pd.DataFrame:
    """Return cells that obey the model, a little off from block to block, alike in each."""
    rows = []
    kinds = [("none", 0.8), ("hits", 0.8), ("some", 0.8), ("none", 0.5), ("hits", 0.5)]
    for profile, added in ADDED_MS.items():
        for block in range(8):
            noise = 1 + 0.01 * ((block * 5) % 8 - 3.5)
            for place, (cache, reads) in enumerate(kinds):
                off = 1e3 * noise * (1 + 0.002 * ((block + place) % 3 - 1))
                hit_rate = HITS.get(cache, float("nan"))
                if cache == "none":
                    load, update = COSTS.read + added, COSTS.write + added
                else:
                    load = hit_rate * COSTS.hit + (1 - hit_rate) * (COSTS.miss + added)
                    update = COSTS.write_through + added
                rows.append(
                    {
                        "cell": f"{cache}, {reads}",
                        "profile": profile,
                        "block": block,
                        "reads": reads,
                        "cache": cache,
                        "callers": 1,
                        "load_mean_us": load * off,
                        "update_mean_us": update * off,
                        "request_mean_us": (reads * load + (1 - reads) * update) * off,
                        "hit_rate": hit_rate,
                        "statements_per_op": 1.0 if cache == "none" else 0.3,
                        "backend_us_per_op": (100.0 if cache == "none" else 60.0) * noise,
                        "redis_us_per_op": (1.0 if cache == "none" else 20.0) * noise,
                        "client_us_per_op": 200.0,
                    }
                )
    frame = pd.DataFrame(rows)
    for name, value in changes.items():
        frame[name] = value
    return frame


def found(void: dict[str, str] | None = None, **changes: Any) -> Measured:
    calibration = Calibration("database", 2.4, 2.4, 2.5, 100.0, 40.0, 100)
    memory = pd.DataFrame(
        {
            "kind": ["documented"] * 10 + ["large"] * 10,
            "json_bytes": [24] * 10 + [1_000] * 10,
            "bytes": [104, 106] * 5 + [1_100] * 10,
        }
    )
    return Measured(
        SETTINGS,
        cells(**changes),
        pd.DataFrame(),
        calibration_table("documented", [calibration]),
        memory,
        void or {},
        0,
    )


def test_the_costs_of_the_model_are_read_off_the_loopback_cells() -> None:
    costs = find(found()).costs
    for name in ("read", "write", "hit", "miss", "write_through"):
        assert getattr(costs, name) == pytest.approx(getattr(COSTS, name), rel=0.01)


def test_points_lie_where_the_model_says_and_are_told_apart() -> None:
    points = find(found()).points
    assert len(points) == 6
    assert (points["ratio"] / points["predicted_ratio"] - 1).abs().max() < 0.02
    words = points.set_index(["profile", "reads", "cache"])["word"]
    assert words["documented", 0.8, "hits"] == "pays"
    assert words["loopback", 0.8, "some"] == "costs"


def test_the_break_even_is_the_models_with_an_interval() -> None:
    findings = find(found())
    table = findings.break_even
    for _place, row in table.iterrows():
        exact = float(COSTS.read_time(COSTS.frontier(row["reads"], row["hit_rate"])))
        assert row["read_ms"] == pytest.approx(exact, rel=0.05)
        assert row["low"] <= row["read_ms"] <= row["high"]


def test_the_headline_says_below_which_distance_not_to_cache() -> None:
    headline, costs, weight = answer(find(found()))
    assert "don't cache for latency" in headline
    exact = float(COSTS.read_time(COSTS.frontier(0.8, 0.9)))
    assert f"{exact:.2f}" in headline
    assert "200 s of CPU without a cache and 120 s with one, and Redis 40 s: less" in costs
    assert "105 bytes" in weight


def test_a_cache_that_pays_at_once_is_said_to() -> None:
    sound = found()
    near = sound.cells
    near.loc[near["cache"] != "none", "update_mean_us"] = 1_000.0
    near.loc[near["cache"] == "some", "load_mean_us"] = 150.0
    assert "pays from loopback on" in answer(find(sound))[0]


def test_claims_are_judged_and_void_profiles_are_not() -> None:
    claims = load_claims(find_root())
    here = {key: one for key, one in claims.items() if "where_it_pays" in one.notebooks}
    rows = judge_all(here, measured(find(found())))
    words = {(row["id"], row["profile"]): row["verdict"] for row in rows}
    assert words["memory_per_trigger", "loopback"] == "holds"
    assert words["infrastructure_cost", "loopback"] == "holds"
    assert words["infrastructure_cost", "documented"] == "holds"
    void = find(found({"documented": "it is off."}))
    assert {one.profile for one in measured(void)} == {"loopback"}
    assert void.points.loc[void.points["profile"] == "documented", "void"].all()
    assert any("documented is void: it is off." in limit for limit in limits(void))


def test_without_cpu_times_nothing_is_said_of_costs() -> None:
    findings = find(found(backend_us_per_op=float("nan")))
    assert [one.claim for one in measured(findings)] == ["memory_per_trigger"]
    assert cost_table(findings).empty
    assert any("CPU time cannot be read" in limit for limit in limits(findings))
    assert len(answer(findings)) == 2


def test_cells_that_were_not_what_they_are_called_end_the_notebook() -> None:
    assert "bear out" in check(find(found()))
    with pytest.raises(AssertionError, match="every operation is one statement"):
        check(find(found(statements_per_op=1.1)))
    with pytest.raises(AssertionError, match="loads hit"):
        check(find(found(hit_rate=0.9)))


def test_memory_is_told_for_a_million_triggers() -> None:
    table = memory_table(find(found()))
    assert table["a million triggers (MiB)"].iloc[0] == pytest.approx(105 * 1e6 / 2**20)


def test_the_figures_are_drawn_without_a_warning() -> None:
    apply_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in (found(), found({"documented": "it is off."})):
            for draw in (figures.frontier_picture, figures.ratio_picture):
                picture = draw(find(one))
                picture.figure.canvas.draw()
                assert picture.alt
                assert "loopback" in picture.caption
                assert not picture.table.empty
                plt.close(picture.figure)


def test_without_loopback_there_is_no_model() -> None:
    with pytest.raises(StudyError, match="name loopback"):
        Settings(
            profiles=["documented"],
            blocks=1,
            cell_s=0.1,
            keys=1,
            read_share=0.8,
            short_ttl_s=1.0,
            states=1,
        )


def test_a_mix_that_is_measured_anyway_is_refused() -> None:
    with pytest.raises(StudyError, match=r"the mix has 0\.5 reads"):
        replace(SETTINGS, read_share=0.5)


def test_costs_that_differ_under_load_hold_in_part() -> None:
    sound = found()
    events = sound.cells[(sound.cells["reads"] == 0.5) & (sound.cells["profile"] == "loopback")]
    busy = events.assign(callers=8, redis_us_per_op=90.0)
    findings = find(replace(sound, cells=pd.concat([sound.cells, busy], ignore_index=True)))
    claims = load_claims(find_root())
    rows = judge_all({"infrastructure_cost": claims["infrastructure_cost"]}, measured(findings)[1:])
    assert rows[0]["verdict"] == "holds in part"
    assert "8 callers" in rows[0]["why"]
    assert "more in all" in answer(findings)[1]
    assert list(cost_table(findings)["callers"]) == [1, 8, 1]
