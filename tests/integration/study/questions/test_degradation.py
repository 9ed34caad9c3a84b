"""Timelines of a cache in trouble, on a small scale: with servers of our own, and by a relay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from statecache.study.harness.aside import run_aside
from statecache.study.questions.degradation import findings as found
from statecache.study.questions.degradation.measure import Recorded, measure
from statecache.study.questions.degradation.settings import DISABLED, Settings
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

SETTINGS = Settings(
    troubles=["dead", "hung", "emptied", "restarted", DISABLED],
    repetitions=1,
    rate_per_s=150.0,
    read_share=0.8,
    keys=100,
    healthy_s=0.3,
    trouble_s=0.4,
    recovery_s=0.2,
)


@pytest.fixture(scope="module", params=["own", "relay"])
def recorded(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Recorded:
    folder = RunFolder(Path(tmp_path_factory.mktemp("degradation")))
    seen = replace(servers, embedded=request.param == "own")
    return run_aside(lambda: measure(SETTINGS, seen, folder))


def test_what_must_hold_on_any_machine_holds(recorded: Recorded) -> None:
    findings = found.find(recorded)
    assert "no call failed" in found.check(findings)
    assert (findings.by_trouble["requests"] > 0).all()
    assert (findings.by_trouble["acknowledged"] > 0).all()


def test_the_cache_was_really_away_and_came_back(recorded: Recorded) -> None:
    cells = recorded.cells.set_index("cell")
    for trouble in ("dead", "hung"):
        assert cells.loc[trouble, "trouble_s"] >= SETTINGS.trouble_s
    for trouble in ("dead", "hung", "emptied", "restarted"):
        assert cells.loc[trouble, "used_after_s"] >= 0
    assert cells.loc[DISABLED, "hit_rate_healthy"] != cells.loc[DISABLED, "hit_rate_healthy"]


def test_what_is_measured_already_is_not_measured_again(servers: Servers, tmp_path: Path) -> None:
    settings = replace(SETTINGS, troubles=[DISABLED])
    folder = RunFolder(tmp_path)
    told: list[str] = []
    seen = replace(servers, embedded=False)
    first = run_aside(lambda: measure(settings, seen, folder))
    again = run_aside(
        lambda: measure(settings, seen, folder, lambda _share, what: told.append(what))
    )
    assert told == ["measured"]
    assert first.cells.equals(again.cells)
