"""A folder is told by its metadata, and refused where it is no trace."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from support.folders import write_folder

from statecache.study.scale.survey import survey_folder
from statecache.study.traces import TraceError

GOOD = {"time_s": [0.0, 1.0, 2.0], "key": [1, 2, 3], "op": ["read"] * 3}


def test_units_are_whole_row_groups_in_the_order_of_the_files(tmp_path):
    table = pa.table({"time_s": [0.0] * 10, "key": [1] * 10, "op": ["read"] * 10})
    write_folder(tmp_path, table, [7], 2)
    survey = survey_folder(tmp_path, unit_rows=4)
    found = [
        [(Path(piece.path).name, piece.row_group, piece.rows) for piece in unit.pieces]
        for unit in survey.units
    ]
    assert found == [
        [("part-0000.parquet", 0, 2), ("part-0000.parquet", 1, 2)],
        [("part-0000.parquet", 2, 2), ("part-0000.parquet", 3, 1), ("part-0001.parquet", 0, 2)],
        [("part-0001.parquet", 1, 1)],
    ]
    assert [(unit.before, unit.rows) for unit in survey.units] == [(0, 4), (4, 5), (9, 1)]
    assert survey.rows == 10


def test_files_without_rows_are_no_units(tmp_path):
    write_folder(tmp_path, pa.table(GOOD), [0, 3], 2)
    survey = survey_folder(tmp_path)
    assert [unit.rows for unit in survey.units] == [3]


def test_one_file_is_a_trace_too(tmp_path):
    write_folder(tmp_path, pa.table(GOOD), [], 2)
    assert survey_folder(tmp_path / "part-0000.parquet").rows == 3


def test_columns_are_found_by_common_names_or_those_given(tmp_path):
    table = pa.table({"timestamp": [1e12, 2e12], "key_id": [1, 2], "kind": ["get", "set"]})
    write_folder(tmp_path, table, [], 2)
    assert survey_folder(tmp_path).reading.roles == {"time": "timestamp", "key": "key_id"}
    reading = survey_folder(tmp_path, {"time_us": "timestamp", "op": "kind"}).reading
    assert reading.roles == {"time": "timestamp", "key": "key_id", "op": "kind"}
    assert reading.unit == "us"
    assert survey_folder(tmp_path).reading.unit == "ms", "by what the times look like"


def test_a_missing_column_is_named(tmp_path):
    write_folder(tmp_path, pa.table({"time_s": [0.0]}), [], 2)
    with pytest.raises(TraceError, match="A trace needs the column 'key'"):
        survey_folder(tmp_path)


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(TraceError, match="A trace needs the column"):
        survey_folder(tmp_path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(TraceError, match="gone cannot be read as a trace"):
        survey_folder(tmp_path / "gone")


def test_what_is_not_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_text("time_s,key,op\n")
    with pytest.raises(TraceError, match="cannot be read as a trace"):
        survey_folder(tmp_path)
