"""Whatever a file holds: no traceback, and every line that is no operation is counted."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.streams import TEXT_FORMATS, Operation, csv_lines, rows_of, slt_bytes, streams, write

from statecache.study.traces import (
    FORMATS,
    READ,
    WRITE,
    TraceError,
    blocks,
    read_recording,
    read_trace,
)

a_folder = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: No format takes it for an operation, wherever it stands.
JUNK = st.sampled_from(
    [
        b"junk",
        b",",
        b"1,2,3",
        b'1,"never ends',
        b"\xff\xfe\x00",
        b"x" * 200,
        b'1700000000.1 [0 lo] "GET',
        b'1700000000.1 [0 lo] "SET" "k"',
        b'1 - - [32/Jan/2024:00:00:00 +0000] "GET / HTTP/1.1" 200 1',
        b'1 - - [01/Jan/2024:00:00:00] "GET / HTTP/1.1" 200 1',
        b"nan,k,read,1",
        b",,,,,,",
        b"1,,3,4,5,get,7",
        b"1,k,3,-4,5,get,7",
        b"1,k,3,4,5,fetch?,7",
    ]
)
STREAM = st.lists(
    st.builds(
        Operation,
        st.integers(0, 10**9).map(float),
        st.sampled_from("abc"),
        st.just(READ),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("name", TEXT_FORMATS)
@a_folder
@given(stream=STREAM, data=st.data())
def test_junk_between_lines_is_counted_and_the_rest_is_read(tmp_path: Path, name, stream, data):
    lines = [line.encode() for line in TEXT_FORMATS[name](stream)]
    extra = len(lines) - len(stream)  # names of columns, or MONITOR's OK
    places = sorted(data.draw(st.lists(st.integers(extra, len(lines)), min_size=1, max_size=5)))
    for shift, place in enumerate(places):
        lines.insert(place + shift, data.draw(JUNK))
    path = tmp_path / "x"
    path.write_bytes(b"\n".join(lines))

    clean = read_trace(write(tmp_path / "clean", TEXT_FORMATS[name](stream)), name)
    recording = read_recording(path, name)

    assert rows_of(recording.trace) == rows_of(clean)
    assert recording.malformed == len(places)
    assert recording.first_malformed.line == places[0] + 1
    assert recording.first_malformed.reason
    with pytest.raises(TraceError, match=rf", line {places[0] + 1}: .* without strict"):
        read_recording(path, name, strict=True)


@pytest.mark.parametrize("name", [*TEXT_FORMATS, "slt", "parquet", None])
@a_folder
@given(data=st.binary(max_size=300) | st.text(',"\n\r1a []{}:/\\', max_size=200).map(str.encode))
@example(data=b"")
@example(data=b"\n\n\n")
@example(data=b"PAR1")
@example(data=b"\x1f\x8b")
@example(data=b"\x28\xb5\x2f\xfd")
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path: Path, name, data):
    (tmp_path / "x").write_bytes(data)
    try:
        recording = read_recording(tmp_path / "x", name)
    except TraceError as error:
        text = str(error)
        assert text.count("\n") == 0
        assert text.endswith(".")
    else:
        assert recording.lines >= recording.malformed + recording.ignored
        assert (recording.malformed > 0) == (recording.first_malformed is not None)


@pytest.mark.parametrize("name", TEXT_FORMATS)
@a_folder
@given(stream=streams(whole_seconds=True, keys=st.sampled_from("abc")), data=st.data())
def test_a_file_with_bytes_changed_never_fails(tmp_path: Path, name, stream, data):
    text = bytearray("\n".join(TEXT_FORMATS[name](stream)).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "x").write_bytes(bytes(text))
    try:
        recording = read_recording(tmp_path / "x", name)
    except TraceError:
        return
    good = recording.lines - recording.malformed - recording.ignored
    # a changed op_count may tell of several operations
    assert good <= len(recording.trace) if name == "cachelib" else good == len(recording.trace)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
@a_folder
@given(stream=streams(), share=st.floats(0.2, 0.99))
def test_a_compressed_file_that_breaks_off_is_read_up_to_there(tmp_path, how, stream, share):
    path = write(tmp_path / "x", csv_lines(stream * 20), how)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    try:
        recording = read_recording(path, "csv")
    except TraceError as error:
        assert "breaks off" in str(error) or "empty" in str(error)  # noqa: PT017 - one or no
        return
    assert "breaks off" in recording.first_malformed.reason
    known = set(rows_of(read_trace(write(path, csv_lines(stream)))))
    assert set(rows_of(recording.trace)) <= known


def test_lines_that_are_too_long_are_not_held(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", 64)
    monkeypatch.setattr(blocks, "LONGEST_LINE", 128)
    path = write(tmp_path / "x", ["time,key", "1,a", "2," + "b" * 1000, "3,c", "4," + "d" * 999])

    recording = read_recording(path)

    assert recording.trace.time_s.tolist() == [1.0, 3.0]
    assert (recording.lines, recording.malformed) == (4, 2)
    assert recording.first_malformed == (3, "the line has more than 128 bytes")


def test_half_a_pair_and_negative_times_of_slt_are_malformed(tmp_path: Path):
    (tmp_path / "x.slt").write_bytes(slt_bytes([(1, 7), (-2, 8), (3, 9)]) + b"\0\0\0")
    recording = read_recording(tmp_path / "x.slt")
    assert recording.trace.key.tolist() == [7, 9]
    assert (recording.lines, recording.malformed) == (4, 2)
    assert recording.first_malformed == (2, "the time -2 is negative")


def test_rows_of_parquet_that_say_nothing_are_malformed(tmp_path: Path):
    pd.DataFrame(
        {
            "time_s": [1.0, None, 3.0, 4.0, 5.0, 6.0],
            "key": ["a", "b", None, "d", "e", "f"],
            "op": ["get", "get", "get", "jump", "set", None],
            "size": [1, 2, 3, 4, -5, 6],
        }
    ).to_parquet(tmp_path / "x.parquet")
    recording = read_recording(tmp_path / "x.parquet")
    assert rows_of(recording.trace) == [Operation(1.0, "a", READ, 1)]
    assert (recording.lines, recording.malformed) == (6, 5)
    assert recording.first_malformed == (2, "nothing is no time")


def test_what_is_left_out_is_logged_once(tmp_path: Path, caplog):
    path = write(tmp_path / "x.csv", ["time,key", "1,a", "soon,b", "2", "3,c"])
    with caplog.at_level(logging.WARNING, logger="statecache"):
        assert read_trace(path).time_s.tolist() == [1.0, 3.0]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 2 of 4 lines are malformed and left out; the first is line 3: 'soon' is no time"
    ]


def test_a_file_without_a_single_operation_is_refused(tmp_path: Path):
    path = write(tmp_path / "x.csv", ["time,key", "noon,a", "soon,b"])
    with pytest.raises(
        TraceError, match=r"^No line of .*x\.csv can be read as csv \(line 2: 'noon'"
    ):
        read_trace(path)


def test_counts_that_cannot_be_are_malformed(tmp_path: Path):
    counts = ["0", "-1", "1.5", "", "1e300", "x", "2"]
    rows = ["op_time,key,op,op_count", *(f"{i},a,GET,{n}" for i, n in enumerate(counts))]
    recording = read_recording(write(tmp_path / "x", rows))
    assert recording.trace.time_s.tolist() == [6.0, 6.0]
    assert (recording.lines, recording.malformed) == (7, 6)


def test_a_quote_that_does_not_end_costs_its_own_line_only(tmp_path: Path):
    rows = ["time,key,op", '1,"a,get', "2,b,set", '3,"c ""d"", e",set', "", "4,f,get"]
    recording = read_recording(write(tmp_path / "x", rows))
    assert rows_of(recording.trace) == [
        Operation(2.0, "b", WRITE, 0),
        Operation(3.0, 'c "d", e', WRITE, 0),
        Operation(4.0, "f", READ, 0),
    ]
    assert (recording.lines, recording.ignored, recording.malformed) == (5, 1, 1)
    assert recording.first_malformed == (2, "a quote does not end")


def test_gzip_in_several_members_is_one_file(tmp_path: Path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"time,key\n1,a\n2,") + gzip.compress(b"b\n"))
    assert np.array_equal(read_trace(path).time_s, [1.0, 2.0])


def test_formats_have_the_names_that_messages_list():
    assert list(FORMATS) == [
        "csv", "parquet", "twitter", "cachelib", "slt", "access-log", "monitor", "flights",
        "synthetic",
    ]  # fmt: skip
