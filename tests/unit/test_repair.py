from __future__ import annotations

from statecache.repair import Unrepaired


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_unrepaired_until_the_cache_takes_that_version() -> None:
    keys = Unrepaired(60, clock=Clock())
    keys.add("a", 7)
    assert "a" in keys
    assert "b" not in keys
    keys.repaired("a", 6)
    assert "a" in keys
    keys.repaired("a", 7)
    assert "a" not in keys


def test_a_newer_failure_wins() -> None:
    keys = Unrepaired(60, clock=Clock())
    keys.add("a", 7)
    keys.add("a", 5)
    keys.repaired("a", 6)
    assert "a" in keys


def test_an_unknown_outcome_ends_with_time_or_when_it_is_settled() -> None:
    clock = Clock()
    keys = Unrepaired(60, clock=clock)
    keys.add("a")
    keys.add("a", 3)
    keys.repaired("a", 10**12)
    assert "a" in keys
    keys.settle("a", keys.some(10)["a"])
    assert "a" not in keys
    keys.add("a")
    clock.now = 61
    assert "a" not in keys
    assert len(keys) == 0


def test_too_many_keys_mean_all_keys() -> None:
    clock = Clock()
    keys = Unrepaired(60, limit=3, clock=clock)
    for key in "abcd":
        keys.add(key, 1)
    assert "a" in keys
    assert "never written" in keys
    clock.now = 61
    assert "a" not in keys
    assert "never written" not in keys


def test_expired_marks_make_room() -> None:
    clock = Clock()
    keys = Unrepaired(60, limit=3, clock=clock)
    for key in "abc":
        keys.add(key, 1)
    clock.now = 61
    keys.add("d", 1)
    assert "d" in keys
    assert "a" not in keys


def test_what_was_marked_anew_is_not_settled() -> None:
    keys = Unrepaired(60, clock=Clock())
    keys.add("a", 1)
    marks = keys.some(10)
    keys.add("a", 2)
    keys.settle("a", marks["a"])
    assert "a" in keys


def test_all_keys_are_settled_unless_they_came_anew() -> None:
    clock = Clock()
    keys = Unrepaired(60, clock=clock)
    keys.add_all()
    until = keys.all_until
    clock.now = 1
    keys.add_all()
    keys.settle_all(until)
    assert "a" in keys
    keys.settle_all(keys.all_until)
    assert "a" not in keys
