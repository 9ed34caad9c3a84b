from __future__ import annotations

import asyncio
import dataclasses
import sys

import numpy as np
import pytest

from statecache.study.bench.replay_rate import (
    INTERPRETER,
    measure_replay,
    oracle_general,
    zipf_trace,
)
from statecache.study.bench.stage import QUICK, Stage
from statecache.study.traces import WRITE, Trace


def test_the_file_for_libcachesim_tells_the_next_request_of_each_object() -> None:
    keys = np.array([7, 3, 7, 7, 3])
    trace = Trace(time_s=np.array([0.5, 1, 2, 2, 9]), key=keys, op=np.zeros(5, np.uint8))
    rows = oracle_general(trace)
    assert rows.itemsize == 24
    assert rows["time"].tolist() == [0, 1, 2, 2, 9]
    assert rows["id"].tolist() == keys.tolist()
    assert rows["next"].tolist() == [2, 4, 3, -1, -1]


def test_the_stream_is_of_zipf_s_law() -> None:
    """Shares of 100,000 draws are 6 standard errors off with p < 2e-9, if the seed were free."""
    trace = zipf_trace(100_000, 1_000, seed=4)
    counts = np.sort(np.bincount(trace.key, minlength=1_000))[::-1]
    harmonic = np.sum(1 / np.arange(1, 1_001))
    for rank in (1, 2):
        share = 1 / rank / harmonic
        assert abs(counts[rank - 1] / 1e5 - share) < 6 * np.sqrt(share / 1e5)
    assert abs(np.mean(trace.op == WRITE) - 0.05) < 6 * np.sqrt(0.05 / 1e5)
    assert abs(trace.duration_s - 100) < 6 * np.sqrt(1e5) / 1e3


@pytest.mark.parametrize("interpreter", ["/nowhere/python", sys.executable])
def test_without_libcachesim_the_rest_is_measured(
    interpreter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INTERPRETER, interpreter)
    monkeypatch.setenv("PYTHONPATH", "")
    effort = dataclasses.replace(QUICK, requests=2_000)
    stage = Stage(None, effort, 1, lambda _share: None)  # type: ignore[arg-type] - needs no servers
    findings = asyncio.run(measure_replay(stage))
    names = {row.name for row in findings.rows}
    assert names >= {"replay_rate", "replay_ttls", "replay_requests", "replay_memory"}
    if interpreter.startswith("/nowhere"):
        assert "replay_time" not in names
        ((line,),) = findings.tables.values()
        assert line["yardstick"].startswith("/nowhere/python cannot be run")
