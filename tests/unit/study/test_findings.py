from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from statecache.study.checkout import find_root
from statecache.study.claims import load_claims
from statecache.study.errors import StudyError
from statecache.study.findings import (
    NotebookFindings,
    read_findings,
    summarise,
    tally_sentence,
    write_findings,
)
from statecache.study.intervals import Interval
from statecache.study.runfolder import RunFolder
from statecache.study.verdicts import Measured

CLAIMS = load_claims(find_root(Path(__file__).parent))


def measured(claim: str, notebook: str, value: float) -> Measured:
    return Measured(
        claim=claim,
        interval=Interval(value, value * 0.99, value * 1.01),
        pairs=10,
        profile="loopback",
        conditions="32 callers",
        notebook=notebook,
    )


SWEEP = NotebookFindings(
    notebook="ttl_sweep",
    answer=["Take 2 h.", "More of it."],
    measured=[measured("hit_rate", "ttl_sweep", 0.25)],
    limits=["One machine.", "Flights only."],
    figures=[
        {"file": "a.svg", "alt": "a", "caption": "a", "overview": False},
        {"file": "b.svg", "alt": "b", "caption": "b", "overview": True},
    ],
)
LATENCY = NotebookFindings(
    notebook="latency",
    answer=["A hit takes 0.1 ms."],
    measured=[measured("read_gain", "latency", 1.4)],
    limits=["One machine."],
    figures=[{"file": "c.svg", "alt": "c", "caption": "c", "overview": False}],
    noise="it against itself: 1.00x",
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.update_run(study="standard", notebooks=[{"name": "latency"}, {"name": "ttl_sweep"}])
    return folder


def test_findings_come_back_as_they_were_in_the_order_of_the_experiment(folder: RunFolder) -> None:
    for one in (SWEEP, LATENCY):
        write_findings(folder, one)
    assert read_findings(folder) == [LATENCY, SWEEP]


@pytest.mark.parametrize(
    "interval",
    [
        Interval(1.0, float("nan"), float("nan")),
        Interval(1.0, 0.5, float("inf")),
        Interval(1.0, 0.0, 2.0),
    ],
    ids=["there is none", "at least", "at most"],
)
def test_an_interval_without_limits_survives_being_written(
    folder: RunFolder, interval: Interval
) -> None:
    one = NotebookFindings(
        notebook="latency",
        answer=[],
        measured=[
            Measured(
                claim="read_gain",
                interval=interval,
                pairs=1,
                profile="loopback",
                conditions="one caller",
                notebook="latency",
            )
        ],
        limits=[],
    )
    write_findings(folder, one)
    (found,) = read_findings(folder)
    assert str(found.measured[0].interval) == str(interval)


def test_one_notebook_answers_for_itself() -> None:
    found = summarise([SWEEP], CLAIMS)
    assert found["answer"] == ["Take 2 h.", "More of it."]
    judged = {row["id"]: row["verdict"] for row in found["verdicts"]}
    assert judged["hit_rate"] == "does not hold"
    assert set(judged) == {key for key, one in CLAIMS.items() if "ttl_sweep" in one.notebooks}


def test_several_answer_with_the_count_of_verdicts_and_their_headlines() -> None:
    found = summarise([LATENCY, SWEEP], CLAIMS)
    assert len(found["answer"]) <= 3
    assert found["answer"][0].startswith(f"Of {len(found['verdicts'])} verdicts")
    assert found["answer"][1] == "Take 2 h."
    assert found["limits"] == ["One machine.", "Flights only."]
    assert [figure["file"] for figure in found["figures"]] == ["b.svg"]
    assert found["noise"] == [{"notebook": "latency", "text": "it against itself: 1.00x"}]


def test_where_no_figure_is_marked_all_are_shown() -> None:
    assert [figure["file"] for figure in summarise([LATENCY], CLAIMS)["figures"]] == ["c.svg"]


def test_the_tally_counts_every_word_once() -> None:
    words = ["holds", "holds", "does not hold", "not decided"]
    assert tally_sentence([{"verdict": word} for word in words]) == (
        "Of 4 verdicts on the documented figures 2 hold, 1 does not hold and 1 is not decided."
    )


@pytest.mark.parametrize(
    "text", ["", "{", "7", "[]", '"text"', '{"format": 1}', '{"format": 1, "measured": [3]}']
)
def test_a_file_that_is_not_ours_is_refused(folder: RunFolder, text: str) -> None:
    (folder.path / "x.findings.json").write_text(text)
    with pytest.raises(StudyError, match="does not hold the findings"):
        read_findings(folder)


def test_what_a_profile_shows_is_judged_and_its_figures_stay_on_its_own_page() -> None:
    distant = replace(
        SWEEP,
        notebook="ttl_sweep.documented",
        figures=[{"file": "d.svg", "alt": "d", "caption": "d", "overview": True}],
    )
    found = summarise([SWEEP, distant], CLAIMS)
    assert [figure["file"] for figure in found["figures"]] == ["b.svg"]
    assert found["answer"][1:] == ["Take 2 h."]
    alone = summarise([distant], CLAIMS)
    assert [figure["file"] for figure in alone["figures"]] == ["d.svg"]
    assert any(row["id"] == "hit_rate" and row["measured"] for row in alone["verdicts"])
