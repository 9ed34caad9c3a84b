"""The history checker, on histories written by hand: good ones pass, each bad one is found."""

from __future__ import annotations

import pytest
from support.history import check, check_final
from support.history_types import Call, Commit, Violation

BOUND_S = 10.0


def update(
    manager: str, value: str, started: float, ended: float, outcome: str = "committed"
) -> Call:
    return Call(manager, "update", "k", value, started, ended, outcome)


def delete(manager: str, started: float, ended: float, outcome: str = "committed") -> Call:
    return Call(manager, "delete", "k", None, started, ended, outcome)


def load(
    manager: str, value: str | None, started: float, ended: float, outcome: str = "hit"
) -> Call:
    return Call(manager, "load", "k", value, started, ended, outcome)


def committed(*writes: str | None, by: str = "ab") -> list[Commit]:
    """Commits of one key at versions 5, 6, …; the value of manager m begins with m."""
    return [
        Commit("k", 5 + index, value, value[0] if value else by[index % len(by)])
        for index, value in enumerate(writes)
    ]


def rules(calls: list[Call], commits: list[Commit], **options: object) -> list[str]:
    found: list[Violation] = check(calls, commits, **({"bound_s": BOUND_S} | options))  # type: ignore[arg-type]
    return [violation.rule for violation in found]


# What is allowed


def test_a_quiet_history_is_good() -> None:
    calls = [
        load("b", None, 0, 0.5),
        update("a", "a1", 1, 2),
        load("b", "a1", 3, 4),
        delete("a", 5, 6),
        load("b", None, 7, 8),
        update("b", "b1", 9, 10),
        load("a", "b1", 11, 12),
    ]
    assert rules(calls, committed("a1", None, "b1", by="aaa")) == []


def test_while_a_write_runs_both_versions_may_be_read() -> None:
    calls = [
        update("a", "a1", 0, 1),
        update("a", "a2", 2, 5),
        load("b", "a2", 3, 3.5),
        load("b", "a1", 4, 4.5),
        load("b", "a1", 4.9, 6),
    ]
    assert rules(calls, committed("a1", "a2")) == []


def test_what_the_cache_has_not_acknowledged_others_may_miss_for_a_while() -> None:
    calls = [
        update("a", "a1", 0, 1),
        update("a", "a2", 2, 3, "unrepaired"),
        load("b", "a1", 4, 5),
        load("a", "a2", 6, 7, "unrepaired"),
        load("b", "a1", 12.9, 13),
    ]
    assert rules(calls, committed("a1", "a2")) == []


def test_a_write_that_raised_may_stand_or_not() -> None:
    stands = [
        update("a", "a1", 0, 1),
        update("a", "a2", 2, 3, "raised"),
        load("a", "a1", 4, 5),
        load("b", "a2", 4, 5),
    ]
    assert rules(stands, committed("a1", "a2")) == []
    assert rules([*stands[:2], load("b", "a1", 50, 51)], committed("a1")) == []


def test_a_delete_that_raised_may_stand_or_not() -> None:
    calls = [
        update("a", "a1", 0, 1),
        delete("a", 2, 3, "raised"),
        delete("a", 4, 5),
        load("b", None, 6, 7),
    ]
    assert rules(calls, committed("a1", None, by="aa")) == []
    assert rules(calls, committed("a1", None, None, by="aaa")) == []


def test_to_delete_what_never_was_is_no_write() -> None:
    calls = [
        delete("a", 0, 1),
        load("b", None, 2, 3),
        update("b", "b1", 4, 5),
        load("b", "b1", 6, 7),
        delete("a", 8, 9),
    ]
    assert rules(calls[:2], []) == []
    assert rules(calls, committed("b1", None, by="ba")) == []


def test_with_memory_the_propagation_time_is_granted_to_others() -> None:
    calls = [update("a", "a1", 0, 1), update("a", "a2", 2, 3), load("b", "a1", 3.1, 3.2)]
    assert rules(calls, committed("a1", "a2"), propagation_s=0.5) == []
    assert rules(calls, committed("a1", "a2"), propagation_s=0.05) == ["acknowledged"]


def test_gathered_writes_may_be_committed_as_one() -> None:
    calls = [
        update("a", "a1", 0, 1),
        update("a", "a2", 2, 3),
        update("a", "a3", 2, 3),
        load("b", "a3", 4, 5),
    ]
    assert rules(calls, committed("a1", "a3"), gathered=True) == []
    assert rules(calls, committed("a1", "a3")) == ["lost"]
    calls[-1] = load("b", "a1", 4, 5)
    assert rules(calls, committed("a1", "a3"), gathered=True) == ["acknowledged"]


# What is not


def test_an_acknowledged_write_must_be_seen() -> None:
    calls = [update("a", "a1", 0, 1), update("a", "a2", 2, 3), load("b", "a1", 3.001, 3.002)]
    (violation,) = check(calls, committed("a1", "a2"), bound_s=BOUND_S)
    assert violation.rule == "acknowledged"
    assert set(violation.calls) == set(calls), "the calls that show it, and no more"
    assert "b read version 5 of k" in str(violation)
    assert "acknowledged version 6" in str(violation)


def test_a_deleted_state_must_not_come_back() -> None:
    calls = [update("a", "a1", 0, 1), delete("a", 2, 3), load("b", "a1", 4, 5)]
    assert rules(calls, committed("a1", None, by="aa")) == ["acknowledged"]


def test_a_created_state_must_not_be_missing() -> None:
    calls = [
        update("a", "a1", 0, 1),
        delete("a", 2, 3),
        update("a", "a2", 4, 5),
        load("b", None, 6, 7),
    ]
    assert rules(calls, committed("a1", None, "a2", by="aaa")) == ["acknowledged"]
    assert rules([update("a", "a1", 0, 1), load("b", None, 2, 3)], committed("a1")) == [
        "acknowledged"
    ]


def test_an_order_other_than_that_of_the_calls_is_the_databases_to_choose() -> None:
    calls = [update("a", "a1", 0, 3), update("b", "b1", 1, 2), load("a", "a1", 4, 5)]
    assert rules(calls, committed("b1", "a1")) == []
    assert rules(calls, committed("a1", "b1")) == ["acknowledged"]


def test_who_wrote_never_reads_older_acknowledged_or_not() -> None:
    calls = [
        update("a", "a1", 0, 1),
        update("a", "a2", 2, 3, "unrepaired"),
        load("a", "a1", 3.1, 3.2),
        load("b", "a1", 3.1, 3.2),
    ]
    assert rules(calls, committed("a1", "a2")) == ["own"]


def test_after_the_bound_everybody_sees_it() -> None:
    calls = [
        update("a", "a1", 0, 1),
        update("a", "a2", 2, 3, "unrepaired"),
        load("b", "a1", 13.1, 13.2),
    ]
    assert rules(calls, committed("a1", "a2")) == ["bound"]


def test_a_read_starts_the_bound_of_a_write_that_raised() -> None:
    calls = [
        update("a", "a1", 0, 1),
        update("a", "a2", 2, 3, "raised"),
        load("b", "a2", 5, 6),
        load("c", "a1", 15.9, 16),
    ]
    assert rules(calls, committed("a1", "a2")) == []
    calls.append(load("c", "a1", 16.1, 16.2))
    assert rules(calls, committed("a1", "a2")) == ["bound"]


def test_what_was_never_committed_must_not_be_read() -> None:
    calls = [update("a", "a1", 0, 1, "raised"), load("b", "a1", 2, 3)]
    assert rules(calls, []) == ["invented"]
    assert rules([load("b", "??", 2, 3)], []) == ["invented"]


def test_nothing_is_read_before_it_is_written() -> None:
    calls = [load("b", "a1", 0, 1), update("a", "a1", 2, 3)]
    assert rules(calls, committed("a1")) == ["invented"]


def test_a_delete_is_not_read_before_it_began() -> None:
    calls = [update("a", "a1", 0, 1), load("b", None, 2, 3), delete("a", 4, 5)]
    assert rules(calls, committed("a1", None, by="aa")) == ["acknowledged"]


def test_a_write_that_returned_must_be_committed() -> None:
    assert rules([update("a", "a1", 0, 1)], []) == ["lost"]
    calls = [update("a", "a1", 0, 1), delete("a", 2, 3)]
    assert rules(calls, committed("a1")) == ["lost"]


def test_versions_rise_with_every_commit() -> None:
    calls = [update("a", "a1", 0, 1), update("a", "a2", 2, 3)]
    commits = [Commit("k", 6, "a1", "a"), Commit("k", 6, "a2", "a")]
    assert rules(calls, commits) == ["order"]


def test_a_write_is_committed_once() -> None:
    calls = [update("a", "a1", 0, 1)]
    assert rules(calls, committed("a1", "a1")) == ["order"]
    assert rules([], committed("a1")) == ["order"]


@pytest.mark.parametrize(("read", "found"), [("a2", []), ("a1", ["final"]), (None, ["final"])])
def test_in_the_end_everybody_reads_what_postgresql_holds(
    read: str | None, found: list[str]
) -> None:
    commits = committed("a1", "a2")
    assert [v.rule for v in check_final({"b": {"k": read}}, commits)] == found
