from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from statecache.study.progress import PROGRESS_FILE, read_progress
from statecache.study.questions.ttl_sweep import measure as ttl_sweep
from statecache.study.questions.ttl_sweep.cells import Cells
from statecache.study.questions.ttl_sweep.live_pass import Variant
from statecache.study.questions.ttl_sweep.measure import UNCACHED, Sweep, SweepSettings, measure
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

STARTS = ("2013-02-04", "2013-06-10", "2013-10-07")

SETTINGS = SweepSettings(
    starts=STARTS,
    days=0.01,
    time_scale=7_200.0,
    ttls_min=(60.5, 240.5),
    looks=("schedule",),
    timeout_ms=1_000,
    seed=1,
)


# Settings


@pytest.mark.parametrize(
    ("ttl_min", "time_scale", "live_ms"),
    [
        (60.5, 7_200.0, 504),
        (240.5, 14_400.0, 1_002),
        (5.0, 1.0, 300_000),
        (0.5, 100_000.0, 1),  # a cache takes no less
        (0.0001, 7_200.0, 1),
    ],
)
def test_a_ttl_is_scaled_with_the_events(ttl_min: float, time_scale: float, live_ms: int) -> None:
    assert replace(SETTINGS, time_scale=time_scale).live_ttl_ms(ttl_min) == live_ms


@pytest.mark.parametrize(
    "change",
    [
        {"days": 0.02},
        {"time_scale": 3_600.0},
        {"ttls_min": (60.5,)},
        {"ttls_min": (240.5, 60.5)},
        {"looks": ("before",)},
        {"looks": ()},
        {"timeout_ms": 999},
        {"seed": 2},
    ],
)
def test_cells_of_other_settings_have_another_fingerprint(change: dict[str, Any]) -> None:
    assert replace(SETTINGS, **change).fingerprint != SETTINGS.fingerprint


def test_the_passes_of_a_sweep_share_a_fingerprint() -> None:
    one = replace(SETTINGS, starts=["2013-02-04"])
    assert one.fingerprint == SETTINGS.fingerprint
    from_yaml = replace(SETTINGS, ttls_min=[60.5, 240.5], looks=["schedule"])
    assert from_yaml.fingerprint == SETTINGS.fingerprint
    assert re.fullmatch("[0-9a-f]{8}", SETTINGS.fingerprint), "it is part of a file's name"


def test_a_pass_replays_its_own_window() -> None:
    days = replace(SETTINGS, days=0.5)
    stream = days.stream(STARTS[0])
    assert stream["time_s"].between(0, 0.5 * 86_400).all()
    assert {"event", "look"} == set(stream["kind"])
    pd.testing.assert_frame_equal(stream, days.stream(STARTS[0]))
    assert not stream.equals(days.stream(STARTS[1]))
    assert set(replace(days, looks=()).stream(STARTS[0])["kind"]) == {"event"}


# Measuring: servers and managers are left out, a pass is what the machine made of it


@dataclass
class Machine:
    """Stands in for the live passes; says how each attempt went.

    ``went`` is by (start, attempt): commit_p99_us, and the points by which the live hit rate is off
    the executed and the planned times, and whether the machine was quiet.
    """

    went: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    passes: list[tuple[str, int]] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    stop_before: int = 1_000

    async def run_pass(
        self, _stream: pd.DataFrame, variants: list[Variant], _servers: Servers, **options: Any
    ) -> None:
        if len(self.passes) == self.stop_before:
            raise KeyboardInterrupt
        self.variants = variants
        options["on_progress"](0.5)

    def cells_of(self, *_record: Any, labels: dict[str, Any], **_options: Any) -> Cells:
        start, attempt = labels["start"], labels["attempt"]
        self.passes.append((start, attempt))
        how = {"commit": 1_000.0, "executed": 0.0, "planned": 0.0, "quiet": True}
        how |= self.went.get((start, attempt), {})
        rates = {
            "hit_rate": 0.5,
            "served_rate": 0.5,
            "hit_rate_executed": 0.5 - how["executed"] / 100,
            "hit_rate_planned": 0.5 - how["planned"] / 100,
        }
        rest = {"quiet": how["quiet"], "commit_p99_us": how["commit"]}
        cells = pd.DataFrame([labels | {"variant": "ttl_60_5m"} | rates | rest])
        buckets = {"operation": "hit", "low_us": 1.0, "high_us": 1.01, "count": 1}
        return Cells(cells, pd.DataFrame([labels | buckets]))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(ttl_sweep, "run_pass", machine.run_pass)
    monkeypatch.setattr(ttl_sweep, "cells_of", machine.cells_of)
    return machine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "progress"))
    return RunFolder.create(tmp_path, "ttl", "2026-01-31T12:00:00Z")


def run(folder: RunFolder, settings: SweepSettings = SETTINGS) -> Sweep:
    return asyncio.run(measure(settings, cast("Servers", None), folder))


def kept(sweep: Sweep) -> dict[str, int]:
    """Return by first day the attempt whose cells are shown."""
    for frame in (sweep.cells, sweep.histograms):
        assert frame["start"].tolist() == list(STARTS), "every pass once, in order"
    shown = dict(zip(sweep.cells["start"], sweep.cells["attempt"], strict=True))
    assert shown == dict(zip(sweep.histograms["start"], sweep.histograms["attempt"], strict=True))
    return shown


def test_every_pass_is_measured_with_a_variant_per_ttl_and_one_without_a_cache(
    machine: Machine, folder: RunFolder, tmp_path: Path
) -> None:
    sweep = run(folder)
    assert machine.passes == [(start, 1) for start in STARTS]
    uncached, *cached = machine.variants
    assert uncached == Variant(UNCACHED, None)
    assert [variant.ttl_ms for variant in cached] == [504, 2_004]
    assert len({variant.name for variant in machine.variants}) == 3
    assert kept(sweep) == dict.fromkeys(STARTS, 1)
    assert set(sweep.histograms["operation"]) == {"hit"}
    assert sweep.repeated == []
    assert sweep.settings == SETTINGS
    assert read_progress(tmp_path / "progress")[0] == 1.0


def test_measured_cells_survive_an_interruption_and_are_not_measured_again(
    machine: Machine, folder: RunFolder
) -> None:
    machine.stop_before = 2
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    assert machine.passes == [(STARTS[0], 1), (STARTS[1], 1)]
    machine.stop_before = 1_000
    first = run(folder)
    assert machine.passes[2:] == [(STARTS[2], 1)]
    again = run(RunFolder(folder.path))
    assert len(machine.passes) == 3
    pd.testing.assert_frame_equal(again.cells, first.cells)
    pd.testing.assert_frame_equal(again.histograms, first.histograms)


def test_cells_of_other_settings_are_not_taken(machine: Machine, folder: RunFolder) -> None:
    run(folder)
    run(folder, replace(SETTINGS, seed=2))
    assert len(machine.passes) == 6
    run(folder, replace(SETTINGS, starts=STARTS[:1]))
    assert len(machine.passes) == 6


def test_a_pass_that_disagrees_with_its_own_times_is_replaced_whatever_the_second_shows(
    machine: Machine, folder: RunFolder
) -> None:
    machine.went = {
        (STARTS[0], 1): {"executed": 0.6},
        (STARTS[2], 1): {"executed": -0.6, "quiet": False},
        (STARTS[2], 2): {"executed": 3.0, "commit": 9_000.0},
    }
    sweep = run(folder)
    assert machine.passes[3:] == [(STARTS[0], 2), (STARTS[2], 2)]
    assert sweep.repeated == [STARTS[0], STARTS[2]]
    assert kept(sweep) == {STARTS[0]: 2, STARTS[1]: 1, STARTS[2]: 2}


@pytest.mark.parametrize(("second", "shown"), [(1_900.0, 2), (2_100.0, 1)])
def test_of_the_noisy_passes_the_worst_is_repeated_and_the_quicker_attempt_kept(
    machine: Machine, folder: RunFolder, second: float, shown: int
) -> None:
    noisy = {"planned": 1.5, "quiet": False}
    machine.went = {
        (STARTS[0], 1): noisy | {"commit": 1_500.0},
        (STARTS[1], 1): noisy | {"commit": 2_000.0},
        (STARTS[1], 2): {"planned": 9.0, "quiet": False, "commit": second},
    }
    sweep = run(folder)
    assert machine.passes[3:] == [(STARTS[1], 2)]
    assert sweep.repeated == [STARTS[1]]
    assert kept(sweep) == {STARTS[0]: 1, STARTS[1]: shown, STARTS[2]: 1}


@pytest.mark.parametrize(
    "went",
    [
        {"planned": 1.5, "quiet": True},  # no noise to blame: the check is to fail
        {"planned": 0.9, "quiet": False, "commit": 9_000.0},  # noisy, and right all the same
        {"executed": 0.4},
    ],
)
def test_what_a_second_attempt_would_not_better_is_not_repeated(
    machine: Machine, folder: RunFolder, went: dict[str, Any]
) -> None:
    machine.went = {(STARTS[1], 1): went}
    sweep = run(folder)
    assert sweep.repeated == []
    assert len(machine.passes) == len(STARTS)


def test_failed_and_noisy_passes_are_repeated_once_each(
    machine: Machine, folder: RunFolder
) -> None:
    machine.went = {
        (STARTS[0], 1): {"planned": 1.5, "quiet": False, "commit": 2_000.0},
        (STARTS[1], 1): {"executed": 1.0},
    }
    sweep = run(folder)
    assert sweep.repeated == [STARTS[1], STARTS[0]]
    assert kept(sweep) == {STARTS[0]: 2, STARTS[1]: 2, STARTS[2]: 1}
    assert run(folder).repeated == sweep.repeated, "a resumed sweep tells it as well"
    assert len(machine.passes) == 5

    machine.passes.clear()
    machine.went[STARTS[1], 1] = {
        "executed": 1.0,
        "planned": 1.5,
        "quiet": False,
        "commit": 3_000.0,
    }
    assert run(folder, replace(SETTINGS, seed=2)).repeated == [STARTS[1]], "the worst has failed"
