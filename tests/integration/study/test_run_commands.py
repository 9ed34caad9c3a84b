"""Commands on runs that exist, with their exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pandas as pd
import pytest

from statecache import _commands
from statecache.study.checkout import find_root
from statecache.study.runfolder import RunFolder

ROOT = find_root(Path(__file__).parent)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, which takes a tenth of the time of one of its own."""
    monkeypatch.chdir(ROOT)

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["statecache", "study", *words])
        capsys.readouterr()
        return Done(_commands.run(), *capsys.readouterr())

    return run


def make_run(results: Path, name: str, slower: float = 1.0, cores: int = 2) -> RunFolder:
    """Make a run of eight blocks with 2 % noise, all of it slower by a factor."""
    folder = RunFolder(results / name)
    folder.path.mkdir(parents=True)
    folder.update_run(
        study="standard",
        status="complete",
        started="2026-01-01T00:00:00Z",
        profile="loopback",
        parameters={},
        machine={"cpu": "A", "cores": cores},
        notebooks=[{"name": "latency", "title": "Latency", "summary": ""}],
    )
    noise = np.exp(np.random.default_rng(len(name)).normal(0, 0.02, (2, 8)))
    folder.write_frame(
        "latency.measurements",
        pd.DataFrame(
            {
                "cell": "one caller",
                "variant": "redis",
                "profile": "loopback",
                "block": range(8),
                "throughput_ops_s": 6_000 / slower * noise[0],
                "load_p50_us": 150 * slower * noise[1],
            }
        ),
    )
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    make_run(tmp_path, "before")
    make_run(tmp_path, "again")
    make_run(tmp_path, "slower", slower=1.2)
    make_run(tmp_path, "elsewhere", cores=4)
    return tmp_path


@pytest.fixture
def compare(command: Command, results: Path) -> Command:
    return lambda *words: command("compare", *words, "--results", str(results))


def test_in_a_process_of_its_own(results: Path) -> None:
    words = ["study", "compare", "before", "slower", "--results", str(results)]
    done = subprocess.run(
        [sys.executable, "-m", "statecache", *words],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "slower (B) against before (A)" in done.stdout


def test_a_regression_is_exit_code_1_and_a_table(compare: Command) -> None:
    done = compare("before", "slower")
    assert (done.returncode, done.stderr) == (1, "")
    assert "slower (B) against before (A)" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "regression" in line]
    assert [line.split()[0] for line in lines] == ["throughput_ops_s", "load_p50_us"]
    assert "2 metrics compared: 2 worse by more than 5 %" in done.stdout


def test_the_same_or_better_is_exit_code_0(compare: Command) -> None:
    done = compare("before", "again")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 worse by more than 5 %" in done.stdout
    assert "throughput_ops_s" not in done.stdout
    assert "throughput_ops_s" in compare("before", "again", "--all").stdout
    done = compare("slower", "before")
    assert done.returncode == 0
    assert "2 better" in done.stdout


def test_what_the_margin_tolerates_is_exit_code_0(compare: Command) -> None:
    done = compare("before", "slower", "--margin", "40")
    assert done.returncode == 0
    assert "2 worse by less" in done.stdout


def test_runs_are_found_by_their_folder_too(command: Command, results: Path) -> None:
    assert command("compare", str(results / "before"), str(results / "slower")).returncode == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["before", "elsewhere"], "machine's cores (2, 4): --anyway"),
        (["before", "slowr"], "no run is called 'slowr': did you mean 'slower'?"),
        (["before", "x"], "choose from again, before, elsewhere, slower."),
        (["before"], "Missing argument 'B'"),
        (["before", "slower", "--margin", "-1"], "Invalid value"),
        (["before", "slower", "--margin", "x"], "Invalid value"),
    ],
)
def test_a_mistake_is_exit_code_2_and_a_sentence(
    compare: Command, words: list[str], said: str
) -> None:
    done = compare(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("run.json", "{", "run.json cannot be read"),
        ("run.json", '{"format": 1, "parameters": []}', "parameters that are no mapping"),
        ("run.json", '{"format": 9}', "not of format 1"),
        ("latency.measurements.parquet", "", "cannot be read as a table"),
        ("latency.measurements.parquet", "PAR1PAR1", "cannot be read as a table"),
    ],
)
def test_a_broken_run_is_no_regression(
    compare: Command, results: Path, file: str, content: str, said: str
) -> None:
    (results / "slower" / file).write_text(content)
    done = compare("before", "slower")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_is_compared_only_if_one_insists(
    compare: Command, results: Path, status: str
) -> None:
    RunFolder(results / "slower").update_run(status=status)
    for words in (("before", "slower"), ("slower", "before")):
        done = compare(*words)
        assert done.returncode == 2
        assert "the runs differ in how far they came" in done.stderr
        assert status in done.stderr
    done = compare("before", "slower", "--anyway")
    assert done.returncode == 1
    assert f"how far they came (complete, {status})" in done.stdout


def test_runs_of_different_studies_are_refused(compare: Command, results: Path) -> None:
    RunFolder(results / "again").update_run(study="quick")
    done = compare("before", "again")
    assert done.returncode == 2
    assert "the runs differ in study (standard, quick): --anyway" in done.stderr


def test_a_folder_that_is_no_run_is_exit_code_2(
    command: Command, compare: Command, results: Path
) -> None:
    (results / "empty").mkdir()
    (results / "file").touch()
    for name in ("empty", "file", str(results / "empty"), str(results), "../before/run.json"):
        for done in (
            compare("before", name),
            compare(name, "before"),
            command("report", name, "--results", str(results)),
        ):
            assert done.returncode == 2
            assert done.stderr.startswith("statecache: no run is called")
            assert len(done.stderr.splitlines()) == 1


def test_other_machines_are_compared_anyway_and_the_title_says_so(compare: Command) -> None:
    done = compare("before", "elsewhere", "--anyway")
    assert done.returncode == 0
    title = done.stdout.splitlines()[0]
    assert "compared anyway, though they differ in machine's cores (2, 4)" in title


def test_a_report_is_rendered_again(command: Command, results: Path) -> None:
    folder = RunFolder(results / "before")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# How fast?")])
    nbformat.write(notebook, folder.path / "latency.ipynb")
    folder.write_verdicts({"answer": ["As fast as before."], "verdicts": []})
    done = command("report", "before", "--results", str(results))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == f"Report: {folder.path / 'index.html'}"
    assert "How fast?" in (folder.path / "latency.html").read_text()
    page = (folder.path / "index.html").read_text()
    assert "As fast as before." in page
    assert 'href="latency.html"' in page
    assert "before/index.html" in (results / "index.html").read_text()

    folder.write_verdicts({"answer": ["As slow as ever."], "verdicts": []})
    assert command("report", str(folder.path), "--results", str(results)).returncode == 0
    assert "As slow as ever." in (folder.path / "index.html").read_text()


@pytest.mark.parametrize("file", ["run.json", "verdicts.json", "latency.ipynb"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 9}'])
def test_a_damaged_run_is_not_rendered_and_a_sentence_says_why(
    command: Command, results: Path, file: str, content: str
) -> None:
    (results / "before" / file).write_text(content)
    done = command("report", "before", "--results", str(results))
    assert done.returncode == 1
    assert file in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (results / "before" / "index.html").exists()


def test_no_run_to_report_is_exit_code_2(command: Command, results: Path) -> None:
    done = command("report", "befre", "--results", str(results))
    assert done.returncode == 2
    assert "did you mean 'before'?" in done.stderr


def test_a_run_that_is_being_worked_on_is_left_alone(command: Command, results: Path) -> None:
    with RunFolder(results / "before").locked():
        done = command("report", "before", "--results", str(results))
    assert done.returncode == 1
    assert "worked on by another process" in done.stderr
    assert not (results / "before" / "index.html").exists()
