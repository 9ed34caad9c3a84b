from __future__ import annotations

from statecache.repair import ANY_VERSION, Mark, Unrepaired


def test_a_key_is_unrepaired_until_the_cache_takes_that_version() -> None:
    keys = Unrepaired()
    keys.add("a", 7)
    assert "a" in keys
    assert "b" not in keys
    keys.repaired("a", 6)
    assert "a" in keys
    keys.repaired("a", 7)
    assert "a" not in keys


def test_a_newer_failure_wins() -> None:
    keys = Unrepaired()
    keys.add("a", 7)
    keys.add("a", 5)
    keys.repaired("a", 6)
    assert "a" in keys


def test_an_unknown_outcome_ends_only_when_it_is_settled() -> None:
    keys = Unrepaired()
    keys.add("a")
    keys.add("a", 3)
    keys.repaired("a", 10**12)
    assert "a" in keys
    keys.settle("a", keys.some(10)["a"])
    assert "a" not in keys
    assert len(keys) == 0


def test_what_is_to_go_whatever_it_is_stays_so() -> None:
    keys = Unrepaired()
    keys.add("a", ANY_VERSION)
    keys.add("a")
    keys.add("a", 3)
    assert keys.some(1)["a"].version == ANY_VERSION


def test_too_many_keys_mean_all_keys() -> None:
    keys = Unrepaired(limit=3)
    for key in "abcd":
        keys.add(key, 1)
    assert "a" in keys
    assert "never written" in keys
    assert len(keys) == 1
    mark = keys.all_keys
    assert mark is not None
    keys.settle_all(mark)
    assert "a" not in keys
    assert "never written" not in keys


def test_what_was_marked_anew_is_not_settled() -> None:
    keys = Unrepaired()
    keys.add("a", 1)
    marks = keys.some(10)
    keys.add("a", 2)
    keys.settle("a", marks["a"])
    assert "a" in keys


def test_all_keys_are_settled_unless_they_came_anew() -> None:
    keys = Unrepaired()
    keys.add_all()
    first = keys.all_keys
    assert isinstance(first, Mark)
    keys.add_all()
    keys.settle_all(first)
    assert "a" in keys
    second = keys.all_keys
    assert second is not None
    keys.settle_all(second)
    assert "a" not in keys
