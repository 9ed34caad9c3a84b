from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from statecache.study.errors import StudyError
from statecache.study.runfolder import FORMAT, RunFolder, newest_unfinished, utc_now

STARTED = "2026-01-31T12:00:00Z"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "results", "ttl", STARTED)


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A path at which nothing can be made, not even by root: a regular file is in the way."""
    file = tmp_path / "file"
    file.write_text("in the way")
    return file / "below"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout, which is the current folder."""
    for name in ("experiments", "notebooks"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(results: Path, name: str, **fields: Any) -> None:
    (results / name).mkdir(parents=True)
    RunFolder(results / name).update_run(**fields)


def assert_one_sentence(error: pytest.ExceptionInfo[StudyError]) -> None:
    message = str(error.value)
    assert message.splitlines() == [message]
    assert message.endswith(".")
    assert "Traceback" not in message


# Making and finding


def test_a_run_has_a_folder_named_after_study_and_time(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "new" / "results", "ttl", STARTED)
    assert folder.path == tmp_path / "new" / "results" / "ttl-20260131T120000Z"
    assert folder.path.is_dir()


def test_runs_of_the_same_second_do_not_share_a_folder(tmp_path: Path) -> None:
    names = [RunFolder.create(tmp_path, "ttl", STARTED).path.name for _ in range(3)]
    assert names == ["ttl-20260131T120000Z", "ttl-20260131T120000Z-2", "ttl-20260131T120000Z-3"]
    assert RunFolder.create(tmp_path, "quick", STARTED).path.name == "quick-20260131T120000Z"


def test_a_hundredth_run_of_a_second_is_refused(tmp_path: Path) -> None:
    for _ in range(99):
        RunFolder.create(tmp_path, "ttl", STARTED)
    with pytest.raises(StudyError, match="99 runs") as refused:
        RunFolder.create(tmp_path, "ttl", STARTED)
    assert_one_sentence(refused)


def test_where_no_folder_can_be_made_a_sentence_says_so(blocked: Path) -> None:
    with pytest.raises(StudyError, match="--results") as refused:
        RunFolder.create(blocked, "ttl", STARTED)
    assert_one_sentence(refused)
    assert str(blocked) in str(refused.value)


def test_a_notebook_of_the_runner_opens_the_run_s_folder(tmp_path: Path) -> None:
    made = RunFolder.open(str(tmp_path / "results" / "ttl-1"), "ttl_sweep")
    assert made.path == tmp_path / "results" / "ttl-1"
    made.update_run(study="ttl", status="running")
    again = RunFolder.open(str(made.path), "ttl_sweep")
    assert again.read_run()["study"] == "ttl", "opening it again changes nothing"
    assert list(tmp_path.iterdir()) == [tmp_path / "results"]


def test_a_notebook_that_is_run_by_hand_gets_a_folder_of_its_own(checkout: Path) -> None:
    below = checkout / "notebooks"
    folder = RunFolder.open("", "ttl_sweep")
    assert folder.path.parent == checkout / "results"
    assert folder.path.name.startswith("ttl_sweep-by-hand-")
    run = folder.read_run()
    assert (run["study"], run["status"]) == ("ttl_sweep-by-hand", "by hand")
    assert re.sub("[-:]", "", run["started"]) in folder.path.name
    assert RunFolder.open("", "ttl_sweep").path != folder.path
    assert list(below.iterdir()) == []


def test_the_time_is_utc_to_the_second() -> None:
    now = pd.Timestamp.now("UTC")
    told = utc_now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told)
    assert abs((pd.Timestamp(told) - now).total_seconds()) < 60


# run.json and verdicts.json


def test_what_is_known_of_a_run_is_kept_and_changed_by_field(folder: RunFolder) -> None:
    folder.update_run(study="ttl", status="running", parameters={"days": 2.0, "looks": ["a"]})
    folder.update_run(status="complete", title="Größe – ×")
    assert RunFolder(folder.path).read_run() == {
        "format": FORMAT,
        "study": "ttl",
        "status": "complete",
        "parameters": {"days": 2.0, "looks": ["a"]},
        "title": "Größe – ×",
    }
    assert folder.study == "ttl"


def test_a_run_without_a_study_goes_by_its_folder(folder: RunFolder) -> None:
    folder.update_run(status="running")
    assert folder.study == "ttl-20260131T120000Z"


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "parameters": 7}']
)
def test_what_is_not_a_run_is_refused_and_left_alone(folder: RunFolder, text: str | None) -> None:
    path = folder.path / "run.json"
    if text is not None:
        path.write_text(text)
        with pytest.raises(StudyError, match=re.escape(str(folder.path))):
            folder.update_run(status="complete")
        assert path.read_text() == text
    with pytest.raises(StudyError, match=re.escape(str(folder.path))) as refused:
        folder.read_run()
    assert_one_sentence(refused)


def test_a_number_that_is_none_never_reaches_a_file(folder: RunFolder) -> None:
    folder.update_run(status="running")
    with pytest.raises(ValueError, match="not JSON"):
        folder.update_run(load=float("nan"))
    assert folder.read_run() == {"format": FORMAT, "status": "running"}


def test_verdicts_round_trip_and_are_empty_before_the_first(folder: RunFolder) -> None:
    assert folder.read_verdicts() == {}
    folder.write_verdicts({"answer": ["TTL 8 h: 80 % hits."], "verdicts": []})
    assert folder.read_verdicts() == {
        "format": FORMAT,
        "answer": ["TTL 8 h: 80 % hits."],
        "verdicts": [],
    }


@pytest.mark.parametrize("text", ["", "{", "[1]", "7"])
def test_verdicts_that_cannot_be_read_are_told_in_a_sentence(folder: RunFolder, text: str) -> None:
    (folder.path / "verdicts.json").write_text(text)
    with pytest.raises(StudyError, match=re.escape(str(folder.path))) as refused:
        folder.read_verdicts()
    assert_one_sentence(refused)


def test_a_folder_that_cannot_be_held_is_told_in_a_sentence(folder: RunFolder) -> None:
    (folder.path / ".lock").mkdir()
    with pytest.raises(StudyError, match="cannot be written") as refused, folder.locked():
        pass
    assert_one_sentence(refused)


# Cells and frames


def test_cells_round_trip_and_are_counted(folder: RunFolder) -> None:
    one = pd.DataFrame({"ttl_min": [60.5, float("nan")], "variant": ["a", "b"], "n": [1, 2]})
    two = one.assign(n=[3, 4])
    assert folder.count_cells() == 0
    assert folder.read_cell("ttl_sweep", "2013-02-04") is None
    folder.write_cell("ttl_sweep", "2013-02-04", one)
    folder.write_cell("ttl_sweep", "2013-06-10", two)
    folder.write_cell("another", "2013-02-04", two)
    kept = RunFolder(folder.path)
    assert kept.count_cells() == 3
    for cell, frame in (("2013-02-04", one), ("2013-06-10", two)):
        read = kept.read_cell("ttl_sweep", cell)
        assert read is not None
        pd.testing.assert_frame_equal(read, frame)
    assert kept.read_cell("ttl_sweep", "2013-10-07") is None


def test_a_cell_is_replaced_by_one_measured_again(folder: RunFolder) -> None:
    for hits in (1, 2):
        folder.write_cell("n", "c", pd.DataFrame({"hits": [hits]}))
    read = folder.read_cell("n", "c")
    assert read is not None
    assert read["hits"].tolist() == [2]
    assert folder.count_cells() == 1


@pytest.mark.parametrize("part", [b"", b"PAR1", b"PAR1 is how one begins, and ends PAR1"])
def test_a_cell_that_is_not_whole_is_measured_again(folder: RunFolder, part: bytes) -> None:
    folder.write_cell("n", "c", pd.DataFrame({"hits": [1, 2], "variant": ["a", "b"]}))
    (path,) = folder.path.glob("cells/n/*")
    path.write_bytes(part)
    assert folder.read_cell("n", "c") is None


def test_a_wrong_bit_in_a_cell_never_becomes_a_wrong_figure(folder: RunFolder) -> None:
    frame = pd.DataFrame({"hits": [1, 2, 3] * 30, "rate": [1.5, float("nan"), 2.0] * 30})
    folder.write_cell("n", "c", frame)
    (path,) = folder.path.glob("cells/n/*")
    whole = path.read_bytes()
    lost = 0
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x04]) + whole[place + 1 :])
        read = folder.read_cell("n", "c")
        lost += read is None
        if read is not None and list(read) == list(frame):
            pd.testing.assert_frame_equal(read, frame)
    assert lost, "most bytes matter"
    for length in range(0, len(whole), 200):
        path.write_bytes(whole[:length])
        assert folder.read_cell("n", "c") is None


def test_measurements_are_plain_parquet_beside_run_json(folder: RunFolder) -> None:
    frame = pd.DataFrame({"hits": [1, 2]})
    folder.write_frame("ttl_sweep.measurements", frame)
    folder.write_text("index.html", "<p>–</p>")
    written = pd.read_parquet(folder.path / "ttl_sweep.measurements.parquet")
    pd.testing.assert_frame_equal(written, frame)
    assert (folder.path / "index.html").read_text(encoding="utf-8") == "<p>–</p>"
    assert folder.count_cells() == 0


# Files are replaced whole


def names(folder: RunFolder) -> list[str]:
    return sorted(path.name for path in folder.path.rglob("*") if path.is_file())


def test_nothing_but_the_files_themselves_stays(folder: RunFolder) -> None:
    for status in ("running", "complete"):
        folder.update_run(status=status)
        folder.write_cell("n", "c", pd.DataFrame({"hits": [1]}))
    assert names(folder) == ["c.parquet", "run.json"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.update_run(status="running")
    folder.write_frame("m", pd.DataFrame({"hits": [1]}))

    def full_disk(path: Path, data: str, **_options: Any) -> int:
        path.write_bytes(data.encode()[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(StudyError, match="No space left on device") as failed:
        folder.update_run(status="complete")
    assert_one_sentence(failed)
    assert json.loads((folder.path / "run.json").read_bytes())["status"] == "running"
    assert names(folder) == ["m.parquet", "run.json"]


def test_a_reader_that_has_the_file_open_reads_all_of_the_old_one(folder: RunFolder) -> None:
    folder.update_run(status="running", note="x" * 100_000)
    with (folder.path / "run.json").open() as reading:
        start = reading.read(10)
        folder.update_run(status="complete", note="")
        assert json.loads(start + reading.read())["status"] == "running"


def test_a_folder_that_has_gone_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be written") as failed:
        RunFolder(tmp_path / "gone").write_text("index.html", "")
    assert_one_sentence(failed)
    assert str(tmp_path / "gone") in str(failed.value)


# Resuming


def test_the_newest_unfinished_run_is_resumed(tmp_path: Path) -> None:
    run_of(tmp_path, "ttl-20260101T000000Z", study="ttl", status="failed")
    run_of(tmp_path, "ttl-20260103T000000Z", study="ttl", status="interrupted")
    run_of(tmp_path, "ttl-20260102T000000Z", study="ttl", status="running")
    run_of(tmp_path, "ttl-20260104T000000Z", study="ttl", status="complete")
    run_of(tmp_path, "ttl-by-hand-20260105T000000Z", study="ttl-by-hand", status="failed")
    run_of(tmp_path, "quick-20260106T000000Z", study="quick", status="running")  # killed
    (tmp_path / "ttl-20260107T000000Z").mkdir()
    (tmp_path / "ttl-20260108T000000Z").write_text("no folder")
    assert newest_unfinished(tmp_path, "ttl").path.name == "ttl-20260103T000000Z"
    assert newest_unfinished(tmp_path, "quick").path.name == "quick-20260106T000000Z"


def test_where_every_run_is_complete_there_is_none_to_resume(tmp_path: Path) -> None:
    run_of(tmp_path, "ttl-20260104T000000Z", study="ttl", status="complete")
    run_of(tmp_path, "ttl-20260105T000000Z", study="ttl", status="by hand")
    for results in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StudyError, match="no unfinished run of 'ttl'") as refused:
            newest_unfinished(results, "ttl")
        assert_one_sentence(refused)
        assert "--resume" in str(refused.value)


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    other = RunFolder(tmp_path).locked()
    with folder.locked(), pytest.raises(StudyError, match="another process"):
        other.__enter__()
    with folder.locked():
        pass
