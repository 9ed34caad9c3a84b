"""A trace keeps what it is given, in order of time, and refuses what contradicts itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from statecache.errors import StateCacheError
from statecache.study.errors import StudyError
from statecache.study.traces import DELETE, READ, WRITE, Trace, TraceError, read_trace


def frame(**columns):
    return pd.DataFrame(
        {"time_s": [0.0, 1.0, 2.5], "key": ["a", "b", "a"], "op": ["read", "write", "delete"]}
        | columns
    )


def test_a_frame_becomes_columns_of_fixed_types():
    trace = Trace.from_frame(frame(size=[10, 20, 0], armed_s=[0.5, 1.0, 3.0]))

    assert len(trace) == 3
    assert trace.time_s.dtype == np.float64
    assert trace.key.dtype in (np.int32, np.int64)
    assert trace.key.tolist() == [0, 1, 0]
    assert trace.keys.tolist() == ["a", "b"]
    assert trace.op.dtype == np.uint8
    assert trace.op.tolist() == [READ, WRITE, DELETE]
    assert trace.size.dtype == np.int64
    assert trace.armed_s.tolist() == [0.5, 1.0, 3.0]
    assert trace.duration_s == 2.5
    assert trace.read_share == pytest.approx(1 / 3)


def test_a_frame_comes_back_as_it_was():
    given = frame(size=[10, 20, 0], armed_s=[0.5, 1.0, 3.0])
    back = Trace.from_frame(given).to_frame()
    assert back.astype({"op": str, "key": str}).equals(given.astype({"op": str, "key": str}))
    assert Trace.from_frame(back).key.tolist() == [0, 1, 0]


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_operations_and_keys_may_come_as_any_kind_of_text(dtype):
    given = frame().astype({"op": dtype, "key": dtype})
    assert Trace.from_frame(given).op.tolist() == [READ, WRITE, DELETE]


def test_integer_keys_are_their_own_codes():
    trace = Trace.from_frame(frame(key=[7, -3, 7]))
    assert trace.keys is None
    assert trace.key.tolist() == [7, -3, 7]
    assert trace.to_frame()["key"].tolist() == [7, -3, 7]


def test_hashes_that_exceed_int64_are_numbered():
    trace = Trace.from_frame(frame(key=np.array([2**64 - 1, 0, 2**64 - 1], dtype=np.uint64)))
    assert trace.key.tolist() == [0, 1, 0]
    assert trace.keys.tolist() == [str(2**64 - 1), "0"]


def test_rows_are_sorted_by_time_and_ties_keep_their_order():
    trace = Trace(
        time_s=np.array([2.0, 1.0, 2.0, 1.0]),
        key=np.array([0, 1, 2, 3]),
        op=np.array([0, 1, 1, 0]),
        size=np.array([20, 10, 21, 11]),
        armed_s=np.array([2.0, 1.5, 9.0, 1.0]),
    )
    assert trace.key.tolist() == [1, 3, 0, 2]
    assert trace.op.tolist() == [1, 0, 0, 1]
    assert trace.size.tolist() == [10, 11, 20, 21]
    assert trace.armed_s.tolist() == [1.5, 1.0, 2.0, 9.0]


def test_nobody_can_write_through_a_trace_and_the_callers_array_stays_writable():
    time_s = np.array([0.0, 1.0])
    trace = Trace(time_s=time_s, key=np.array([0, 0]), op=np.array([0, 0]))
    with pytest.raises(ValueError, match="read-only"):
        trace.time_s[0] = 5.0
    with pytest.raises(AttributeError):
        trace.op = trace.op
    time_s[0] = 0.5


def test_ordered_columns_are_not_copied():
    time_s = np.array([0.0, 1.0])
    key = np.array([0, 0])
    trace = Trace(time_s=time_s, key=key, op=np.array([0, 0], dtype=np.uint8))
    assert np.shares_memory(trace.time_s, time_s)
    assert np.shares_memory(trace.key, key)


def test_an_empty_trace_is_a_trace():
    trace = Trace.from_frame(frame().iloc[:0])
    assert len(trace) == 0
    assert trace.duration_s == 0.0
    assert np.isnan(trace.read_share)
    assert list(trace.to_frame().columns) == ["time_s", "key", "op"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time_s": [0.0, np.nan, 1.0]}, r"^time_s in row 1 is nan: "),
        ({"time_s": [0.0, np.inf, 1.0]}, r"^time_s in row 1 is inf: "),
        ({"time_s": ["0", "noon", "2"]}, r"^The column time_s is not numeric: "),
        ({"op": ["read", "get", "read"]}, r"^The operation in row 1 is 'get', .* read, write, "),
        ({"op": ["read", "read", None]}, r"^The operation in row 2 is (None|nan), "),
        ({"key": ["a", None, "b"]}, r"^The key in row 1 is null: "),
        ({"size": [1, -2, 3]}, r"^The size in row 1 is -2: "),
        ({"size": [1, np.nan, 3]}, r"^The column size holds float64 values .* not whole"),
        ({"armed_s": [0.0, 0.5, 3.0]}, r"^armed_s in row 1 is 0\.5, before its time_s 1\.0: "),
        ({"armed_s": [0.0, np.nan, 3.0]}, r"^armed_s in row 1 is nan: "),
    ],
)
def test_a_contradiction_is_named_with_its_row_and_value(columns, message):
    with pytest.raises(TraceError, match=message):
        Trace.from_frame(frame(**columns))


def test_a_missing_column_is_named():
    with pytest.raises(TraceError, match=r"needs the column 'op': add it"):
        Trace.from_frame(frame().drop(columns="op"))


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(TraceError, match=r"The column op has the shape \(1,\) beside 2 times"):
        Trace(time_s=np.array([0.0, 1.0]), key=np.array([0, 0]), op=np.array([0]))


@pytest.mark.parametrize("code", [-1, 2])
def test_a_code_without_a_name_is_refused(code):
    with pytest.raises(TraceError, match=rf"The key code {code} has no name among 2"):
        Trace(
            time_s=np.array([0.0]),
            key=np.array([code]),
            op=np.array([0]),
            keys=np.array(["a", "b"]),
        )


def test_an_unknown_operation_code_is_refused():
    with pytest.raises(TraceError, match=r"The operation in row 0 is 3, which is unknown"):
        Trace(time_s=np.array([0.0]), key=np.array([0]), op=np.array([3]))


def test_trace_errors_are_study_errors():
    assert issubclass(TraceError, StudyError)
    assert issubclass(StudyError, StateCacheError)


def test_a_trace_is_read_from_a_file_or_a_folder_of_files(tmp_path):
    given = frame(size=[10, 20, 0])
    given.iloc[1:].assign(other=1).to_parquet(tmp_path / "a.parquet")
    given.iloc[:1].to_parquet(tmp_path / "b.parquet")
    whole = read_trace(tmp_path)
    assert whole.time_s.tolist() == [0.0, 1.0, 2.5]
    assert whole.op.tolist() == [READ, WRITE, DELETE]
    assert whole.size.tolist() == [10, 20, 0]
    assert read_trace(str(tmp_path / "b.parquet")).time_s.tolist() == [0.0]


def test_what_is_no_trace_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(TraceError, match=r"cannot be read \(No such file"):
        read_trace(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(TraceError, match="in no format that is recognised"):
        read_trace(tmp_path / "text.parquet")
    with pytest.raises(TraceError, match="give a parquet file"):
        read_trace(tmp_path / "text.parquet", format="parquet")
    frame().drop(columns="key").to_parquet(tmp_path / "text.parquet")
    with pytest.raises(TraceError, match="needs the column 'key'"):
        read_trace(tmp_path / "text.parquet")


def test_an_empty_folder_is_no_trace(tmp_path):
    with pytest.raises(TraceError, match="'time_s'"):
        read_trace(tmp_path)
