"""What was written and acknowledged, without servers."""

from __future__ import annotations

from statecache.study.troubles.writes import Writes


def test_only_what_somebody_sent_is_possible() -> None:
    writes = Writes(["a", "b"])
    state = writes.next_state("a")
    assert writes.is_possible("a", state)
    assert not writes.is_possible("b", state), "another key's"
    assert not writes.is_possible("a", state | {"count": 1}), "not sent yet"
    assert not writes.is_possible("a", None)


def test_a_row_older_than_what_was_acknowledged_is_a_lost_write() -> None:
    writes = Writes(["a", "b"])
    for key in ("a", "a", "b"):
        writes.acknowledged[key] = writes.next_state(key)["count"]
    assert writes.total == 3
    assert writes.lost({"a": 1, "b": 0}) == 0
    assert writes.lost({"a": 2, "b": 0}) == 0, "a write that nobody heard of may be there"
    assert writes.lost({"a": 0, "b": 0}) == 1
    assert writes.lost({"b": 0}) == 1
