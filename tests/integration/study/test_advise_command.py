"""``statecache advise``: exit codes, and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from statecache import _commands
from statecache.study.replay import hit_curve
from statecache.study.traces import read_trace


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Advise = Callable[..., Done]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Fifty keys, each read about every 50 s and written now and then, for two hours."""
    draw = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "time_s": np.sort(draw.uniform(0, 7_200, 8_000)),
            "key": [f"trigger_{key}" for key in draw.integers(0, 50, 8_000)],
            "op": np.where(draw.random(8_000) < 0.9, "read", "write"),
            "size": 400,
        }
    )
    path = tmp_path / "trace.parquet"
    frame.to_parquet(path)
    return path


@pytest.fixture
def advise(
    trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Advise:
    def run(*words: str, path: str = str(trace)) -> Done:
        monkeypatch.setattr(sys, "argv", ["statecache", "advise", path, *words])
        capsys.readouterr()
        return Done(_commands.run(), *capsys.readouterr())

    return run


def test_the_recommendation_comes_first(advise: Advise) -> None:
    done = advise("--min-hit-rate", "60%", "--max-staleness", "5min", "--max-memory", "2GB")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Run a TTL of ")
    assert "\n    STATE_CACHE_TTL_SECS=" in done.stdout
    for part in ("Limits", "Hit rate of at least 60.0 %", "If it is wrong", "One TTL for all"):
        assert part in done.stdout


def test_json_holds_what_the_replay_says(advise: Advise, trace: Path) -> None:
    done = advise("--json", "--max-staleness", "2%", "--bypass-share", "10%")
    assert done.returncode == 0, done.stderr
    advice = json.loads(done.stdout)
    (row,) = hit_curve(read_trace(trace), [advice["ttl_s"]], bypass_share=0.1).to_dict("records")
    assert advice["chosen"]["hit_rate"] == pytest.approx(row["hit_rate"])
    assert row["stale_share"] <= 0.02
    assert advice["configuration"] == f"STATE_CACHE_TTL_SECS={advice['ttl_s']:g}"
    assert {limit["of"] for limit in advice["limits"]} == {"stale_share"}


def test_limits_that_exclude_each_other_end_with_1_and_say_by_how_much(advise: Advise) -> None:
    done = advise("--min-hit-rate", "90%", "--max-staleness", "10s")
    assert done.returncode == 1
    assert done.stdout.startswith("No TTL meets all limits")
    assert "short of at least 90.0 %" in done.stdout
    assert "STATE_CACHE_TTL_SECS" not in done.stdout, "nothing to paste"
    assert json.loads(advise("--json", "--min-hit-rate", "100%").stdout)["feasible"] is False


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--max-staleness", "30"), "30s"),
        (("--max-staleness", "1%"), "bypass-share"),
        (("--max-staleness", "30s", "--expiry", "sliding"), "never expires"),
        (("--min-hit-rate", "many"), "80%"),
        (("--max-memory", "2 elephants"), "2GB"),
        (("--sample", "0%"), "sample"),
        (("--expiry", "sometimes"), "sometimes"),
        (("--format", "carrier-pigeon"), "carrier-pigeon"),
        (("--columns", "time_s"), "columns"),
    ],
)
def test_usage_errors_end_with_2(advise: Advise, words: tuple[str, ...], says: str) -> None:
    done = advise(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert not done.stdout


def test_a_trace_that_is_not_there_ends_with_2(advise: Advise, tmp_path: Path) -> None:
    done = advise(path=str(tmp_path / "nothing.parquet"))
    assert done.returncode == 2
    assert "nothing.parquet" in done.stderr


def test_a_sample_of_the_keys_is_scaled_up(advise: Advise) -> None:
    whole, tenth = (
        json.loads(advise("--json", "--sample", share).stdout)["chosen"]
        for share in ("100%", "10%")
    )
    assert tenth["ttl_s"] == whole["ttl_s"]
    for name in ("db_qps", "mean_live_keys", "memory_bytes"):
        assert tenth[name] == pytest.approx(10 * whole[name])
    assert tenth["hit_rate"] == whole["hit_rate"]


def test_malformed_lines_are_told(advise: Advise, tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    rows = [f"{second},page:{second % 7},GET" for second in range(200)]
    path.write_text("\n".join(["time_s,key,op", *rows[:50], "yesterday,page:1,GET", *rows[50:]]))
    done = advise(path=str(path))
    assert done.returncode == 0, done.stderr
    assert "1 of 201 lines are malformed and left out; the first is line 52" in done.stdout
