"""Every row is in the partition of its key, once, and in the order of the folder."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.folders import tables, write_folder

from statecache.study.errors import StudyError
from statecache.study.scale.partitions import Partition, read_partition, split_unit
from statecache.study.scale.survey import survey_folder
from statecache.study.traces import TraceError, read_recording, read_trace
from statecache.study.traces.rows import Tally


def partitions_of(folder, scratch, *, n_partitions, unit_rows=7, block_rows=3):
    survey = survey_folder(folder, unit_rows=unit_rows)
    files = tuple(str(scratch / f"{number}.arrow") for number in range(len(survey.units)))
    splits = [
        split_unit(unit, survey.reading, n_partitions, file, block_rows)
        for unit, file in zip(survey.units, files, strict=True)
    ]
    rows = np.sum([split.rows for split in splits], axis=0, dtype=int)
    sized = any(split.sized for split in splits)
    parts = [
        read_partition(Partition(files, number, n_partitions, sized))
        for number in range(n_partitions if files else 0)
    ]
    assert [len(part) for part in parts] == rows.tolist() or not files
    return parts


def rows_by_key(trace):
    frame = trace.to_frame()
    return {key: rows.drop(columns="key").to_numpy().tolist() for key, rows in frame.groupby("key")}


@settings(deadline=None, max_examples=60)
@given(
    table=tables(),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    row_group=st.integers(1, 12),
    n_partitions=st.integers(1, 5),
)
def test_partitions_hold_what_read_trace_reads(table, cuts, row_group, n_partitions):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "trace"
        write_folder(folder, table, cuts, row_group)
        parts = partitions_of(folder, Path(name), n_partitions=n_partitions)
        whole = rows_by_key(read_trace(folder))
        if table.num_rows == 0:
            return

    found = [rows_by_key(part) for part in parts if len(part)]
    assert sum(map(len, found)) == len(whole), "a key is in one partition only"
    assert {key: rows for part in found for key, rows in part.items()} == whole


def test_keys_are_spread_evenly(tmp_path):
    n = 40_000
    for kind in (pa.int64(), pa.uint64(), pa.string()):
        folder = tmp_path / str(kind)
        table = pa.table(
            {
                "time_s": np.zeros(n),
                "key": pa.array(range(0, 8 * n, 8)).cast(kind),
                "op": ["read"] * n,
            }
        )
        write_folder(folder, table, [], n)
        parts = partitions_of(folder, tmp_path, n_partitions=8, unit_rows=n, block_rows=10_000)
        # 5,000 expected, standard deviation 66; the hash is fixed, so chance plays no part
        assert all(4_600 < len(part) < 5_400 for part in parts)


def test_splitting_holds_a_block_and_reading_a_partition_not_the_trace(tmp_path):
    n, n_partitions = 2_000_000, 20
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "time_s": rng.uniform(0, 1e5, n),
            "key": rng.integers(0, 100_000, n),
            "op": pa.array(["read"]).take(pa.array(np.zeros(n, int))),
        }
    )
    write_folder(tmp_path / "trace", table, [], 100_000)
    whole = table.nbytes
    del table
    survey = survey_folder(tmp_path / "trace", unit_rows=n)

    target = str(tmp_path / "unit.arrow")
    split, peak = peak_of(
        lambda: split_unit(survey.units[0], survey.reading, n_partitions, target, 50_000)
    )
    assert split.rows.sum() == n
    assert peak < whole / 4

    partition = Partition((target,), 3, n_partitions, sized=False)
    part, peak = peak_of(lambda: read_partition(partition))
    assert len(part) < 1.1 * n / n_partitions
    assert peak < 4 * whole / n_partitions


def peak_of(work):
    """Return what the work returns, and the most bytes that Arrow and numpy held at a time."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        result = work()
        return result, pool.max_memory() + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


def test_a_split_done_again_leaves_the_same_file_and_nothing_else(tmp_path):
    table = pa.table({"time_s": [3.0, 1.0, 2.0], "key": [1, 2, 1], "op": ["read"] * 3})
    write_folder(tmp_path / "trace", table, [], 2)
    survey = survey_folder(tmp_path / "trace")
    target = tmp_path / "parts" / "unit.arrow"
    target.parent.mkdir()
    contents = []
    for _ in range(2):
        split_unit(survey.units[0], survey.reading, 2, str(target))
        contents.append(target.read_bytes())
    assert contents[0] == contents[1]
    assert list(target.parent.iterdir()) == [target]


def test_malformed_rows_are_left_out_and_counted_as_read_trace_does(tmp_path):
    table = pa.table(
        {
            "time_s": [0.0, None, 2.0, 3.0, 4.0, 5.0, 6.0],
            "key": ["a", "b", None, "a", "c", "b", "a"],
            "op": ["read", "read", "read", "peek", "write", "delete", "read"],
            "size": [1, 2, 3, 4, None, None, -7],
        }
    )
    write_folder(tmp_path / "trace", table, [2, 5], 2)
    survey = survey_folder(tmp_path / "trace", unit_rows=1)
    lines = Tally()
    for unit in survey.units:
        lines += split_unit(unit, survey.reading, 2, str(tmp_path / "x.arrow")).lines
    recording = read_recording(tmp_path / "trace")
    assert (lines.lines, lines.malformed, lines.first_malformed) == (
        recording.lines,
        recording.malformed,
        recording.first_malformed,
    )
    assert lines.malformed == 4
    parts = partitions_of(tmp_path / "trace", tmp_path, n_partitions=2)
    found = {key: rows for part in parts for key, rows in rows_by_key(part).items()}
    assert found == rows_by_key(recording.trace)


def test_a_file_that_is_cut_off_is_named(tmp_path):
    table = pa.table(
        {"time_s": np.arange(5_000.0), "key": np.arange(5_000), "op": ["read"] * 5_000}
    )
    write_folder(tmp_path / "trace", table, [], 5_000)
    survey = survey_folder(tmp_path / "trace")
    path = Path(survey.units[0].pieces[0].path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 2_000 + content[2_004:])
    with pytest.raises(TraceError, match=r"part-0000.parquet cannot be read as a trace"):
        split_unit(survey.units[0], survey.reading, 2, str(tmp_path / "unit.arrow"))


def test_a_scratch_folder_that_is_gone_is_named(tmp_path):
    table = pa.table({"time_s": [0.0], "key": [1], "op": ["read"]})
    write_folder(tmp_path / "trace", table, [], 10)
    survey = survey_folder(tmp_path / "trace")
    with pytest.raises(StudyError, match=r"cannot be written to .*/gone/unit.arrow"):
        split_unit(survey.units[0], survey.reading, 2, str(tmp_path / "gone" / "unit.arrow"))


def test_files_of_other_types_and_fewer_columns_are_read_as_read_trace_does(tmp_path):
    folder = tmp_path / "trace"
    folder.mkdir()
    one = {"time_s": [0.0, 3.0], "key": [1, 2], "op": ["read", "write"], "size": [10, 20]}
    pq.write_table(pa.table(one), folder / "a.parquet")
    other = pa.table({"extra": [1, 2], "time_s": [1, 2], "key": pa.array([2, 1], pa.int32())})
    pq.write_table(
        other.append_column("op", pa.array(["read", "delete"]).dictionary_encode()),
        folder / "b.parquet",
    )
    parts = partitions_of(folder, tmp_path, n_partitions=3)
    found = {key: rows for part in parts for key, rows in rows_by_key(part).items()}
    assert found == rows_by_key(read_trace(folder))
    assert len(found) == 2
