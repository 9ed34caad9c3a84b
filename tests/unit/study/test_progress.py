from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from statecache.study import progress
from statecache.study.progress import EVERY_S, PROGRESS_FILE, read_progress, report_progress


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / ".progress"
    monkeypatch.setenv(PROGRESS_FILE, str(path))
    return path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_the_runner_reads_what_the_notebook_reports(file: Path) -> None:
    assert read_progress(file) == (0.0, ""), "before the first report"
    with report_progress() as report:
        report(0.25, "pass 1 of 4 – “ß”")
        assert read_progress(file) == (0.25, "pass 1 of 4 – “ß”")
        report(1.0, "measured")
    assert read_progress(file) == (1.0, "measured")
    assert list(file.parent.iterdir()) == [file]


def test_the_file_is_written_a_few_times_a_second_only(file: Path, clock: Clock) -> None:
    with report_progress() as report:
        report(0.1, "first")
        clock.now += EVERY_S * 0.9
        report(0.2, "too soon")
        assert read_progress(file) == (0.1, "first")
        clock.now += EVERY_S * 0.2
        report(0.3, "later")
        assert read_progress(file) == (0.3, "later")
        report(1.0, "the end is always told")
        assert read_progress(file) == (1.0, "the end is always told")


def test_a_reader_never_sees_half_a_report(file: Path) -> None:
    seen: list[tuple[float, str]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.append(read_progress(file))

    with report_progress() as report:
        report(1.0, "report")
        watcher = threading.Thread(target=watch)
        watcher.start()
        for _ in range(500):
            report(1.0, "report")
        over.set()
        watcher.join()
    assert set(seen) == {(1.0, "report")}


@pytest.mark.parametrize("text", ["", "[0.5", "[0.5]", '[0.5, "a", 1]'])
def test_what_is_no_report_counts_as_none(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_progress(file) == (0.0, "")


def test_by_hand_there_is_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(PROGRESS_FILE, raising=False)
    monkeypatch.chdir(tmp_path)
    with report_progress() as report:
        report(0.42, "pass 1 of 2")
    half = capsys.readouterr()
    assert "pass 1 of 2:  42%" in half.err
    with report_progress() as report:
        report(0.42, "pass 1 of 2")
        report(1.0, "measured")
    assert "measured: 100%" in capsys.readouterr().err
    assert half.out == ""
    assert list(tmp_path.iterdir()) == []
