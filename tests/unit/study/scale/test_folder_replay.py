"""What a folder's replay says, divided in any way, is what the replay of the whole trace says."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.folders import tables, write_folder

from statecache.study.errors import StudyError
from statecache.study.replay import hit_curve
from statecache.study.scale import distributed_tally, hit_curve_of_folder
from statecache.study.scale.divided import ROW_BYTES, suggested_partitions
from statecache.study.scale.partitions import split_unit
from statecache.study.scale.survey import survey_folder
from statecache.study.traces import TraceError, read_trace

TTLS = [7.0, 0.0, 0.5, 2.0, 20.0, np.inf]


@pytest.fixture
def folder(tmp_path):
    n = 1_000
    rng = np.random.default_rng(7)
    table = pa.table(
        {
            "time_s": rng.integers(0, 500, n).astype(float),
            "key": rng.integers(0, 50, n),
            "op": rng.choice(["read", "write", "delete"], n, p=[0.7, 0.2, 0.1]),
            "size": rng.integers(1, 100, n),
        }
    )
    write_folder(tmp_path / "trace", table, [300, 700], 100)
    return tmp_path / "trace"


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Counts are equal, sums of seconds up to the order in which they were added."""
    for name in expected:
        if expected[name].dtype == np.int64:
            pd.testing.assert_series_equal(found[name], expected[name])
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(
    table=tables(),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    row_group=st.integers(1, 12),
    partitions=st.integers(1, 6),
    expiry=st.sampled_from(["fixed", "sliding"]),
    writes=st.sampled_from(["through", "invalidate", "ignore"]),
    bypass_share=st.sampled_from([0.0, 0.5]),
)
def test_the_curve_is_that_of_the_whole_trace(
    table, cuts, row_group, partitions, expiry, writes, bypass_share
):
    options = {"expiry": expiry, "writes": writes, "bypass_share": bypass_share, "seed": 3}
    with tempfile.TemporaryDirectory() as name:
        write_folder(Path(name), table, cuts, row_group)
        found = hit_curve_of_folder(name, TTLS, workers=1, partitions=partitions, **options)
        assert_same(found, hit_curve(read_trace(name), TTLS, **options))


def test_a_folder_larger_than_a_block_and_a_unit_is_counted_whole(tmp_path, monkeypatch):
    n = 30_000
    rng = np.random.default_rng(11)
    table = pa.table(
        {
            "time_s": rng.integers(0, 2_000, n),
            "key": rng.zipf(1.3, n) % 700,
            "op": rng.choice(["read", "write", "delete"], n, p=[0.8, 0.15, 0.05]),
        }
    )
    write_folder(tmp_path, table, [10_000], 2_000)
    monkeypatch.setattr(survey_folder, "__defaults__", (None, 4_000))
    monkeypatch.setattr(split_unit, "__defaults__", (1_500,))
    found = hit_curve_of_folder(tmp_path, TTLS, workers=1)
    assert_same(found, hit_curve(read_trace(tmp_path), TTLS))


def test_progress_rises_to_the_end(folder):
    told = []
    hit_curve_of_folder(
        folder, TTLS, workers=1, partitions=3, on_progress=lambda *one: told.append(one)
    )
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {what for _, what in told} == {"dividing by key", "replaying"}


def test_nothing_is_left_in_the_scratch_folder(folder, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    hit_curve_of_folder(folder, TTLS, workers=1, scratch=scratch)

    def interrupt(share, what):
        assert list(scratch.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hit_curve_of_folder(folder, TTLS, workers=1, scratch=scratch, on_progress=interrupt)
    assert not list(scratch.iterdir())


def test_files_without_rows_are_an_empty_trace(tmp_path):
    columns = {"time_s": pa.array([], pa.float64()), "key": pa.array([], pa.int64())}
    write_folder(tmp_path, pa.table(columns | {"op": pa.array([], pa.string())}), [0], 10)
    curve = hit_curve_of_folder(tmp_path, TTLS)
    assert curve["reads"].tolist() == [0] * len(TTLS)
    assert curve["hit_rate"].isna().all()


def test_malformed_rows_are_left_out_and_told(tmp_path, caplog):
    table = pa.table({"time_s": [0.0, None, 2.0], "key": [1, 1, 1], "op": ["read"] * 3})
    write_folder(tmp_path, table, [], 10)
    assert hit_curve_of_folder(tmp_path, [5.0], workers=1)["hits"].tolist() == [1]
    assert "1 of 3 rows are malformed and left out; the first is row 2" in caplog.text


def test_a_folder_of_malformed_rows_is_refused(tmp_path):
    table = pa.table({"time_s": [0.0, 1.0], "key": [1, 1], "op": ["peek"] * 2})
    write_folder(tmp_path, table, [], 10)
    with pytest.raises(TraceError, match=r"No row of .* \(row 1: 'peek' is no known operation"):
        hit_curve_of_folder(tmp_path, [5.0], workers=1)


def test_a_key_too_frequent_for_a_worker_is_refused(folder):
    with pytest.raises(StudyError, match=r"The largest partition has [\d,]+ of 1,000 requests"):
        hit_curve_of_folder(folder, TTLS, workers=1, partitions=2, memory=300 * ROW_BYTES)


def test_partitions_fit_into_the_memory_of_a_worker():
    assert suggested_partitions(1_000, 10**9, 2) == 8, "four a worker, so that none waits for long"
    assert 10**11 / suggested_partitions(10**11, 2**30, 2) < 2**30 / 2
    assert suggested_partitions(10**14, 2**20, 2) == 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expiry": "later"}, "'later'"),
        ({"writes": "around"}, "'around'"),
        ({"partitions": 0}, "partitions is 0: take 1 to 10000"),
        ({"partitions": 10_001}, "partitions is 10001"),
        ({"workers": 0}, "workers is 0: take at least 1"),
        ({"memory": 0}, "memory is 0: take at least 1"),
        ({"scheduler": "tcp://127.0.0.1:1", "workers": 2}, "leave them out with a scheduler"),
        ({"workers": 1, "scratch": "/gone"}, "No folder can be made in /gone"),
    ],
)
def test_a_bad_option_is_named(folder, options, message):
    with pytest.raises(StudyError, match=message):
        distributed_tally(folder, TTLS, **options)


def test_a_bad_ttl_is_named_before_the_folder_is_read():
    with pytest.raises(StudyError, match=r"The TTL -1.0 is out of range"):
        distributed_tally("gone", [1.0, -1.0])


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(TraceError, match="gone cannot be read as a trace"):
        distributed_tally("gone", TTLS)


def test_without_dask_it_is_said_what_to_install(folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "statecache.study.scale.cluster", raising=False)
    monkeypatch.delattr("statecache.study.scale.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(StudyError, match=r"needs Dask: pip install 'statecache\[scale\]'\.$"):
        hit_curve_of_folder(folder, TTLS, workers=2)
    assert len(hit_curve_of_folder(folder, TTLS, workers=1)) == len(TTLS), "one needs none"
