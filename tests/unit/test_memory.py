from __future__ import annotations

from statecache.memory import MemoryTier


def test_an_older_change_that_is_heard_later_does_not_make_up_for_a_newer_one() -> None:
    memory = MemoryTier(10, 60, clock=lambda: 0.0)
    memory.trust(1.0)
    since = memory.changes
    memory.changed({"k": 126})
    memory.changed({"k": 125})
    memory.store("k", 125, b"old", since)
    assert memory.get("k") is None
    memory.store("k", 126, b"new", since)
    assert memory.get("k") == b"new"
