"""Tables with any names: what is found by common names, what the user says, times in any unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import Operation, rows_of, write

from statecache.study.traces import DELETE, READ, WRITE, TraceError, read_recording, read_trace
from statecache.study.traces.blocks import Block
from statecache.study.traces.cutting import Dialect, _cut_by_line, cut_block
from statecache.study.traces.operations import WORDS


@pytest.mark.parametrize(
    ("names", "values"),
    [
        ("timestamp,key,operation,bytes", "1.5,a,GET,7"),
        ("Time;Cache Key;Method;Value Size", "1.5;a;get;7"),
        ("size\top\tobj_id\tts", "7\tread\ta\t1.5"),
        ("@timestamp|objectId|verb|content-length", "1970-01-01T00:00:01.5Z|a|HEAD|7"),
        ("ts_ms,id,cmd,length", "1500,a,gets,7.0"),
        ("event_time_us,trigger_id,op,size", "1500000, a,r,7"),
        ("time_ns,key,op,size,extra", "1500000000,a,load,7,whatever"),
    ],
)
def test_common_names_are_found(tmp_path: Path, names, values):
    key = values.split(",")[1] if ", a" in values else "a"
    trace = read_trace(write(tmp_path / "x", [names, values]))
    assert rows_of(trace) == [Operation(1.5, key, READ, 7)]


def test_the_user_says_what_the_columns_are(tmp_path: Path):
    path = write(tmp_path / "x.csv", ["when,who,what,key", "1500,a,put,zzz"])
    columns = {"time_ms": "when", "key": "who", "op": "what"}
    assert rows_of(read_trace(path, columns=columns)) == [Operation(1.5, "a", WRITE, 0)]
    # what is said is not looked for, and None says that there is no such column
    path = write(tmp_path / "x.csv", ["time,key,op", "1500,a,not an operation"])
    assert rows_of(read_trace(path, columns={"op": None})) == [Operation(1500.0, "a", READ, 0)]


@pytest.mark.parametrize("number", [int, str])
def test_columns_without_names_are_given_by_number(tmp_path: Path, number):
    path = write(tmp_path / "x", ["a;3;delete", "b;1;set"])
    columns = {"key": number(1), "time_s": number(2), "op": number(3)}
    expected = [Operation(1.0, "b", WRITE, 0), Operation(3.0, "a", DELETE, 0)]
    assert rows_of(read_trace(path, columns=columns)) == expected
    named = write(tmp_path / "y", ["key;time;op", "a;3;delete", "b;1;set"])
    assert rows_of(read_trace(named, columns=columns)) == expected


def test_a_line_may_tell_of_several_operations(tmp_path: Path):
    path = write(tmp_path / "x", ["ts,key,op,op_count", "1,a,get,2", "2,b,set,1"])
    twice = [Operation(1.0, "a", READ, 0)] * 2
    recording = read_recording(path)
    assert recording.format == "csv"
    assert rows_of(recording.trace) == [*twice, Operation(2.0, "b", WRITE, 0)]
    path = write(tmp_path / "y", ["ts,key,n", "1,a,2"])
    assert rows_of(read_trace(path, columns={"count": "n"})) == twice
    pd.read_csv(path).to_parquet(tmp_path / "y.parquet")
    assert rows_of(read_trace(tmp_path / "y.parquet", columns={"count": "n"})) == twice


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"when": "time"}, r"^A trace has no column 'when': map time_s "),
        ({"time_s": "when"}, r"^The column 'when' is not there: choose among time, key\.$"),
        ({"time_s": 3}, r"^The column 3 is not there: choose among time, key\.$"),
        ({"key": None}, r"^A trace needs the column 'key', which is not among time, key: "),
    ],
)
def test_columns_that_are_not_there_are_refused(tmp_path: Path, columns, message):
    path = write(tmp_path / "x", ["time,key", "1,a"])
    with pytest.raises(TraceError, match=message):
        read_trace(path, columns=columns)


def test_formats_with_columns_of_their_own_take_none(tmp_path: Path):
    with pytest.raises(TraceError, match="The format twitter has columns of its own"):
        read_trace(write(tmp_path / "x", ["1,a,1,2,3,get,0"]), "twitter", {"key": 1})


@pytest.mark.parametrize(
    "texts",
    [
        ["1700000000.25", "1700000001.5"],
        ["1700000000250", "1700000001500"],
        ["1700000000250000", "1700000001500000"],
        ["1700000000250000000", "1700000001500000000"],
        ["2023-11-14T22:13:20.25Z", "2023-11-14T22:13:21.5Z"],
        ["2023-11-14 22:13:20.250", "2023-11-14 22:13:21.500"],
        ["2023-11-15T00:13:20.250+02:00", "2023-11-15T00:13:21.500+02:00"],
        ["2023-11-14T22:13:20.25", "2023-11-14T22:13:21.5Z"],
        ["20231114T221320.25Z", "20231114T221321.5Z"],
    ],
)
def test_the_unit_of_times_is_told_by_their_size(tmp_path: Path, texts):
    trace = read_trace(write(tmp_path / "x", ["ts,key", *(f"{text},a" for text in texts)]))
    assert trace.time_s.tolist() == [1700000000.25, 1700000001.5]


def test_a_date_is_one_whatever_its_column_is_called(tmp_path: Path):
    path = write(tmp_path / "x", ["time_s,key", "1970-01-01T00:01:00,a"])
    assert read_trace(path).time_s.tolist() == [60.0]


@pytest.mark.parametrize(
    "times",
    [
        pd.to_datetime([1_500, 2_000], unit="ms"),
        pd.to_datetime([1_500, 2_000], unit="ms", utc=True).tz_convert("Europe/Paris"),
        pd.Series(["1970-01-01T00:00:01.5", "1970-01-01T00:00:02"]),
        np.array([1.5, 2.0]),
    ],
)
@pytest.mark.parametrize("keys", [["a", "b"], [b"a", b"b"], pd.Categorical(["a", "b"])])
def test_parquet_of_any_types(tmp_path: Path, times, keys):
    frame = pd.DataFrame({"ts": times, "url": keys, "verb": ["PUT", "GET"], "bytes": [None, 3]})
    frame.to_parquet(tmp_path / "x.parquet")
    # a size that is not recorded is the key's last, next or 0
    expected = [Operation(1.5, "a", WRITE, 0), Operation(2.0, "b", READ, 3)]
    assert rows_of(read_trace(tmp_path / "x.parquet")) == expected


def test_parquet_takes_the_users_columns_and_units(tmp_path: Path):
    table = pa.table({"x": [1_500], "y": pa.array([7], pa.int16()), "op": ["set"]})
    pq.write_table(table, tmp_path / "x.parquet")
    trace = read_trace(tmp_path / "x.parquet", columns={"time_ms": "x", "key": "y", "op": None})
    assert rows_of(trace) == [Operation(1.5, 7, READ, 0)]


def test_sizes_that_are_not_recorded_are_those_of_the_same_key(tmp_path: Path):
    rows = [
        "time,key,op,size",
        "5,a,get,",
        "1,a,get,",
        "2,b,get,",
        "3,a,set,7",
        "4,a,del,",
        "6,b,get,",
    ]
    assert rows_of(read_trace(write(tmp_path / "x", rows))) == [
        Operation(1.0, "a", READ, 7),
        Operation(2.0, "b", READ, 0),
        Operation(3.0, "a", WRITE, 7),
        Operation(4.0, "a", DELETE, 0),
        Operation(5.0, "a", READ, 7),
        Operation(6.0, "b", READ, 0),
    ]
    only = write(tmp_path / "y", ["time,key,size", "1,a,", "2,b,"])
    assert read_trace(only).size is None


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbftime,key\n1,a\n")
    assert read_recording(tmp_path / "x").malformed == 0


def test_every_word_is_in_small_letters_and_has_an_operation():
    assert all(word == word.strip().lower() for word in WORDS)
    assert set(WORDS.values()) == {READ, WRITE, DELETE}


FIELD = st.text('ab",; é\r', max_size=4)


@given(
    rows=st.lists(st.lists(FIELD, min_size=1, max_size=4), min_size=1, max_size=6),
    joins=st.booleans(),
    quoted=st.booleans(),
)
def test_blocks_are_cut_fast_as_they_are_line_by_line(rows, joins, quoted):
    """Where the fast way cannot tell a line, the slow one does it: nobody sees which it was."""
    data = "".join(",".join(row) + "\n" for row in rows).encode()
    dialect = Dialect(width=3, quoted=quoted, joins_key=joins)
    fast, slow = cut_block(Block(data, 1, 1.0), dialect), _cut_by_line(Block(data, 1, 1.0), dialect)
    assert fast.lines.tolist() == slow.lines.tolist()
    assert [line for line, _ in fast.faults] == [line for line, _ in slow.faults]
    for one, other in zip(fast.columns, slow.columns, strict=True):
        assert one.to_pylist() == other.to_pylist()
