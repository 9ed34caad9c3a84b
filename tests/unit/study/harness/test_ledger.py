"""The check that a benchmark lost, skipped or repeated no write: planted faults are found."""

from __future__ import annotations

import pytest

from statecache.study.errors import StudyError
from statecache.study.harness.ledger import Held, Write, check_events, check_rows

BEFORE = {"a": Held(0, 100), "b": Held(0, 500)}


def test_rows_that_hold_their_last_writes_are_borne_out() -> None:
    writes = [Write("a", 1, 0.0, 1.0), Write("a", 2, 2.0, 3.0), Write("b", 3, 0.0, 9.0)]
    after = {"a": Held(2, 102), "b": Held(3, 501)}
    assert check_rows(writes, BEFORE, after, absorbed=0) == 3


def test_of_writes_that_overlapped_any_may_be_the_last() -> None:
    writes = [Write("a", 1, 0.0, 2.0), Write("a", 2, 1.0, 3.0)]
    for number in (1, 2):
        check_rows(writes, BEFORE, BEFORE | {"a": Held(number, 102)}, absorbed=0)


def test_a_write_that_a_later_one_followed_must_not_be_there() -> None:
    writes = [Write("a", 1, 0.0, 1.0), Write("a", 2, 1.5, 2.0)]
    with pytest.raises(StudyError, match="a holds write 1, but a later one"):
        check_rows(writes, BEFORE, BEFORE | {"a": Held(1, 102)}, absorbed=0)


def test_an_acknowledged_write_must_be_there() -> None:
    with pytest.raises(StudyError, match="a holds write 0"):
        check_rows([Write("a", 1, 0.0, 1.0)], BEFORE, BEFORE, absorbed=1)


def test_a_row_that_nobody_wrote_must_not_change() -> None:
    after = BEFORE | {"b": Held(0, 501)}
    with pytest.raises(StudyError, match="b was written to"):
        check_rows([], BEFORE, after, absorbed=0)


def test_absorbed_writes_raise_no_version_and_all_others_do() -> None:
    writes = [Write("a", number, 0.0, 9.0) for number in range(1, 6)]
    after = BEFORE | {"a": Held(5, 102)}
    assert check_rows(writes, BEFORE, after, absorbed=3) == 5
    for absorbed in (2, 4):  # one skipped, one repeated
        with pytest.raises(StudyError, match="skipped or repeated"):
            check_rows(writes, BEFORE, after, absorbed=absorbed)


COUNTED = {"a": Held(10, 100), "b": Held(20, 200)}


def test_states_that_count_every_event_are_borne_out() -> None:
    check_events({"a": 3, "b": 0}, COUNTED, {"a": Held(13, 103), "b": Held(20, 200)})


@pytest.mark.parametrize(
    "held",
    [Held(12, 103), Held(14, 103), Held(13, 102), Held(13, 104)],
    ids=["lost", "counted twice", "not written", "written twice"],
)
def test_an_event_that_is_lost_or_repeated_is_found(held: Held) -> None:
    with pytest.raises(StudyError, match="a handled 3 events"):
        check_events({"a": 3}, COUNTED, COUNTED | {"a": held})
