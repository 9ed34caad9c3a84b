"""Read-modify-write without lost updates."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.managers import VARIANTS
from support.scratch import Scratch

from statecache import InvalidState, InvalidTriggerId, VersionConflict


@pytest.fixture(params=VARIANTS)
def manager(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Any]:
    kind, changes = VARIANTS[request.param]
    with scratch.manager(kind, **changes) as opened:
        yield opened


def test_every_write_raises_the_version(manager: Any, scratch: Scratch) -> None:
    assert manager.load_versioned("t") == (None, 0)
    seen = [0]
    for number in range(3):
        manager.update_state("t", number)
        state, version = manager.load_versioned("t")
        assert state == number
        assert version == scratch.version("t")
        seen.append(version)
    manager.delete_state("t")
    assert manager.load_versioned("t") == (None, 0)
    manager.update_state("t", "again")
    seen.append(manager.load_versioned("t")[1])
    assert seen == sorted(set(seen))


def test_the_version_of_a_read_is_good_for_one_write(manager: Any) -> None:
    manager.update_state("t", {"n": 1})
    state, version = manager.load_versioned("t")
    manager.update_state("t", {"n": state["n"] + 1}, expected_version=version)
    assert manager.load_state("t") == {"n": 2}
    with pytest.raises(VersionConflict, match="'t'") as caught:
        manager.update_state("t", {"n": 99}, expected_version=version)
    assert "\n" not in str(caught.value)
    assert manager.load_state("t") == {"n": 2}
    assert manager.load_versioned("t")[0] == {"n": 2}


def test_version_0_is_that_of_no_state(manager: Any) -> None:
    manager.update_state("t", "first", expected_version=0)
    with pytest.raises(VersionConflict):
        manager.update_state("t", "second", expected_version=0)
    assert manager.load_state("t") == "first"
    _state, version = manager.load_versioned("t")
    manager.delete_state("t")
    with pytest.raises(VersionConflict):
        manager.update_state("t", "who has not seen the delete", expected_version=version)
    assert manager.load_state("t") is None
    manager.update_state("t", "second", expected_version=0)
    assert manager.load_state("t") == "second"


def test_a_conflict_on_what_never_was(manager: Any) -> None:
    with pytest.raises(VersionConflict):
        manager.update_state("t", 1, expected_version=5)
    assert manager.load_state("t") is None
    assert manager.get_state_count() == 0


def test_an_outdated_cache_leads_to_no_endless_conflict(manager: Any, scratch: Scratch) -> None:
    manager.update_state("t", "old")
    assert manager.load_state("t") == "old"
    scratch.sql("UPDATE {t} SET state_data = '\"by hand\"', version = version + 1")
    state, version = manager.load_versioned("t")
    assert state == "by hand"
    manager.update_state("t", "new", expected_version=version)
    assert manager.load_state("t") == "new"


def test_others_see_it_at_once(scratch: Scratch) -> None:
    with (
        scratch.manager("CachedStateManager") as one,
        scratch.manager("AsyncCachedStateManager") as other,
    ):
        one.update_state("t", 0)
        for number in range(1, 20):
            writer, reader = (one, other) if number % 2 else (other, one)
            state, version = writer.load_versioned("t")
            writer.update_state("t", state + 1, expected_version=version)
            assert reader.load_state("t") == writer.load_state("t") == number


@pytest.mark.parametrize("version", [-1, 1.5, "1", True, 2**63])
def test_what_is_no_version(manager: Any, version: Any) -> None:
    manager.update_state("t", "before")
    with pytest.raises(ValueError, match="version"):
        manager.update_state("t", "after", expected_version=version)
    assert manager.load_state("t") == "before"


def test_bad_input_is_refused_before_any_conflict(manager: Any) -> None:
    with pytest.raises(InvalidTriggerId):
        manager.load_versioned("")
    with pytest.raises(InvalidTriggerId):
        manager.update_state("", 1, expected_version=7)
    with pytest.raises(InvalidState):
        manager.update_state("t", None, expected_version=7)


def test_concurrent_increments_lose_none(manager: Any, scratch: Scratch) -> None:
    """From threads; each of an asynchronous manager's calls is a task of its loop."""
    workers, increments = 4, 12

    def increment() -> None:
        for _ in range(increments):
            while True:
                state, version = manager.load_versioned("t")
                try:
                    manager.update_state("t", (state or 0) + 1, expected_version=version)
                    break
                except VersionConflict:
                    continue

    threads = [threading.Thread(target=increment) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert manager.load_state("t") == workers * increments
    assert scratch.sql("SELECT state_data FROM {t}") == [(workers * increments,)]
