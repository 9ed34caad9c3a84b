"""A campaign on the real servers: cells are counted, kept, and not measured again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from statecache.study.counting import ServerCounts
from statecache.study.errors import StudyError
from statecache.study.harness.aside import run_aside
from statecache.study.harness.campaign import Campaign, Measurements, again
from statecache.study.harness.drives import Closed, Open
from statecache.study.harness.machine import pinned_apart, server_processes
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import FACTORIAL, NONE, REDIS
from statecache.study.harness.workloads import Workload
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers, open_database

WORKLOAD = Workload(keys=50)
DRIVE = Closed(4, 0.05)
BASELINE = Condition(cell="none", variant=NONE, workload=WORKLOAD, drive=DRIVE)


def campaign(servers: Servers, path: Path, seed: int = 1) -> Campaign:
    return Campaign(
        servers=servers, folder=RunFolder(path), notebook="test", seed=seed, pool_size=4
    )


@pytest.fixture(scope="module")
def measured(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Measurements:
    conditions = [
        *(replace(BASELINE, cell=one.name, variant=one) for one in FACTORIAL),
        again(BASELINE),
        replace(BASELINE, cell="threads", variant=replace(REDIS, threads=True)),
        replace(BASELINE, cell="open", variant=REDIS, drive=Open(8, 0.1, 200.0)),
        replace(BASELINE, cell="open threads", variant=replace(NONE, threads=True),
                drive=Open(8, 0.1, 200.0)),
        replace(BASELINE, cell="cold", cold=True),
        replace(BASELINE, cell="deletes", variant=REDIS,
                workload=replace(WORKLOAD, delete_share=0.1, size_bytes=1_000)),
    ]  # fmt: skip
    one = campaign(servers, tmp_path_factory.mktemp("campaign"))
    return run_aside(lambda: one.measure(conditions, 2))


def test_every_block_holds_every_condition_once(measured: Measurements) -> None:
    counts = measured.cells.groupby(["block", "cell"]).size()
    assert (counts == 1).all()
    assert len(counts) == 2 * (len(FACTORIAL) + 6)
    orders = measured.cells.groupby("block")["cell"].agg(list)
    assert orders[0] != orders[1], "an order of its own (the chance that it is the same is 1/12!)"


def test_statements_and_hits_are_what_the_variant_makes_of_them(measured: Measurements) -> None:
    by_cell = measured.cells.groupby("cell").mean(numeric_only=True)
    assert by_cell.loc["none", "statements_per_op"] == pytest.approx(1.0)
    assert by_cell.loc["redis", "hit_rate"] > 0.9
    assert by_cell.loc["redis", "statements_per_op"] < 0.5
    assert by_cell.loc["gather", "statements_per_op"] < 1.0
    assert by_cell.loc["deletes", "delete_count"] > 0


def test_an_open_loop_says_how_late_it_was_and_what_was_left(measured: Measurements) -> None:
    for cell in ("open", "open threads"):
        rows = measured.cells[measured.cells["cell"] == cell]
        assert rows["late_p99_us"].notna().all()
        assert rows["completed_share"].between(0, 1).all()


def test_histograms_hold_every_request(measured: Measurements) -> None:
    counts = measured.histograms.groupby(["cell", "block"])["count"].sum()
    requests = measured.cells.set_index(["cell", "block"])["requests"]
    assert counts.sort_index().to_dict() == requests.sort_index().to_dict()


def test_what_was_measured_is_not_measured_again(servers: Servers, tmp_path: Path) -> None:
    one = campaign(servers, tmp_path)
    first = run_aside(lambda: one.measure([BASELINE], 2))
    nowhere = replace(one, servers=Servers("postgresql://nobody@127.0.0.1:1/x", "", embedded=False))
    # Only if nothing is left to repeat can it do without the servers.
    if not first.repeated and first.cells["foreign_share"].max() <= 0.25:
        again_ = run_aside(lambda: nowhere.measure([BASELINE], 2))
        assert again_.cells.equals(first.cells)
    longer = run_aside(lambda: one.measure([BASELINE], 3))
    assert longer.cells["block"].tolist() == [0, 1, 2]
    kept = longer.cells[longer.cells["block"] == 0]
    assert longer.repeated or kept.equals(first.cells[first.cells["block"] == 0])


def test_who_counts_otherwise_than_the_server_fails_the_cell(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = ServerCounts.__sub__

    def one_more(later: ServerCounts, earlier: ServerCounts) -> ServerCounts:
        counts = counted(later, earlier)
        assert counts.statements is not None
        statements = {schema: calls + 1 for schema, calls in counts.statements.items()}
        return ServerCounts(statements, counts.redis_commands)

    # Somebody else's statement on our own table cannot be timed into a cell; this is what the
    # difference of the snapshots would be.
    monkeypatch.setattr(ServerCounts, "__sub__", one_more)
    with pytest.raises(StudyError, match=r"counts \d+ PostgreSQL statements, the server counts"):
        run_aside(lambda: campaign(servers, tmp_path).measure([BASELINE], 1))


def test_nothing_stays_on_the_servers(servers: Servers, measured: Measurements) -> None:
    assert len(measured.cells)
    with open_database(servers) as database:
        left = database.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'statecache_study_')"
        ).fetchall()
    assert left == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_pinning_is_undone(servers: Servers) -> None:
    before = [psutil.Process(pid).cpu_affinity() for pid in server_processes(servers)]
    own = os.sched_getaffinity(0)
    with pinned_apart(servers) as placement:
        assert placement.endswith(".")
        inside = [psutil.Process(pid).cpu_affinity() for pid in server_processes(servers)]
        if servers.embedded and len(own) == 2:
            (mine,) = os.sched_getaffinity(0)
            assert all(cores == sorted(own - {mine}) for cores in inside)
    assert os.sched_getaffinity(0) == own
    assert [psutil.Process(pid).cpu_affinity() for pid in server_processes(servers)] == before
