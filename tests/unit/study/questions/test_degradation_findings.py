"""What is said of timelines, from frames made up here."""

from __future__ import annotations

import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from statecache.study.checkout import find_root
from statecache.study.claims import load_claims
from statecache.study.display import apply_style
from statecache.study.errors import StudyError
from statecache.study.histograms import histogram
from statecache.study.questions.degradation import figures
from statecache.study.questions.degradation.findings import check, find
from statecache.study.questions.degradation.frames import PHASES
from statecache.study.questions.degradation.measure import Recorded
from statecache.study.questions.degradation.sentences import answer, limits, measured
from statecache.study.questions.degradation.settings import DISABLED, Settings
from statecache.study.questions.degradation.tables import FORMATS, table, table_caption
from statecache.study.verdicts import judge_all

TROUBLES = ["none", "dead", "emptied", DISABLED]
SETTINGS = Settings(
    troubles=TROUBLES,
    repetitions=2,
    rate_per_s=400.0,
    read_share=0.8,
    keys=1_000,
    healthy_s=1.0,
    trouble_s=1.0,
    recovery_s=1.0,
)


def cell(trouble: str, block: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"cell": trouble, "block": block, "own": True, "error_text": ""}
    row |= {"requests": 1_200, "acknowledged": 240, "trouble_s": 1.0, "log_lines": 2}
    row |= dict.fromkeys(("errors", "wrong", "own_stale", "broken", "lost", "stale"), 0)
    row |= dict.fromkeys(("stale_after_repair", "stale_at_the_end"), 0)
    row |= {"stale_longest_s": 0.0, "used_after_s": 0.3 + block, "repaired_after_s": 0.5}
    row |= {"warm_after_s": 0.4, "late_p99_us": 900.0}
    for phase in PHASES:
        row |= {f"hit_rate_{phase}": 0.95, f"throughput_per_s_{phase}": 400.0}
        row[f"statements_per_s_{phase}"] = 400.0 if phase == "trouble" else 100.0
    return row | changes


def recorded(**changes: Any) -> Recorded:
    """Return two repetitions of each trouble; ``changes`` are of the killed cache."""
    turns = [(trouble, block) for block in (0, 1) for trouble in TROUBLES]
    cells = [cell(*turn, **(changes if turn[0] == "dead" else {})) for turn in turns]
    bins, latency = [], []
    for trouble, block in turns:
        at = np.arange(-10, 20) / 10 + 0.05
        bins.append(
            pd.DataFrame(
                {
                    "cell": trouble,
                    "block": block,
                    "at_s": at,
                    "requests": 40,
                    "p50_ms": np.where(at > 0, 4.0, 1.0),
                    "p99_ms": np.where(at > 0, 40.0, 5.0),
                    "max_ms": 60.0,
                    "throughput_per_s": 400.0,
                    "errors": 0,
                    "stale": 0,
                    "hit_rate": 0.9,
                    "statements_per_s": 100.0,
                    "unrepaired": 0,
                    "breaker_open": False,
                }
            )
        )
        for phase in PHASES:
            milliseconds = 4.0 if phase == "trouble" and trouble != "none" else 1.0
            frame = histogram(np.full(300, milliseconds / 1e3))
            latency.append(frame.assign(cell=f"{trouble} {phase}", block=block, operation="load"))
    return Recorded(
        SETTINGS,
        pd.DataFrame(cells),
        pd.concat(bins, ignore_index=True),
        pd.concat(latency, ignore_index=True),
        is_own=True,
    )


def test_counts_are_added_up_and_the_longest_time_is_told() -> None:
    findings = find(recorded(stale=3))
    row = findings.row("dead")
    assert row is not None
    assert (row["requests"], row["acknowledged"], row["stale"]) == (2_400, 480, 6)
    assert row["used_after_s"] == 1.3
    assert row["p50_ms_trouble"] == pytest.approx(4.0, rel=0.02)
    assert row["p50_ms_healthy"] == pytest.approx(1.0, rel=0.02)
    assert list(findings.by_trouble["trouble"]) == TROUBLES


def test_a_sound_run_is_said_to_be_one() -> None:
    findings = find(recorded())
    assert "no call failed" in check(findings)
    first, felt, again = answer(findings)
    assert "killed and emptied, none of 4,800 requests failed" in first
    assert "none of 960 acknowledged writes" in first
    assert "4.0 ms instead of 1.0 ms" in felt
    assert "1.30 s after it was back; no read was stale" in again


@pytest.mark.parametrize(
    ("count", "said"),
    [
        ("errors", "calls failed"),
        ("lost", "lost an acknowledged write"),
        ("own_stale", "older than the same manager's own write"),
        ("broken", "older than what the cache had acknowledged"),
        ("stale_after_repair", "stale after the writer had repaired"),
        ("stale_at_the_end", "older state than the row's"),
        ("wrong", "nobody wrote"),
    ],
)
def test_what_may_never_happen_ends_the_notebook(count: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(find(recorded(**{count: 1})))


def test_the_promises_are_judged_by_their_counts() -> None:
    claims = load_claims(find_root())
    here = {key: one for key, one in claims.items() if "degradation" in one.notebooks}

    def words(**changes: Any) -> dict[str, str]:
        rows = judge_all(here, measured(find(recorded(**changes))))
        return {row["id"]: row["verdict"] for row in rows}

    assert words() == dict.fromkeys(("survives_redis", "data_integrity", "rollback"), "holds")
    assert words(errors=1)["survives_redis"] == "does not hold"
    assert words(lost=1)["data_integrity"] == "does not hold"
    assert words(stale_after_repair=1)["data_integrity"] == "does not hold"


def test_a_percentile_of_few_requests_is_called_descriptive() -> None:
    assert "descriptive" in table_caption(find(recorded()))


def test_table_and_limits_speak_of_every_trouble_and_of_the_noise() -> None:
    findings = find(recorded())
    shown = table(findings)
    assert list(shown["cache"]) == ["no trouble", "killed", "emptied", "cache disabled"]
    assert set(FORMATS) <= set(shown.columns)
    assert any("noise floor" in limit for limit in limits(findings))


def test_a_cache_that_was_never_used_again_is_not_passed_over() -> None:
    said = answer(find(recorded(used_after_s=float("nan"))))
    assert "not in use again" in said[2]


def test_the_figures_are_drawn_without_a_warning() -> None:
    findings = find(recorded())
    apply_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in (figures.latency_picture, figures.load_picture):
            picture = draw(findings)
            picture.figure.canvas.draw()
            assert "killed" in picture.alt
            assert "loopback" in picture.caption
            assert not picture.table.empty
            plt.close(picture.figure)


def test_an_unknown_trouble_is_refused() -> None:
    with pytest.raises(StudyError, match="flooded"):
        Settings(
            troubles=["flooded"],
            repetitions=1,
            rate_per_s=1.0,
            read_share=0.8,
            keys=1,
            healthy_s=1.0,
            trouble_s=1.0,
            recovery_s=1.0,
        )
