from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from statecache.study.bench.report import Report, aligned, measured_text, wanted_text
from statecache.study.bench.rows import AT_LEAST, AT_MOST, Findings, Goal, Row
from statecache.study.errors import StudyError
from statecache.study.intervals import Interval

NAN = float("nan")
RATIO = Row(
    name="mix",
    what="80/20",
    against="psycopg",
    value=Interval(7.3142, 7.02, 7.611),
    goal=Goal(AT_LEAST, 7.0),
    pairs=8,
    ours=41_234.5,
    theirs=5_612.0,
    absolute_unit="ops/s",
)
COUNTED = Row(
    name="blackout",
    what="dead",
    against="nobody",
    value=Interval(873.0, 873.0, 873.0),
    unit="ms",
    goal=Goal(AT_MOST, 1_250.0),
    counted=True,
)
SINGLE = Row(name="one", what="one", against="nobody", value=Interval(1.5, NAN, NAN))


def test_what_was_measured_and_wanted_in_words() -> None:
    assert measured_text(RATIO) == "7.31x (7.02–7.61)"
    assert wanted_text(RATIO) == "≥ 7x"
    assert measured_text(COUNTED) == "873 ms"
    assert wanted_text(COUNTED) == "≤ 1250 ms"
    assert measured_text(SINGLE) == "1.5x"
    assert wanted_text(SINGLE) == ""


def test_columns_stand_below_each_other() -> None:
    assert aligned([["", "a"], ["long name", "1"], ["x", "1,000"]]) == [
        "               a",
        "long name      1",
        "x          1,000",
    ]


def report() -> Report:
    made = Report(quick=True, seed=5, servers={"embedded": True})
    made.add("mix", Findings([RATIO, COUNTED, SINGLE], {"t": [{"variant": "none", "x": NAN}]}))
    made.status = "complete"
    return made


def test_the_table_says_what_was_met() -> None:
    text = io.StringIO()
    made = report()
    made.fail("engine", StudyError("a write was lost [sic]"))
    made.print(Console(file=text, soft_wrap=True, width=40))
    lines = text.getvalue().splitlines()
    (line,) = [line for line in lines if line.startswith("80/20")]
    assert line.split() == [
        "80/20",
        "7.31x",
        "(7.02–7.61)",
        "≥",
        "7x",
        "met",
        "41,234",
        "5,612",
        "ops/s",
    ]
    assert "against psycopg" in lines
    assert "none     –" in lines
    assert "engine failed: a write was lost [sic]" in lines


def test_an_empty_report_can_be_printed() -> None:
    text = io.StringIO()
    Report(quick=True, seed=5, servers={}).print(Console(file=text))
    assert "measured" in text.getvalue()


def test_a_line_may_lack_columns() -> None:
    """As that of a tool that is not installed does."""
    made = Report(quick=True, seed=5, servers={})
    made.add("tools", Findings([], {"t": [{"client": "missing"}, {"client": "ours", "rate": 7.0}]}))
    out = io.StringIO()
    made.print(Console(file=out, width=200))
    assert out.getvalue().splitlines()[-3:] == ["client   rate", "missing", "ours        7"]


def test_the_json_is_complete_and_knows_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "bench.json"
    report().write(path, tmp_path)
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["format"] == 1
    assert content["status"] == "complete"
    assert content["packages"]["redis"]
    assert [row["verdict"] for row in content["rows"]] == ["met", "met", "shown"]
    first, _second, third = content["rows"]
    assert (first["bench"], first["value"], first["wanted"]) == ("mix", 7.3142, "≥ 7x")
    assert (third["low"], third["wanted"]) == (None, None)
    assert content["tables"] == {"t": [{"variant": "none", "x": None}]}


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="cannot be written"):
        report().write(tmp_path / "file" / "bench.json", tmp_path)
