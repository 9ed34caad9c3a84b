"""Every command of docs/TUNING.md runs as it stands, and its figures are those of the replay."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from statecache import Access, _commands
from statecache.recorder import AccessRecorder
from statecache.study.checkout import find_root
from statecache.study.experiments import load_experiment, parse_override
from statecache.study.questions.tune_ttl.measure import TuningSettings
from statecache.study.replay import hit_curve
from statecache.study.traces import read_trace

ROOT = find_root(Path(__file__).parent)
TEXT = (ROOT / "docs" / "TUNING.md").read_text()
WEBLOG = ROOT.parent / "shared" / "data" / "weblog-424.slt.gz"

COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
ADVICE = [command for command in COMMANDS if command.startswith("statecache advise")]
RUNS = [command for command in COMMANDS if command.startswith("statecache study run")]


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Command = Callable[[str], Done]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command in this process, in a folder with the files that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    record(tmp_path)

    def run(line: str) -> Done:
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        capsys.readouterr()
        return Done(_commands.run(), *capsys.readouterr())

    return run


def record(folder: Path) -> None:
    """Leave an access log, a table and a recording of forty keys for two hours."""
    draw = np.random.default_rng(4)
    seconds = np.sort(draw.integers(0, 7_200, 4_000))
    keys = draw.integers(0, 40, 4_000)
    hours, minutes = 12 + seconds // 3_600, seconds // 60 % 60
    log = [
        f'192.0.2.7 - - [01/Mar/2024:{hour:02}:{minute:02}:{second:02} +0000] "GET /page/{key} '
        'HTTP/1.1" 200 512'
        for hour, minute, second, key in zip(hours, minutes, seconds % 60, keys, strict=True)
    ]
    (folder / "access.log").write_text("\n".join(log) + "\n")
    rows = [
        f"{second},page:{key},{'GET' if key % 5 else 'SET'}"
        for second, key in zip(seconds, keys, strict=True)
    ]
    (folder / "requests.csv").write_text("\n".join(["when,id,what", *rows]) + "\n")
    recorder = AccessRecorder(folder / "recorded", sample=1.0)
    for second, key in zip(seconds.tolist(), keys.tolist(), strict=True):
        recorder(Access("load", f"trigger_{key}", "hit", second, second + 0.001, None, 300))
    recorder.close()


def test_the_page_has_commands() -> None:
    assert len(ADVICE) == 6
    assert len(RUNS) == 1
    assert len(ADVICE) + len(RUNS) == len(COMMANDS)


@pytest.mark.parametrize("line", ADVICE)
def test_the_commands_of_the_page(command: Command, line: str) -> None:
    done = command(line)
    assert done.returncode == ("exit 1" in line), done.stdout + done.stderr
    blocks = re.findall(rf"{re.escape(line)}\n```\n+```text\n(.*?)```", TEXT, re.DOTALL)
    for shown in "".join(blocks).splitlines():
        assert shown.rstrip("…") in done.stdout, f"the page shows {shown!r}: {done.stdout}"


@pytest.mark.parametrize("line", RUNS)
def test_the_experiment_of_the_page_has_these_parameters(line: str) -> None:
    words = shlex.split(line)
    (notebook,) = load_experiment(words[3], ROOT).notebooks
    assert notebook.name == "tune_ttl"
    given = dict(parse_override(text) for text in words[words.index("-p") + 1 :: 2])
    known = TuningSettings.__dataclass_fields__
    assert set(given) <= set(known)


def shown_rates(name: str) -> dict[float, float]:
    """Return TTL → hit rate in per cent of a row of the page's table."""
    head = re.search(r"^\| TTL \|(.*)\|$", TEXT, re.MULTILINE)
    row = re.search(rf"^\| {name}, % \|(.*)\|$", TEXT, re.MULTILINE)
    assert head
    assert row
    ttls = [float(cell.split()[0]) for cell in head[1].split("|")]
    return dict(zip(ttls, map(float, row[1].split("|")), strict=True))


@pytest.mark.parametrize(("name", "source"), [("flights", "flights"), ("web log", str(WEBLOG))])
def test_the_figures_of_the_page(name: str, source: str) -> None:
    if source != "flights" and not Path(source).exists():
        pytest.skip(f"{source} is not here: it is not part of the project")
    shown = shown_rates(name)
    replayed = 100 * hit_curve(read_trace(source), list(shown))["hit_rate"]
    assert replayed.tolist() == pytest.approx(list(shown.values()), abs=0.0051)
