"""A slice on real servers: what is recorded, and that it agrees with its replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from statecache.study.harness.aside import run_aside
from statecache.study.questions.tune_ttl.live import run_live
from statecache.study.questions.tune_ttl.measure import TuningSettings, cells_of, measure
from statecache.study.questions.tune_ttl.slices import Slice
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers
from statecache.study.traces import DELETE, READ, WRITE, Trace, write_trace

NAMES = np.array([f"state:{number}" for number in range(5)], dtype=object)


def operations(count: int = 300) -> Trace:
    """Reads, writes and deletes of five states, half a second apart."""
    draw = np.random.default_rng(2)
    kinds = draw.choice([READ, WRITE, DELETE], count, p=[0.75, 0.2, 0.05]).astype(np.uint8)
    return Trace(time_s=np.arange(count) / 2, key=draw.integers(0, 5, count), op=kinds, keys=NAMES)


def test_every_operation_is_run_and_counted(servers: Servers) -> None:
    part = Slice(operations(), begins_s=0.0, time_scale=100.0)
    ttls = {"short": 2.0, "long": 60.0}
    lived = run_aside(
        lambda: run_live(
            part,
            {name: part.live_ttl_ms(ttl) for name, ttl in ttls.items()},
            servers,
            timeout_ms=5_000,
        )
    )
    cells, histograms = cells_of(lived, part, ttls)
    by_name = cells.set_index("variant")
    reads = int((part.trace.op == READ).sum())
    assert by_name["reads"].tolist() == [reads, reads]
    assert by_name["writes"].tolist() == [300 - reads, 300 - reads], "deletes write, too"
    assert by_name.loc["long", "hits"] > by_name.loc["short", "hits"]
    assert set(histograms["operation"]) == {"load", "commit"}
    for one in lived.values():
        assert len(one.accesses) == 300


@pytest.mark.timeout(180)
def test_measured_once_and_then_taken_from_the_folder(servers: Servers, tmp_path: Path) -> None:
    write_trace(operations(1_200), tmp_path / "trace.parquet")
    settings = TuningSettings(
        trace=str(tmp_path / "trace.parquet"),
        max_db_qps=0.0,
        min_hit_rate="",
        max_staleness="30s",
        bypass_share="",
        max_memory="",
        state_bytes=190.0,
        live_s=2.0,
        rate_per_s=200.0,
        timeout_ms=5_000,
    )
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    first = measure(settings, servers, folder)
    assert first.advice.ttl_s <= 30
    assert len(first.cells) == 3
    assert (first.cells["reads"] == (first.part.trace.op == READ).sum()).all()
    again = measure(settings, servers, folder)
    assert again.cells.equals(first.cells), "the second is the first, read back"
