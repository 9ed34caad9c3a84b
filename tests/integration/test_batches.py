"""Many states in one call: one statement, all or nothing, whatever the cache knows of them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import ANY_IDS, FUZZ, GOOD_STATES, is_good_id, same
from support.managers import CACHED, VARIANTS
from support.scratch import Scratch

from statecache import InvalidState, InvalidTriggerId, StateManager

# The pool's threads draw their jitter while hypothesis makes an example, which blames a strategy.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)


@pytest.fixture(params=VARIANTS)
def manager(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Any]:
    kind, changes = VARIANTS[request.param]
    with scratch.manager(kind, **changes) as opened:
        yield opened


@pytest.fixture
def truth(scratch: Scratch) -> Iterator[StateManager]:
    """What PostgreSQL holds, past any cache."""
    with scratch.manager("StateManager") as opened:
        yield opened


def statements(manager: Any) -> tuple[int, int]:
    stats = manager.get_cache_stats()
    return stats.db_reads, stats.db_writes


def test_nothing_is_nothing(manager: Any) -> None:
    assert manager.load_states([]) == {}
    manager.update_states({})
    manager.delete_states([])
    assert statements(manager) == (0, 0)


def test_states_come_in_the_order_asked_for_and_once(manager: Any) -> None:
    manager.update_states({"b": 2, "a": 1})
    loaded = manager.load_states(name for name in ["b", "nobody", "a", "b", "nobody"])
    assert list(loaded.items()) == [("b", 2), ("nobody", None), ("a", 1)]


def test_one_statement_is_enough(manager: Any, scratch: Scratch) -> None:
    states = {f"t{number}": {"n": number} for number in range(700)}
    manager.update_states(states)
    assert statements(manager) == (0, 1)
    scratch.cache.delete(*(scratch.prefix + name for name in states))
    with scratch.manager("AsyncCachedStateManager") as reader:
        assert reader.load_states(states) == states
        assert statements(reader) == (1, 0)
        assert reader.load_states(states) == states
        assert statements(reader) == (1, 0), "the second time they are hits"
    assert manager.get_state_count() == 700
    manager.delete_states(states)
    assert statements(manager)[1] == 2
    assert manager.load_states(states) == dict.fromkeys(states)
    assert manager.get_state_count() == 0


def test_a_batch_larger_than_a_packet(manager: Any, truth: StateManager) -> None:
    states = {f"t{number}": str(number) * 20_000 for number in range(100)}
    manager.update_states(states)
    assert manager.load_states(states) == truth.load_states(states) == states


def test_a_bad_id_among_good_ones(manager: Any) -> None:
    manager.update_states({"a": "before", "z": "before"})
    bad: Any
    for bad in ("", "a\0b", "x" * 513, "\ud800", 7, None):
        with pytest.raises(InvalidTriggerId):
            manager.update_states({"a": "after", bad: "after", "z": "after"})
        with pytest.raises(InvalidTriggerId):
            manager.delete_states(["a", bad, "z"])
        with pytest.raises(InvalidTriggerId):
            manager.load_states(["a", bad, "z"])
    assert manager.load_states(["a", "z"]) == {"a": "before", "z": "before"}
    assert manager.get_state_count() == 2


def test_a_bad_state_among_good_ones(manager: Any, truth: StateManager) -> None:
    manager.update_states({"a": "before", "z": "before"})
    for bad in (None, float("nan"), b"x", {1: 2}, "\0", "y" * (1 << 20)):
        with pytest.raises(InvalidState):
            manager.update_states({"a": "after", "m": bad, "z": "after"})
    for one in (manager, truth):
        found = one.load_states(["a", "m", "z"])
        assert found == {"a": "before", "m": None, "z": "before"}


@pytest.fixture
def picky(scratch: Scratch) -> None:
    """A table with a constraint of the user's: PostgreSQL refuses what is JSON."""
    scratch.sql("ALTER TABLE {t} ADD CHECK (state_data <> '\"refused\"')")


@pytest.mark.usefixtures("picky")
def test_a_state_that_postgresql_refuses(manager: Any, truth: StateManager) -> None:
    manager.update_states({"a": "before", "z": "before"})
    with pytest.raises(InvalidState) as caught:
        manager.update_states({"a": "after", "m": "refused", "z": "after"})
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidState):
        manager.update_state("a", "refused")
    for one in (manager, truth):
        found = one.load_states(["a", "m", "z"])
        assert found == {"a": "before", "m": None, "z": "before"}
    manager.update_states({"a": "after", "m": "after"})
    assert manager.load_states(["a", "m"]) == {"a": "after", "m": "after"}


@pytest.mark.usefixtures("picky")
def test_a_refused_state_is_nobody_else_s_error(manager: Any, truth: StateManager) -> None:
    """Writers that meet in one batch, if they are gathered."""
    outcomes: dict[str, Any] = {}

    def write(name: str, state: str) -> None:
        try:
            outcomes[name] = manager.update_state(name, state)
        except Exception as error:
            outcomes[name] = error

    for _ in range(5):
        threads = [
            threading.Thread(
                target=write, args=(f"t{number}", "refused" if number % 4 == 1 else "fine")
            )
            for number in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for number in range(12):
            outcome = outcomes.pop(f"t{number}")
            assert isinstance(outcome, InvalidState) if number % 4 == 1 else outcome is None
    names = [f"t{number}" for number in range(12)]
    expected = {name: None if int(name[1:]) % 4 == 1 else "fine" for name in names}
    assert manager.load_states(names) == truth.load_states(names) == expected


@pytest.mark.parametrize("kind", CACHED)
def test_whatever_the_cache_knows_of_each(kind: str, scratch: Scratch) -> None:
    names = ["hit", "miss", "deleted", "never", "junk", "list", "fenced"]
    with scratch.manager(kind) as manager:
        manager.update_states({name: name for name in names if name != "never"})
        manager.delete_states(["deleted"])
        manager.invalidate(["fenced"])
        for name in ("miss", "list"):
            scratch.cache.delete(scratch.prefix + name)
        scratch.cache.set(scratch.prefix + "junk", b"7" * 40)
        scratch.cache.rpush(scratch.prefix + "list", "1")
        expected = {name: None if name in ("deleted", "never") else name for name in names}
        assert manager.load_states(names) == expected
        stats = manager.get_cache_stats()
        assert (stats.hits, stats.misses, stats.db_reads) == (1, 6, 1)
        assert manager.load_states(names) == expected
        assert manager.get_cache_stats().errors == 0


def test_others_see_a_batch_at_once(scratch: Scratch) -> None:
    with (
        scratch.manager("CachedStateManager") as one,
        scratch.manager("AsyncCachedStateManager") as other,
    ):
        names = [f"t{number}" for number in range(30)]
        for count in range(8):
            writer, reader = (one, other) if count % 2 else (other, one)
            writer.update_states(dict.fromkeys(names, count))
            assert reader.load_states(names) == dict.fromkeys(names, count)
        one.delete_states(names[:15])
        assert set(other.load_states(names[:15]).values()) == {None}
        assert set(other.load_states(names[15:]).values()) == {7}


def test_batches_that_overlap_neither_deadlock_nor_mix(manager: Any, truth: StateManager) -> None:
    """Each batch gives all keys one value, in an order of its own."""
    names = [f"t{number}" for number in range(25)]
    errors: list[Exception] = []

    def write(worker: int) -> None:
        dice = random.Random(worker)
        try:
            for count in range(8):
                mine = dice.sample(names, len(names))
                if count % 4 == 3:
                    manager.delete_states(mine)
                else:
                    manager.update_states(dict.fromkeys(mine, f"{worker} {count}"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    held = truth.load_states(names)
    assert len({str(state) for state in held.values()}) == 1, "all of one batch"
    assert manager.load_states(names) == held


def test_a_batch_waits_for_a_row_that_another_writes(manager: Any, scratch: Scratch) -> None:
    manager.update_states({"a": 1, "b": 1})
    with psycopg.connect(scratch.database_url) as writer:
        writer.execute(
            f"UPDATE {scratch.schema}.trigger_state SET state_data = '2', version = version + 1 "
            "WHERE trigger_id = 'b'"
        )
        thread = threading.Thread(target=manager.update_states, args=({"a": 3, "b": 3},))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        writer.commit()
    thread.join(60)
    assert manager.load_states(["a", "b"]) == {"a": 3, "b": 3}


def test_any_batch_survives(manager: Any, truth: StateManager) -> None:
    @FUZZ
    @given(st.dictionaries(ANY_IDS.filter(is_good_id), GOOD_STATES, max_size=8))
    def holds(states: dict[str, Any]) -> None:
        states = {name: state for name, state in states.items() if state is not None}
        manager.update_states(states)
        for one in (manager, truth):
            loaded = one.load_states(states)
            assert list(loaded) == list(states)
            assert all(same(loaded[name], state) for name, state in states.items())
        manager.delete_states(list(states)[::2])
        assert manager.load_states(states) == truth.load_states(states)

    holds()
