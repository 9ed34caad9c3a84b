"""What a campaign keeps, repeats and refuses; the measuring itself is in the integration tests."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from statecache.study.errors import StudyError
from statecache.study.harness.campaign import DISTURBED, BlockLog, Campaign
from statecache.study.harness.drives import Closed
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import NONE
from statecache.study.harness.workloads import Workload
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers


@pytest.fixture
def log(tmp_path: Path) -> BlockLog:
    return BlockLog(RunFolder(tmp_path), "notebook", "0123abcd")


def keep(log: BlockLog, block: int, attempt: int, foreign: float, rate: float = 1.0) -> None:
    cells = pd.DataFrame(
        {"block": block, "foreign_share": [0.0, foreign], "throughput_ops_s": rate}
    )
    log.keep(block, attempt, cells, pd.DataFrame({"block": [block], "count": [1]}))


def test_a_kept_block_is_not_missing(log: BlockLog) -> None:
    keep(log, 1, 1, 0.0)
    assert log.missing(3) == [0, 2]


@pytest.mark.parametrize("damaged", ["-000-1.parquet", "-000-1.latency.parquet"])
def test_a_block_that_cannot_be_read_is_measured_again(
    log: BlockLog, tmp_path: Path, damaged: str
) -> None:
    keep(log, 0, 1, 0.0)
    keep(log, 1, 1, 0.0)
    (path,) = tmp_path.glob(f"cells/notebook/*{damaged}")
    path.write_bytes(path.read_bytes()[:-9])
    assert log.missing(2) == [0]
    keep(log, 0, 1, 0.0, rate=7.0)
    assert log.missing(2) == []
    assert log.measurements(2).cells["throughput_ops_s"].tolist() == [7.0, 7.0, 1.0, 1.0]


def test_disturbed_blocks_are_repeated_the_worst_first_and_a_quarter_at_most(
    log: BlockLog,
) -> None:
    for block, foreign in enumerate([0.1, 0.6, 0.4, DISTURBED, 0.9, 0.5, 0.0, 0.1]):
        keep(log, block, 1, foreign)
    assert log.to_repeat(8) == [4, 1]
    keep(log, 4, 2, 0.7)
    assert log.to_repeat(8) == [1], "what was repeated counts towards the quarter"
    keep(log, 1, 2, 0.7)
    assert log.to_repeat(8) == []


def test_of_two_attempts_the_quieter_one_is_kept_whatever_it_shows(log: BlockLog) -> None:
    keep(log, 0, 1, 0.6, rate=100.0)
    keep(log, 0, 2, 0.3, rate=1.0)
    keep(log, 1, 1, 0.4, rate=100.0)
    keep(log, 1, 2, 0.8, rate=1.0)
    measured = log.measurements(2)
    rates = measured.cells.groupby("block")["throughput_ops_s"].first()
    assert rates.tolist() == [1.0, 100.0]
    assert measured.repeated == [0, 1]


def test_two_conditions_of_one_name_are_refused(tmp_path: Path) -> None:
    condition = Condition(cell="same", variant=NONE, workload=Workload(), drive=Closed(1, 0.1))
    campaign = Campaign(
        servers=Servers("", "", embedded=False),
        folder=RunFolder(tmp_path),
        notebook="notebook",
        seed=1,
        pool_size=4,
    )
    with pytest.raises(StudyError, match="two conditions are called 'same'"):
        campaign.fingerprint([condition, condition])


def test_what_a_block_depends_on_changes_its_name(tmp_path: Path) -> None:
    def fingerprint(seed: int = 1, keys: int = 10) -> str:
        campaign = Campaign(
            servers=Servers("", "", embedded=False),
            folder=RunFolder(tmp_path),
            notebook="notebook",
            seed=seed,
            pool_size=4,
        )
        condition = Condition(
            cell="one", variant=NONE, workload=Workload(keys=keys), drive=Closed(1, 0.1)
        )
        return campaign.fingerprint([condition])

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(seed=2), fingerprint(keys=11)}) == 3
