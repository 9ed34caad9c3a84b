"""What is written in a format is read back, whatever the stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.streams import (
    access_log_lines,
    cachelib_lines,
    compressed,
    csv_lines,
    in_order,
    monitor_lines,
    rows_of,
    slt_bytes,
    streams,
    twitter_lines,
    write,
)

from statecache.study.traces import READ, WRITE, Trace, read_recording, read_trace, write_trace

a_folder = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
COMPRESSIONS = st.sampled_from([None, "gzip", "zstd"])


@a_folder
@given(stream=streams(), how=COMPRESSIONS, end=st.sampled_from(["\n", "\r\n"]))
def test_csv(tmp_path: Path, stream, how, end):
    recording = read_recording(write(tmp_path / "x", csv_lines(stream), how, end))

    assert recording.format == "csv"
    assert (recording.lines, recording.ignored, recording.malformed) == (len(stream), 0, 0)
    assert rows_of(recording.trace) == in_order(stream)


@a_folder
@given(
    stream=streams(),
    how=COMPRESSIONS,
    order=st.permutations(["op_time", "key", "op", "op_count", "size", "ttl"]),
)
def test_cachelib_in_any_order_of_columns(tmp_path: Path, stream, how, order):
    recording = read_recording(write(tmp_path / "x", cachelib_lines(stream, ",".join(order)), how))

    assert recording.format == "cachelib"
    assert rows_of(recording.trace) == in_order(stream)


@a_folder
@given(stream=streams(), how=COMPRESSIONS)
def test_twitter_with_commas_and_quotes_in_keys(tmp_path: Path, stream, how):
    recording = read_recording(write(tmp_path / "x", twitter_lines(stream), how))

    assert recording.format == "twitter"
    assert rows_of(recording.trace) == in_order(stream)


# a quote in a request is escaped by the server
LOGGED = st.text("abcé/?&=%[]'", min_size=0, max_size=8)


@a_folder
@given(stream=streams(whole_seconds=True, keys=LOGGED), how=COMPRESSIONS, combined=st.booleans())
def test_access_logs(tmp_path: Path, stream, how, combined):
    recording = read_recording(
        write(tmp_path / "x", access_log_lines(stream, combined=combined), how)
    )

    assert recording.format == "access-log"
    expected = [one._replace(key="/" + one.key) for one in in_order(stream, sizes=False)]
    assert rows_of(recording.trace, sizes=False) == expected
    if recording.trace.size is not None:
        reads = recording.trace.op == READ
        sizes = [one.size for one in in_order(stream) if one.op == READ]
        assert recording.trace.size[reads].tolist() == sizes


@a_folder
@given(
    stream=streams(
        keys=st.text(min_size=0, max_size=6).filter(lambda key: key.isprintable() or "\n" in key)
    ),
    how=COMPRESSIONS,
)
def test_monitor_with_any_bytes_in_keys(tmp_path: Path, stream, how):
    recording = read_recording(write(tmp_path / "x", monitor_lines(stream), how))

    assert recording.format == "monitor"
    assert recording.ignored == 1  # the OK
    assert rows_of(recording.trace, sizes=False) == in_order(stream, sizes=False)
    if recording.trace.size is not None:
        writes = recording.trace.op == WRITE
        sizes = [one.size % 50 for one in in_order(stream) if one.op == WRITE]
        assert recording.trace.size[writes].tolist() == sizes


PAIRS = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(-(2**31), 2**31 - 1)))


@a_folder
@given(pairs=PAIRS, how=COMPRESSIONS)
def test_slt(tmp_path: Path, pairs, how):
    (tmp_path / "x.slt").write_bytes(compressed(slt_bytes(pairs), how))
    trace = read_trace(tmp_path / "x.slt", format="slt")

    ordered = sorted(pairs, key=lambda pair: pair[0])
    assert list(zip(trace.time_s.tolist(), trace.key.tolist(), strict=True)) == ordered
    assert trace.read_share == 1.0 or not pairs


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    stream = draw(streams())
    n = len(stream)
    names = [one.key for one in stream]
    distinct = list(dict.fromkeys(names))
    named = draw(st.booleans())
    time_s = np.array([one.time_s for one in stream])
    return Trace(
        time_s=time_s,
        key=np.array([distinct.index(name) - (not named) for name in names]),
        op=np.array([one.op for one in stream]),
        keys=np.array(distinct, dtype=object) if named else None,
        size=np.array([one.size for one in stream]) if draw(st.booleans()) else None,
        armed_s=time_s + np.array(draw(st.lists(st.floats(0, 9), min_size=n, max_size=n)))
        if draw(st.booleans())
        else None,
        source=draw(st.none() | st.text(max_size=5)),
        synthetic=draw(st.booleans()),
    )


@a_folder
@given(trace=traces())
def test_a_trace_that_is_written_is_read_as_it_was(tmp_path: Path, trace):
    write_trace(trace, tmp_path / "x.parquet")
    back = read_trace(tmp_path / "x.parquet", strict=True)

    assert back.to_frame().equals(trace.to_frame())
    assert back.source == (trace.source or "x.parquet")
    assert back.synthetic == trace.synthetic
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("count", [0, 3])
def test_writing_goes_on_row_group_by_row_group(tmp_path: Path, monkeypatch, count):
    monkeypatch.setattr("statecache.study.traces.writing._ROWS", 2)
    trace = Trace(time_s=np.arange(count), key=np.arange(count), op=np.zeros(count))
    write_trace(trace, tmp_path / "x.parquet")
    assert read_trace(tmp_path / "x.parquet").to_frame().equals(trace.to_frame())
