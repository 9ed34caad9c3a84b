"""A folder is told by its metadata, and refused where it is no trace."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.folders import write_folder

from statecache.study.scale.survey import survey_folder
from statecache.study.traces import TraceError

GOOD = {"time_s": [0.0, 1.0, 2.0], "key": [1, 2, 3], "op": ["read"] * 3}


def test_units_are_whole_row_groups_in_the_order_of_the_files(tmp_path):
    table = pa.table({"time_s": [0.0] * 10, "key": [1] * 10, "op": ["read"] * 10})
    write_folder(tmp_path, table, [7], 2)
    survey = survey_folder(tmp_path, unit_rows=4)
    assert [(Path(unit.path).name, unit.row_groups, unit.rows) for unit in survey.units] == [
        ("part-0000.parquet", (0, 1), 4),
        ("part-0000.parquet", (2, 3), 3),
        ("part-0001.parquet", (0, 1), 3),
    ]
    assert survey.rows == 10


def test_files_without_rows_are_no_units(tmp_path):
    write_folder(tmp_path, pa.table(GOOD), [0, 3], 2)
    survey = survey_folder(tmp_path)
    assert [unit.rows for unit in survey.units] == [3]


def test_one_file_is_a_trace_too(tmp_path):
    write_folder(tmp_path, pa.table(GOOD), [], 2)
    assert survey_folder(tmp_path / "part-0000.parquet").rows == 3


def test_what_is_optional_is_found(tmp_path):
    table = pa.table({**GOOD, "size": [1, 2, 3], "outcome": ["hit"] * 3})
    write_folder(tmp_path, table, [], 2)
    assert survey_folder(tmp_path).columns == ("time_s", "key", "op", "size")


def refused(tmp_path, *files):
    for number, columns in enumerate(files):
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    with pytest.raises(TraceError) as caught:
        survey_folder(tmp_path)
    return str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    assert "0.parquet has no column 'op'" in refused(tmp_path, {"time_s": [0.0], "key": [1]})


def test_columns_that_only_some_files_have_are_named(tmp_path):
    message = refused(tmp_path, GOOD, {**GOOD, "size": [1, 2, 3]})
    assert "Only one of" in message
    assert "'size'" in message


def test_keys_of_two_kinds_are_named(tmp_path):
    message = refused(tmp_path, GOOD, {**GOOD, "key": ["a", "b", "c"]})
    assert "The keys are integers and names" in message


def test_keys_that_are_neither_numbers_nor_names_are_named(tmp_path):
    assert "The column key holds double" in refused(tmp_path, {**GOOD, "key": [0.5, 1.5, 2.5]})


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(TraceError, match="holds no parquet file"):
        survey_folder(tmp_path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(TraceError, match="gone cannot be read as a trace"):
        survey_folder(tmp_path / "gone")


def test_what_is_not_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_text("time_s,key,op\n")
    with pytest.raises(TraceError, match="cannot be read as a trace"):
        survey_folder(tmp_path)
