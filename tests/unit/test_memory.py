from __future__ import annotations

from statecache import memory
from statecache.lookup import Row
from statecache.memory import MemoryTier


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def trusted(limit: int = 10, ttl_s: float = 60.0) -> tuple[MemoryTier, Clock]:
    """Return a tier that is trusted for an hour, and its clock."""
    clock = Clock()
    tier = MemoryTier(limit, ttl_s, clock)
    tier.trust(clock.now + 3_600)
    return tier, clock


def put(tier: MemoryTier, key: str, version: int = 1, payload: bytes = b"1") -> None:
    tier.store({key: Row(payload, version)}, tier.changes)


def test_a_tier_that_is_off_keeps_nothing_and_counts_no_changes() -> None:
    tier, _clock = trusted(limit=0)
    put(tier, "a")
    tier.changed({"a": 2})
    assert (tier.get("a"), len(tier), tier.changes) == (None, 0, 0)


def test_what_is_stored_comes_back_as_the_same_bytes() -> None:
    tier, _clock = trusted()
    assert tier.get("a") is None
    put(tier, "a", 1, b'{"n": 1}')
    assert tier.get("a") == b'{"n": 1}'
    assert tier.get("b") is None


# Bounds


def test_the_least_recently_used_state_goes_first() -> None:
    tier, _clock = trusted(limit=3)
    for key in "abc":
        put(tier, key)
    tier.get("a")
    put(tier, "b", 2)
    put(tier, "d")
    assert len(tier) == 3
    assert tier.get("c") is None
    assert [tier.get(key) for key in "abd"] == [b"1"] * 3


def test_it_never_holds_more_than_its_limit() -> None:
    tier, _clock = trusted(limit=3)
    for n in range(50):
        put(tier, f"key-{n}")
        assert len(tier) == min(n + 1, 3)


def test_a_state_expires_and_lives_anew_when_stored_anew() -> None:
    tier, clock = trusted(ttl_s=60)
    put(tier, "a")
    clock.now += 59.9
    assert tier.get("a") == b"1"
    clock.now += 0.1
    assert tier.get("a") is None
    put(tier, "a")
    assert tier.get("a") == b"1"


def test_a_use_does_not_lengthen_a_state_s_life() -> None:
    tier, clock = trusted(ttl_s=60)
    put(tier, "a")
    for _ in range(6):
        clock.now += 10
        found = tier.get("a")
    assert found is None


# Trust


def test_nothing_is_kept_or_told_before_it_is_trusted() -> None:
    clock = Clock()
    tier = MemoryTier(10, 60, clock)
    put(tier, "a")
    assert len(tier) == 0
    tier.trust(clock.now + 1)
    assert tier.get("a") is None
    put(tier, "a")
    assert tier.get("a") == b"1"


def test_trust_ends_and_can_be_renewed() -> None:
    tier, clock = trusted()
    put(tier, "a")
    tier.trust(clock.now + 1)
    clock.now += 1
    assert tier.get("a") is None
    put(tier, "b")
    tier.trust(clock.now + 1)
    assert tier.get("a") == b"1", "nothing was missed, or it would have been cleared"
    assert tier.get("b") is None, "nobody listened when it was stored"


def test_cleared_it_holds_nothing_and_is_not_trusted() -> None:
    tier, clock = trusted()
    put(tier, "a")
    tier.clear()
    assert len(tier) == 0
    put(tier, "b")
    assert len(tier) == 0
    tier.trust(clock.now + 1)
    put(tier, "c")
    assert [tier.get(key) for key in "abc"] == [None, None, b"1"]


# Changes


def test_a_change_drops_what_is_older_only() -> None:
    tier, _clock = trusted()
    put(tier, "a", 5)
    put(tier, "b", 6)
    put(tier, "c", 7)
    tier.changed({"a": 6, "b": 6, "c": 6, "unknown": 6})
    assert [tier.get(key) for key in "abc"] == [None, b"1", b"1"]


def test_an_older_state_does_not_replace_a_newer_one() -> None:
    tier, _clock = trusted()
    put(tier, "a", 5, b"5")
    put(tier, "a", 4, b"4")
    assert tier.get("a") == b"5"
    put(tier, "a", 6, b"6")
    assert tier.get("a") == b"6"


def test_a_load_under_way_cannot_store_what_a_change_made_outdated() -> None:
    tier, _clock = trusted()
    since = tier.changes
    tier.changed({"a": 6})
    tier.store({"a": Row(b"5", 5)}, since)
    assert tier.get("a") is None
    tier.store({"a": Row(b"6", 6)}, since)
    assert tier.get("a") == b"6", "it is as new as the change"


def test_a_load_that_began_after_a_change_may_store_anything() -> None:
    """An id that was purged and came back, or an ``invalidate``: newer than any version."""
    tier, _clock = trusted()
    tier.changed({"a": 1 << 63})
    put(tier, "a", 5)
    assert tier.get("a") == b"1"


def test_a_change_does_not_concern_loads_of_other_keys() -> None:
    tier, _clock = trusted()
    since = tier.changes
    tier.changed({"a": 6})
    tier.store({"b": Row(b"1", 1)}, since)
    assert tier.get("b") == b"1"


def test_a_load_that_began_before_a_clear_stores_nothing() -> None:
    tier, clock = trusted()
    since = tier.changes
    tier.clear()
    tier.trust(clock.now + 1)
    tier.store({"a": Row(b"1", 1)}, since)
    assert tier.get("a") is None


def test_loads_older_than_the_remembered_changes_store_nothing() -> None:
    tier, _clock = trusted()
    since = tier.changes
    tier.changed({"a": 6})
    recent = tier.changes
    for n in range(memory.RECENT):  # which push the change of "a" out
        tier.changed({f"key-{n}": 1})
    tier.store({"b": Row(b"5", 5)}, recent)
    assert tier.get("b") == b"5", "all since then is remembered"
    tier.store({"a": Row(b"5", 5)}, since)
    assert tier.get("a") is None


def test_one_change_of_many_keys_overflows_as_well() -> None:
    tier, _clock = trusted()
    since = tier.changes
    tier.changed({f"key-{n}": 6 for n in range(memory.RECENT + 1)})
    tier.store({"key-0": Row(b"5", 5)}, since)
    assert tier.get("key-0") is None
    put(tier, "key-0", 6)
    assert tier.get("key-0") == b"1"


def test_an_older_change_that_is_heard_later_does_not_make_up_for_a_newer_one() -> None:
    memory = MemoryTier(10, 60, clock=lambda: 0.0)
    memory.trust(1.0)
    since = memory.changes
    memory.changed({"k": 126})
    memory.changed({"k": 125})
    memory.store({"k": Row(b"old", 125)}, since)
    assert memory.get("k") is None
    memory.store({"k": Row(b"new", 126)}, since)
    assert memory.get("k") == b"new"


# What a manager writes itself: nobody tells it


def test_a_load_under_way_cannot_store_what_is_older_than_a_write_that_had_to_go() -> None:
    tier, _clock = trusted(limit=2)
    since = tier.changes
    put(tier, "a", 6)
    put(tier, "b")
    put(tier, "c")
    tier.store({"a": Row(b"5", 5)}, since)
    assert tier.get("a") is None
    put(tier, "a", 6)
    assert tier.get("a") == b"1"


def test_a_load_under_way_cannot_store_what_is_older_than_a_write_that_was_not_kept() -> None:
    clock = Clock()
    tier = MemoryTier(10, 60, clock)
    since = tier.changes
    put(tier, "a", 6)
    tier.trust(clock.now + 1)
    tier.store({"a": Row(b"5", 5)}, since)
    assert tier.get("a") is None


# What may not be kept outdates what is held


def test_a_write_begun_before_all_was_dropped_leaves_nothing_older_behind() -> None:
    """The history checker found it: two writes of one manager while its listener began anew."""
    tier, clock = trusted()
    since = tier.changes
    tier.clear()
    tier.trust(clock.now + 3_600)
    put(tier, "a", 383, b"older")  # begun after the clearing, acknowledged before
    tier.store({"a": Row(b"newer", 384)}, since)
    assert tier.get("a") is None


def test_a_write_while_nobody_is_trusted_leaves_nothing_older_behind() -> None:
    tier, clock = trusted()
    put(tier, "a", 383, b"older")
    tier.trust(clock.now - 1)
    tier.store({"a": Row(b"newer", 384)}, tier.changes)
    tier.trust(clock.now + 3_600)
    assert tier.get("a") is None


def test_a_late_older_write_takes_nothing_newer_away() -> None:
    tier, _clock = trusted()
    since = tier.changes
    put(tier, "a", 384, b"newer")
    tier.clear()
    put(tier, "a", 384, b"newer")
    tier.trust(1e9)
    put(tier, "a", 384, b"newer")
    tier.store({"a": Row(b"older", 383)}, since)
    assert tier.get("a") == b"newer"
