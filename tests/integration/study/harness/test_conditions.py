"""What a condition may ask for besides a manager: absent keys, triggers, cold buffers, pools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from statecache.study.harness.aside import run_aside
from statecache.study.harness.campaign import Campaign, Measurements
from statecache.study.harness.drives import Closed
from statecache.study.harness.pool_sizes import PoolSizes, best_pool_size
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import NONE, REDIS, Variant
from statecache.study.harness.workloads import Workload
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers, running_servers

WORKLOAD = Workload(keys=50, popularity="uniform")
READS = replace(WORKLOAD, read_share=1.0)
DRIVE = Closed(4, 0.05)
BASELINE = Condition(cell="none", variant=NONE, workload=WORKLOAD, drive=DRIVE)
NEGATIVE = replace(REDIS, settings={"negative_ttl_secs": 60.0}, mark="negative")


def campaign(servers: Servers, path: Path) -> Campaign:
    return Campaign(servers=servers, folder=RunFolder(path), notebook="test", seed=1, pool_size=4)


@pytest.fixture(scope="module")
def measured(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Measurements:
    absent = replace(READS, absent_share=0.5)
    conditions = [
        BASELINE,
        replace(BASELINE, cell="cold", cold=True),
        replace(BASELINE, cell="triggers", variant=replace(NONE, outside_writes=True)),
        replace(BASELINE, cell="absent", variant=REDIS, workload=absent),
        replace(BASELINE, cell="negative", variant=NEGATIVE, workload=absent),
        # More keys than the warm-up could load.
        replace(
            BASELINE,
            cell="memory",
            variant=Variant(redis=True, memory=True),
            workload=replace(READS, keys=5_000),
        ),
    ]
    one = campaign(servers, tmp_path_factory.mktemp("conditions"))
    return run_aside(lambda: one.measure(conditions, 1))


def test_half_of_the_keys_are_absent_and_negative_entries_answer_for_them(
    measured: Measurements,
) -> None:
    by_cell = measured.cells.set_index("cell")
    # Half of 50 uniform keys: the share of the loads differs from it by the draw alone.
    assert by_cell.loc["absent", "hit_rate"] == pytest.approx(0.5, abs=0.2)
    assert by_cell.loc["absent", "misses_absent"] == by_cell.loc["absent", "misses"]
    assert by_cell.loc["negative", "hit_rate"] > by_cell.loc["absent", "hit_rate"]


def test_only_the_cold_cell_is_cold(measured: Measurements) -> None:
    cold = measured.cells.set_index("cell")["is_cold"]
    assert not cold.drop("cold").any()


def test_the_process_holds_every_state_before_the_first_cell(measured: Measurements) -> None:
    memory = measured.cells.set_index("cell").loc["memory"]
    assert memory["memory_hits"] == memory["hits"] == memory["requests"]


def test_triggers_leave_the_managers_own_writes_alone(measured: Measurements) -> None:
    triggers = measured.cells.set_index("cell").loc["triggers"]
    assert triggers["statements_per_op"] == pytest.approx(1.0)


def test_the_best_pool_size_is_the_one_with_the_highest_rate_and_is_kept(
    servers: Servers, tmp_path: Path
) -> None:
    def sweep(over: Servers) -> PoolSizes:
        one = campaign(over, tmp_path)
        return run_aside(lambda: best_pool_size(one, BASELINE, [1, 3], 1))

    found = sweep(servers)
    rates = dict(zip(found.rates["connections"], found.rates["a second"], strict=True))
    assert set(rates) == {1, 3}
    assert rates[found.best] == max(rates.values())
    nowhere = Servers("postgresql://nobody@127.0.0.1:1/x", "", embedded=False)
    assert sweep(nowhere).best == found.best, "taken from the folder"


def test_a_child_knows_whether_the_servers_are_embedded(servers: Servers) -> None:
    with running_servers(servers.environment()) as used:
        assert used.embedded == servers.embedded
    plain = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    with running_servers(plain) as used:
        assert not used.embedded
