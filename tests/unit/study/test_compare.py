from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from statecache.study.compare import Comparison, ComparisonError, compare_runs, direction
from statecache.study.intervals import LogRatio, holm
from statecache.study.runfolder import RunFolder

SET_UP: dict[str, Any] = {
    "study": "standard",
    "status": "complete",
    "started": "2026-01-01T00:00:00Z",
    "profile": "loopback",
    "parameters": {"latency": {"callers": 8}},
    "machine": {"cpu": "A", "cores": 2, "memory_gib": 8.0, "os": "Linux 6", "load_1m": 0.1},
}
Edit = Callable[[pd.DataFrame], None]


def frame(seed: int, blocks: int = 8, **factors: float) -> pd.DataFrame:
    """Return measurements with 3 % noise around the same values, times the factors."""
    rng = np.random.default_rng(seed)
    typical = {"throughput_ops_s": 1_000.0, "load_p50_us": 150.0, "hit_rate": 0.8}
    rows = [
        {"cell": cell, "variant": variant, "profile": "loopback", "block": block, "callers": 8}
        | {
            name: value * factors.get(name, 1.0) * math.exp(rng.normal(0, 0.03))
            for name, value in typical.items()
        }
        for cell in ("8 callers", "32 callers")
        for variant in ("uncached", "redis")
        for block in range(blocks)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed)


def run(root: Path, measurements: pd.DataFrame, **changes: Any) -> RunFolder:
    folder = RunFolder.create(root, "standard", "2026-01-01T00:00:00Z")
    folder.update_run(**SET_UP | changes)
    folder.write_frame("latency.measurements", measurements)
    return folder


def words(comparison: Comparison, metric: str) -> set[str]:
    return {line.word for line in comparison.lines if line.metric == metric}


def compared(root: Path, before: pd.DataFrame, after: pd.DataFrame, **more: Any) -> Comparison:
    return compare_runs(run(root, before), run(root, after), **{"margin": 0.05} | more)


def test_every_metric_of_every_cell_is_compared_by_welch_s_t(tmp_path: Path) -> None:
    before, after = frame(1), frame(2)
    found = compared(tmp_path, before, after)
    assert len(found.lines) == 4 * 3
    assert {line.notebook for line in found.lines} == {"latency"}
    line = found.lines[0]
    assert line.metric == "throughput_ops_s"
    sides = [
        one[(one["cell"] + ", " + one["variant"] + ", loopback") == line.cell][line.metric]
        for one in (after, before)
    ]
    expected = LogRatio.independent(*(side.tolist() for side in sides))
    assert line.ratio == pytest.approx(expected.interval(0.95))
    assert line.before == pytest.approx(math.exp(np.log(sides[1]).mean()))
    assert line.after / line.before == pytest.approx(line.ratio.mean)
    assert line.p_value == pytest.approx(min(1.0, line.p_value))


def test_p_values_are_adjusted_over_all_metrics(tmp_path: Path) -> None:
    before, after = frame(1), frame(2)
    found = compared(tmp_path, before, after)
    plain = []
    for line in found.lines:
        sides = [
            one[(one["cell"] + ", " + one["variant"] + ", loopback") == line.cell][line.metric]
            for one in (after, before)
        ]
        plain.append(LogRatio.independent(*(side.tolist() for side in sides)).p_differs())
    assert [line.p_value for line in found.lines] == pytest.approx(holm(plain))


def test_a_run_against_itself_shows_nothing(tmp_path: Path) -> None:
    found = compared(tmp_path, frame(1), frame(1))
    assert {line.word for line in found.lines} == {"no difference shown"}
    assert {line.ratio.mean for line in found.lines} == {1.0}


@pytest.mark.parametrize(
    ("metric", "worse", "better"),
    [("throughput_ops_s", 0.8, 1.25), ("load_p50_us", 1.25, 0.8), ("hit_rate", 0.8, 1.25)],
)
def test_a_metric_has_a_bad_direction(
    tmp_path: Path, metric: str, worse: float, better: float
) -> None:
    others = {"throughput_ops_s", "load_p50_us", "hit_rate"} - {metric}
    found = compared(tmp_path, frame(1), frame(2, **{metric: worse}))
    assert words(found, metric) == {"regression"}
    assert {word for other in others for word in words(found, other)} == {"no difference shown"}
    found = compared(tmp_path, frame(1), frame(2, **{metric: better}))
    assert words(found, metric) == {"better"}
    assert found.of("regression") == []


def test_a_regression_is_shown_to_be_beyond_the_margin(tmp_path: Path) -> None:
    # 2 % of noise over 16 blocks: an error of .7 % of the ratio.
    slower = frame(2, blocks=64, load_p50_us=1.04)
    found = compared(tmp_path, frame(1, blocks=64), slower)
    assert words(found, "load_p50_us") == {"worse"}, "4 % are shown, but not more than 5"
    assert words(compared(tmp_path, frame(1, blocks=64), slower, margin=0.01), "load_p50_us") == {
        "regression"
    }
    assert words(
        compared(tmp_path, frame(1), frame(2, load_p50_us=1.25), margin=0.5), "load_p50_us"
    ) == {"worse"}


def test_the_other_way_round_the_ratio_is_the_inverse(tmp_path: Path) -> None:
    there = compared(tmp_path, frame(1), frame(2, load_p50_us=1.3))
    back = compared(tmp_path, frame(2, load_p50_us=1.3), frame(1))
    for line in there.lines:
        (other,) = [one for one in back.lines if one[:3] == line[:3]]
        mean, low, high = line.ratio
        assert other.ratio == pytest.approx((1 / mean, 1 / high, 1 / low))
        assert other.p_value == pytest.approx(line.p_value)


def test_one_repetition_decides_nothing(tmp_path: Path) -> None:
    found = compared(tmp_path, frame(1), frame(2, blocks=1, load_p50_us=3.0))
    assert {line.word for line in found.lines} == {"not decided"}


def test_rows_of_a_block_are_one_repetition(tmp_path: Path) -> None:
    # The same value ten times is no evidence: the interval is that of the blocks.
    often = pd.concat([frame(2, blocks=2, load_p50_us=1.1)] * 10)
    once = compared(tmp_path, frame(1), frame(2, blocks=2, load_p50_us=1.1))
    again = compared(tmp_path, frame(1), often)
    assert [line.ratio.high for line in again.lines] == pytest.approx(
        [line.ratio.high for line in once.lines]
    )


def test_what_only_one_run_has_and_what_is_no_metric_is_left_out(tmp_path: Path) -> None:
    before = frame(1).assign(late_p99_us=1.0, commit_p50_us=5.0, reads=10)
    after = frame(2).assign(late_p99_us=9.0, reads=20)
    after = after[after["cell"] != "32 callers"]
    found = compared(tmp_path, before, after)
    assert len(found.lines) == 2 * 3
    assert {line.metric for line in found.lines} == {"throughput_ops_s", "load_p50_us", "hit_rate"}
    assert not any("32 callers" in line.cell for line in found.lines)


def test_values_without_a_logarithm_are_left_out(tmp_path: Path) -> None:
    before = frame(1)
    before.loc[before["variant"] == "uncached", "hit_rate"] = float("nan")
    before.loc[before["variant"] == "redis", "load_p50_us"] = 0.0
    found = compared(tmp_path, before, frame(2))
    assert sum(line.metric == "hit_rate" for line in found.lines) == 2
    assert all("uncached" in line.cell for line in found.lines if line.metric == "load_p50_us")


def test_what_is_void_is_left_out(tmp_path: Path) -> None:
    before = frame(1).assign(request_p99_us=900.0, p99_void=lambda one: one["variant"] == "redis")
    before["load_p99_us"] = 800.0
    found = compared(tmp_path, before, before)
    cells = {line.cell for line in found.lines if line.metric == "request_p99_us"}
    assert cells == {"8 callers, uncached, loopback", "32 callers, uncached, loopback"}
    assert sum(line.metric == "load_p99_us" for line in found.lines) == 4


def test_a_frame_of_the_ttl_sweep_is_compared_too(tmp_path: Path) -> None:
    rows = [
        {"start": start, "attempt": 1, "variant": variant, "ttl_min": ttl, "hit_rate": rate}
        for start in ("2013-02-04", "2013-06-10", "2013-10-07")
        for variant, ttl, rate in (("uncached", math.nan, math.nan), ("ttl_60m", 60.0, 0.6))
    ]
    found = compared(tmp_path, pd.DataFrame(rows), pd.DataFrame(rows))
    assert [(line.cell, line.metric) for line in found.lines] == [("ttl_60m", "hit_rate")]
    assert found.lines[0].word == "no difference shown"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"study": "quick"}, r"study \(standard, quick\)"),
        ({"profile": "documented"}, r"profile \(loopback, documented\)"),
        ({"parameters": {"latency": {"callers": 9}}}, r"parameter latency.callers \(8, 9\)"),
        ({"parameters": {"latency": {}}}, r"parameter latency.callers \(8, not given\)"),
        ({"parameters": SET_UP["parameters"] | {"x": {}}}, "notebook x"),
        ({"machine": SET_UP["machine"] | {"cpu": "B"}}, r"machine's cpu \(A, B\)"),
        ({"machine": SET_UP["machine"] | {"cores": 4}}, r"machine's cores \(2, 4\)"),
    ],
)
def test_runs_of_different_set_ups_are_compared_only_anyway(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    before, after = run(tmp_path, frame(1)), run(tmp_path, frame(2), **changes)
    with pytest.raises(ComparisonError, match=said) as caught:
        compare_runs(before, after, margin=0.05)
    assert "--anyway" in str(caught.value)
    found = compare_runs(before, after, margin=0.05, anyway=True)
    assert len(found.lines) == 12
    assert len(found.despite) == 1


def test_another_load_of_the_machine_or_other_packages_may_be_compared(tmp_path: Path) -> None:
    machine = SET_UP["machine"] | {"load_1m": 5.0}
    after = run(tmp_path, frame(2), machine=machine, packages={"redis": "9"})
    assert compare_runs(run(tmp_path, frame(1)), after, margin=0.05).despite == []


def test_runs_without_anything_in_common_are_refused(tmp_path: Path) -> None:
    other = frame(2).assign(cell="another")
    with pytest.raises(ComparisonError, match="no metric of a cell in common"):
        compared(tmp_path, frame(1), other)


@pytest.mark.parametrize("missing", [["block"], ["cell", "variant", "profile"]])
def test_a_frame_that_names_no_repetitions_or_cells_is_refused(
    tmp_path: Path, missing: list[str]
) -> None:
    with pytest.raises(ComparisonError, match="latency do not name their cells and repetitions"):
        compared(tmp_path, frame(1).drop(columns=missing), frame(2))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    before, after = run(tmp_path, frame(1)), run(tmp_path, frame(2))
    (after.path / "latency.measurements.parquet").write_bytes(b"no parquet")
    with pytest.raises(ComparisonError, match="cannot be read as a table"):
        compare_runs(before, after, margin=0.05)


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        *((name, "higher") for name in ("throughput_ops_s", "hit_rate", "events_s")),
        *((name, "lower") for name in ("load_p999_us", "load_mean_us", "update_p50_us")),
        *((name, "lower") for name in ("statements_per_op", "backend_cpu_us_per_op")),
        *((name, "lower") for name in ("client_cpu_share", "cpu_share", "statements")),
        *((name, "lower") for name in ("backend_us_per_op", "redis_us_per_op", "client_share")),
        *((name, None) for name in ("load_max_us", "offered", "requests", "seconds")),
        *((name, None) for name in ("late_p99_us", "reads", "ttl_min", "live_ttl_ms", "block")),
        *((name, None) for name in ("hit_rate_planned", "hit_rate_executed")),
    ],
)
def test_the_directions(metric: str, better: str | None) -> None:
    assert direction(metric) == better
