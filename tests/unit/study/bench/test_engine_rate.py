from __future__ import annotations

import pytest

from statecache.study.bench.engine_rate import check_events
from statecache.study.errors import StudyError
from statecache.study.harness.ledger import Held

BEFORE = {"a": Held(10, 100), "b": Held(20, 200)}


def test_states_that_count_every_event_are_borne_out() -> None:
    check_events({"a": 3, "b": 0}, BEFORE, {"a": Held(13, 103), "b": Held(20, 200)})


@pytest.mark.parametrize(
    "held",
    [Held(12, 103), Held(14, 103), Held(13, 102), Held(13, 104)],
    ids=["lost", "counted twice", "not written", "written twice"],
)
def test_an_event_that_is_lost_or_repeated_is_found(held: Held) -> None:
    with pytest.raises(StudyError, match="a handled 3 events"):
        check_events({"a": 3}, BEFORE, BEFORE | {"a": held})
