"""``statecache trace`` shows what a file holds, converts it, and refuses in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.streams import write

from statecache import _commands
from statecache._trace_commands import parse_columns
from statecache.study.traces import read_trace

LINES = ["when,who,what,bytes", "1000,a,get,10", "1500,a,set,20", "oops,b,get,1", "61000,b,del,"]
COLUMNS = "time_ms=when,key=who,op=what"


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["statecache", "trace", *map(str, words)])
        capsys.readouterr()
        return Done(_commands.run(), *capsys.readouterr())

    return run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "x.csv", LINES)


def facts(shown: str) -> dict[str, str]:
    cells = (line.split("  ", 1) for line in shown.splitlines() if "  " in line)
    return {name.strip(): value.strip() for name, value in cells}


def test_it_shows_what_a_file_holds(command: Command, path: Path):
    done = command(path, "--columns", COLUMNS)
    assert done.returncode == 0
    assert facts(done.stdout) == {
        "format": "csv: CSV with a line of names",
        "lines": "4; 0 hold no operation on a state",
        "malformed": "1, left out; the first is line 4: 'oops' is no time",
        "operations": "3",
        "reads, writes, deletes": "1 (33.3%), 1 (33.3%), 1 (33.3%)",
        "keys": "2",
        "duration": "1.0 min (60 s)",
        "rate": "0.05 operations/s",
        "sizes": "mean 10, median 10, 99 % below 20, largest 20 bytes",
    }


def test_strict_refuses_a_malformed_line(command: Command, path: Path):
    done = command(path, "--columns", COLUMNS, "--strict", "-o", path.with_suffix(".parquet"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"statecache: {path}, line 4: 'oops' is no time; mend it," in done.stderr
    assert not path.with_suffix(".parquet").exists()


def test_it_converts_to_parquet(command: Command, path: Path):
    output = path.with_suffix(".parquet")
    done = command(path, "--columns", COLUMNS, "--output", output)
    assert done.returncode == 0
    assert done.stdout.endswith(f"Written: {output}\n")
    columns = {"time_ms": "when", "key": "who", "op": "what"}
    assert read_trace(output).to_frame().equals(read_trace(path, columns=columns).to_frame())
    assert facts(command(output).stdout)["malformed"] == "none"


def test_what_cannot_be_written_is_said_in_a_sentence(command: Command, path: Path):
    done = command(path, "--columns", COLUMNS, "-o", path / "below-a-file.parquet")
    assert done.returncode == 1
    assert "The trace cannot be written to" in done.stderr


def test_a_synthetic_stream_is_called_so(command: Command):
    shown = facts(command("synthetic:cluster52:1000:10").stdout)
    assert shown["synthetic"].startswith("synthetic, drawn from the statistics of Twitter's")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.csv"], "missing.csv cannot be read (No such file or directory): give the file"),
        (["{path}", "--format", "arff"], "The format 'arff' is unknown: use one of csv, "),
        (["{path}", "--columns", "key"], "--columns has 'key': write ours=theirs, as in "),
        (["{path}", "--columns", "what=when"], "A trace has no column 'what': map time_s"),
        (["{path}"], "in no format that is recognised (it begins with 'when,who,what,bytes')"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(command: Command, path: Path, words, message):
    done = command(*(word.format(path=path) for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_columns_are_parsed():
    assert parse_columns(None) is None
    assert parse_columns("time_s=1, key=a=b,op=") == {"time_s": "1", "key": "a=b", "op": None}
