"""Managers in several processes, an adversary, and a checker that knows what PostgreSQL committed.

``STATECACHE_HISTORY_SEEDS=5:50`` runs other seeds than the usual ones.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.history import check, check_final
from support.history_run import CONFIG, History, RunPlan, record
from support.history_types import Violation
from support.managers import CACHED
from support.relay import Relay, relays
from support.sabotage import DROP_VERSION_CHECK
from support.scratch import Scratch

FIRST, AFTER_LAST = map(int, os.environ.get("STATECACHE_HISTORY_SEEDS", "1:5").split(":"))

#: On top of what the settings say, for what a busy machine takes from commit to put.
SLACK_S = 0.5


def judge(plan: RunPlan, history: History) -> list[Violation]:
    bound_s = plan.settled_s + SLACK_S
    found = check(history.calls, history.commits, bound_s=bound_s)
    return found + check_final(history.last_reads, history.commits)


def report(plan: RunPlan, history: History, found: list[Violation]) -> str:
    """Say what is wrong so that it can be followed: the calls, and what befell them."""
    since = min((call.started for v in found[:3] for call in v.calls), default=0.0)
    log = [line for line in history.log if float(line.split()[0]) > since - 0.5]
    lines = [f"{plan}", f"{len(found)} violations, the first:", *map(str, found[:3])]
    return "\n".join([*lines, "Meanwhile:", *log[:40]])


@pytest.mark.parametrize("seed", range(FIRST, AFTER_LAST))
def test_every_read_is_what_the_contract_allows(seed: int, scratch: Scratch) -> None:
    everything = ("server", "cache", "database", "workers")
    # With every other seed PostgreSQL is well, so that no call may fail.
    plan = RunPlan(seed, troubled=everything if seed % 2 else ("server", "cache", "workers"))
    history = record(scratch, plan)
    found = judge(plan, history)
    assert not found, report(plan, history, found)
    if "database" not in plan.troubled:
        errors = Counter(call.error for call in history.calls if call.error)
        assert errors.keys() <= {"cancelled"}, "no trouble of the cache fails a call"
    outcomes = Counter(call.outcome for call in history.calls)
    for expected in ("hit", "committed", "unrepaired", "tombstone", "absent"):
        assert outcomes[expected], f"no call was {expected}: this run shows too little: {outcomes}"
    last = [call for call in history.calls[-plan.keys * len(plan.kinds) :] if call.value]
    assert all(call.outcome == "hit" for call in last[-1:]), "the cache is used again"


def test_without_the_version_check_the_checker_finds_older_reads(scratch: Scratch) -> None:
    # Slow ways to the cache are enough: puts overtake each other.
    plan = RunPlan(
        1, seconds=2.0, troubled=("cache",), keys=1, worker={"sabotage": DROP_VERSION_CHECK}
    )
    history = record(scratch, plan)
    assert {"own", "acknowledged"} <= {violation.rule for violation in judge(plan, history)}


# Schedules made on purpose, for what random ones meet seldom.


@pytest.fixture
def open_relay(scratch: Scratch) -> Iterator[Callable[[str], tuple[str, Relay]]]:
    """A function that opens a relay to a server and returns the address through it."""
    with relays() as opened:

        def open_one(name: str) -> Any:
            return opened(scratch.address(name))

        yield open_one
