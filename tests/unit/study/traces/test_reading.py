"""Files are recognised, read a part at a time, and put in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.streams import TEXT_FORMATS, Operation, csv_lines, rows_of, write

from statecache.study.checkout import find_root
from statecache.study.traces import (
    DELETE,
    READ,
    WRITE,
    Trace,
    TraceError,
    blocks,
    parquet,
    read_recording,
    read_trace,
    reading,
    write_trace,
)

DATA = find_root(Path(__file__).parent).parent / "shared" / "data"

STREAM = [Operation(float(i // 2), f"key-{i % 7}", i % 3, 1 + i % 5) for i in range(2_000)]


def given_file(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in ../shared/data beside the repository")
    return path


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_a_format_is_recognised_by_its_contents_in_spite_of_junk(tmp_path: Path, name):
    lines = TEXT_FORMATS[name](STREAM[:50])
    lines[1:1] = ["junk"] * 10
    path = write(tmp_path / "no-ending-tells-it", lines, "gzip")
    recording = read_recording(path)
    assert recording.format == name
    assert recording.malformed == 10


@pytest.mark.parametrize("lines", [["hello", "world"], ["a,b,c", "1,2,3"], ["{}", "{}"]])
def test_what_is_not_recognised_is_refused_with_the_names_there_are(tmp_path: Path, lines):
    path = write(tmp_path / "x", lines)
    with pytest.raises(
        TraceError, match=r"begins with .*: name the format \(csv, parquet, twitter"
    ):
        read_trace(path)


def test_an_unknown_format_is_refused(tmp_path: Path):
    with pytest.raises(
        TraceError, match=r"^The format 'arff' is unknown: use one of csv, parquet, "
    ):
        read_trace(tmp_path, "arff")


def test_an_empty_file_is_refused(tmp_path: Path):
    with pytest.raises(TraceError, match="it is empty"):
        read_trace(write(tmp_path / "x", []))


def test_a_file_of_names_only_is_an_empty_trace(tmp_path: Path):
    recording = read_recording(write(tmp_path / "x", ["time,key,op,size"]))
    assert (len(recording.trace), recording.lines, recording.malformed) == (0, 0, 0)


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_a_file_is_the_same_in_blocks_of_any_size(tmp_path: Path, monkeypatch, name):
    lines = TEXT_FORMATS[name](STREAM[:200])
    lines.insert(150, "junk")
    path = write(tmp_path / "x", lines, "zstd")
    whole = read_recording(path, name)
    for size in (61, 997):
        monkeypatch.setattr(blocks, "CHUNK", size)
        in_parts = read_recording(path, name)
        assert in_parts.trace.to_frame().equals(whole.trace.to_frame())
        assert in_parts.first_malformed == whole.first_malformed
        assert in_parts.first_malformed.line == 151


def test_little_of_a_file_is_held_at_a_time(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", 1_000)
    lines = csv_lines(STREAM)
    path = write(tmp_path / "x", lines, "gzip")
    held = [len(block.data) for block in blocks.read_blocks(path)]
    longest = max(map(len, lines)) + 1

    assert sum(held) == sum(len(line) + 1 for line in lines)
    assert max(held) <= 1_000 + longest
    # and of what is read, only columns are kept
    kept = []
    whole = reading.Collector.add

    def add(collector, rows):
        whole(collector, rows)
        kept.append(len(rows.time_s))

    monkeypatch.setattr(reading.Collector, "add", add)
    read_trace(path)
    assert sum(kept) == len(STREAM)
    assert len(kept) == len(held)


def test_little_of_a_parquet_file_is_held_at_a_time(tmp_path: Path, monkeypatch):
    write_trace(Trace(np.arange(1_000), np.arange(1_000), np.zeros(1_000)), tmp_path / "x.parquet")
    monkeypatch.setattr(parquet, "_BATCH", 64)
    parts = [len(rows.time_s) for _, rows in parquet.read_parquet(tmp_path / "x.parquet", None)]
    assert sum(parts) == 1_000
    assert max(parts) <= 64


@pytest.mark.parametrize("how", [None, "gzip"])
def test_progress_ends_at_the_whole(tmp_path: Path, monkeypatch, how):
    monkeypatch.setattr(blocks, "CHUNK", 5_000)
    told: list[tuple[float, str]] = []
    path = write(tmp_path / "x.csv", csv_lines(STREAM), how)
    read_trace(path, on_progress=lambda share, what: told.append((share, what)))
    shares = [share for share, _ in told]
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] == 1.0
    assert told[0][1] == "reading x.csv"


def test_operations_out_of_order_are_sorted_and_ties_keep_their_order(tmp_path: Path):
    rows = ["time,key,op", "2,a,get", "1,b,set", "2,c,del", "1,d,get"]
    assert rows_of(read_trace(write(tmp_path / "x", rows))) == [
        Operation(1.0, "b", WRITE, 0),
        Operation(1.0, "d", READ, 0),
        Operation(2.0, "a", READ, 0),
        Operation(2.0, "c", DELETE, 0),
    ]


def test_a_folder_of_a_recorder_is_read_whole(tmp_path: Path):
    frame = pd.DataFrame(
        {
            "time_s": [2.0, 3.0],
            "key": np.array([2**64 - 1, 5], dtype=np.uint64),
            "op": pd.Categorical(["read", "write"]),
            "size": np.array([4, 5], dtype=np.int32),
            "outcome": ["hit", "stored"],
        }
    )
    frame.to_parquet(tmp_path / "b.parquet")
    frame.assign(time_s=[0.0, 1.0]).to_parquet(tmp_path / "a.parquet")
    recording = read_recording(tmp_path)
    assert recording.format == "parquet"
    assert rows_of(recording.trace) == [
        Operation(float(i), str(2**64 - 1) if i % 2 == 0 else "5", i % 2, 4 + i % 2)
        for i in range(4)
    ]


def test_the_weblog_of_cache2k():
    recording = read_recording(given_file("weblog-424.slt.gz"))
    trace = recording.trace
    assert (recording.format, recording.lines, recording.malformed) == ("slt", 116_215, 0)
    assert (len(trace), np.unique(trace.key).size) == (116_215, 34_036)
    assert (trace.duration_s, trace.read_share) == (86_393.0, 1.0)


def test_the_trace_of_cachelib():
    path = given_file("cachelib-kv_traces_1.csv")
    recording = read_recording(path)
    table = pd.read_csv(path)
    assert (recording.format, recording.lines, recording.malformed) == ("cachelib", 99, 0)
    assert len(recording.trace) == table["op_count"].sum()
    expected = table[table["op"].str.startswith("GET")]["op_count"].sum()
    assert np.count_nonzero(recording.trace.op == READ) == expected
    assert len(recording.trace.keys) == table["key"].nunique()


def test_a_trace_without_times_is_refused(tmp_path: Path):
    path = write(tmp_path / "x", ["key,op,size,op_count,key_size", "a,GET,0,2,1"])
    with pytest.raises(TraceError, match="has no column op_time, as CacheLib's older ones"):
        read_trace(path)


def test_the_flights_are_a_trace():
    week = read_recording("flights:2013-03-04")
    assert week.format == "flights"
    assert 0.75 < week.trace.read_share < 0.85
    assert week.trace.duration_s < 7 * 86_400
    assert len(read_trace("flights:2013-03-04:1")) < len(week.trace) / 5
    for wrong in ("flights:2012-01-01", "flights:2013-03-04:many"):
        with pytest.raises(TraceError, match="2013"):
            read_trace(wrong)
