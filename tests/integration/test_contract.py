"""What every manager does, whichever its kind: the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from support.managers import KINDS
from support.scratch import Scratch

from statecache import (
    CacheStats,
    ConfigError,
    DatabaseError,
    InvalidState,
    InvalidTriggerId,
    StateManager,
)


@pytest.fixture(params=KINDS)
def manager(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Any]:
    with scratch.manager(request.param) as opened:
        yield opened


def test_no_state_is_none(manager: Any) -> None:
    assert manager.load_state("nobody") is None


def test_what_was_stored_is_loaded(manager: Any) -> None:
    state = {"ema": 75.5, "count": 100, "nested": {"list": [1, None, "é"]}}
    manager.update_state("trigger_123", state)
    assert manager.load_state("trigger_123") == state
    assert manager.load_state("trigger_123") == state


def test_the_newest_state_wins(manager: Any, scratch: Scratch) -> None:
    first = 0
    for count in range(5):
        manager.update_state("t", {"count": count})
        assert manager.load_state("t") == {"count": count}
        first = scratch.version("t") if count == 0 else first
    assert scratch.version("t") == first + 4


def test_states_are_never_shared(manager: Any) -> None:
    state = {"list": [1]}
    manager.update_state("t", state)
    state["list"].append(2)
    first = manager.load_state("t")
    first["list"].append(3)
    assert manager.load_state("t") == {"list": [1]}


@pytest.mark.parametrize("state", [False, 0, "", [], {}, "text", [1, 2], -0.0, 1e16, 1e300, 1e-300])
def test_every_json_value_is_a_state(manager: Any, state: Any) -> None:
    manager.update_state("t", state)
    assert manager.load_state("t") == state


def test_a_deleted_state_is_gone_and_can_be_made_again(manager: Any, scratch: Scratch) -> None:
    manager.update_state("t", 1)
    first = scratch.version("t")
    manager.delete_state("t")
    assert manager.load_state("t") is None
    assert manager.get_state_count() == 0
    manager.update_state("t", 2)
    assert manager.load_state("t") == 2
    assert manager.get_state_count() == 1
    assert scratch.version("t") == first + 2, "re-creation is ordered behind the delete"


def test_deleting_what_is_not_there_is_no_error(manager: Any) -> None:
    manager.delete_state("nobody")
    manager.update_state("t", 1)
    manager.delete_state("t")
    manager.delete_state("t")
    assert manager.load_state("t") is None


def test_counting(manager: Any) -> None:
    for number in range(7):
        manager.update_state(f"t{number}", number)
    manager.delete_state("t3")
    assert manager.get_state_count() == 6


def test_cleanup_deletes_what_is_old(manager: Any, scratch: Scratch) -> None:
    for name in ("old", "young"):
        manager.update_state(name, name)
        assert manager.load_state(name) == name
    scratch.sql("UPDATE {t} SET updated_at = now() - interval '31 days' WHERE trigger_id = 'old'")
    assert manager.cleanup_expired(retention_days=30) == 1
    assert manager.load_state("old") is None
    assert manager.load_state("young") == "young"
    assert manager.cleanup_expired(30) == 0


def test_cleanup_goes_through_many_batches(manager: Any, scratch: Scratch) -> None:
    scratch.sql(
        "INSERT INTO {t} (trigger_id, state_data, updated_at) "
        "SELECT 'old' || n, '1', now() - interval '2 days' FROM generate_series(1, 2500) n"
    )
    manager.update_state("young", 1)
    assert manager.cleanup_expired(1) == 2500
    assert manager.get_state_count() == 1


def test_cleanup_purges_rows_only_long_after_their_delete(manager: Any, scratch: Scratch) -> None:
    for name in ("a", "b"):
        manager.update_state(name, 1)
        manager.delete_state(name)
    scratch.sql("UPDATE {t} SET deleted_at = now() - interval '2 days' WHERE trigger_id = 'a'")
    assert manager.cleanup_expired(30) == 0
    assert scratch.sql("SELECT trigger_id FROM {t}") == [("b",)]


def test_cleanup_leaves_rows_alone_that_are_being_written(manager: Any, scratch: Scratch) -> None:
    manager.update_state("busy", 1)
    scratch.sql("UPDATE {t} SET updated_at = now() - interval '2 days'")
    with psycopg.connect(scratch.database_url) as writer:
        writer.execute(f"UPDATE {scratch.schema}.trigger_state SET updated_at = now()")
        assert manager.cleanup_expired(1) == 0
        writer.commit()
    assert manager.load_state("busy") == 1


@pytest.mark.parametrize("retention", [-1, float("nan"), float("inf"), 10**400, "x", None])
def test_a_senseless_retention_is_refused(manager: Any, retention: Any) -> None:
    with pytest.raises(ConfigError, match="retention_days"):
        manager.cleanup_expired(retention)


@pytest.mark.parametrize("trigger_id", ["", "a\0b", "x" * 513, 7])
def test_wrong_ids_are_refused_everywhere(manager: Any, trigger_id: Any) -> None:
    with pytest.raises(InvalidTriggerId):
        manager.load_state(trigger_id)
    with pytest.raises(InvalidTriggerId):
        manager.update_state(trigger_id, 1)
    with pytest.raises(InvalidTriggerId):
        manager.delete_state(trigger_id)


def test_wrong_states_are_refused_before_anything_is_written(manager: Any) -> None:
    manager.update_state("t", "before")
    for state in (None, float("nan"), b"x", {1: 2}, "\0", {"x": "y" * (1 << 20)}):
        with pytest.raises(InvalidState):
            manager.update_state("t", state)
    assert manager.load_state("t") == "before"


def test_a_long_id_and_a_large_state_pass(manager: Any) -> None:
    state = {"x": "y" * ((1 << 20) - 8)}
    manager.update_state("é" * 256, state)
    assert manager.load_state("é" * 256) == state


def test_stats_are_told(manager: Any) -> None:
    manager.update_state("t", 1)
    manager.load_state("t")
    stats = manager.get_cache_stats()
    assert isinstance(stats, CacheStats)
    assert stats.db_writes == 1
    assert stats.db_reads + stats.hits == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_without_autocommit_works_and_is_left_as_it_was(kind: str, scratch: Scratch) -> None:
    with scratch.manager(kind, autocommit=False) as manager:
        manager.update_state("t", {"a": 1})
        assert scratch.version("t") > 0, "committed, visible to others"
        assert manager.load_state("t") == {"a": 1}
        manager.delete_state("t")
        assert manager.load_state("t") is None
        assert manager.cleanup_expired(1) == 0


def test_the_pool_s_own_settings_survive(scratch: Scratch) -> None:
    with ConnectionPool(
        scratch.database_url, min_size=1, max_size=1, kwargs={"row_factory": dict_row}
    ) as pool:
        manager = StateManager(pool, config=scratch.config())
        manager.update_state("t", 5)
        assert manager.load_state("t") == 5
        with pool.connection() as connection:
            assert not connection.autocommit
            assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_table_the_error_says_what_to_run(kind: str, scratch: Scratch) -> None:
    with scratch.manager(kind, schema="statecache_nowhere") as manager:
        for call in (
            lambda: manager.load_state("t"),
            lambda: manager.update_state("t", 1),
            lambda: manager.delete_state("t"),
            manager.get_state_count,
        ):
            with pytest.raises(DatabaseError, match="statecache init-db"):
                call()


@pytest.mark.parametrize("kind", KINDS)
def test_an_observer_is_told_of_every_call(kind: str, scratch: Scratch) -> None:
    told: list[Any] = []
    with scratch.manager(kind, observer=told.append) as manager:
        manager.load_state("t")
        manager.update_state("t", 1)
        manager.load_state("t")
        manager.delete_state("t")
    assert [access.operation for access in told] == ["load", "update", "load", "delete"]
    assert all(access.trigger_id == "t" and access.started <= access.ended for access in told)
    cached = "Cached" in kind
    assert [access.outcome for access in told] == [
        "absent" if cached else "database",
        "committed",
        "hit" if cached else "database",
        "committed",
    ]


IDS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1
).filter(lambda text: len(text.encode()) <= 512)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
STATES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(st.none() | inner) | st.dictionaries(TEXT, st.none() | inner),
)


def test_any_id_and_state_survive_and_hit_equals_miss(scratch: Scratch) -> None:
    with (
        scratch.manager("CachedStateManager") as manager,
        scratch.manager("StateManager") as truth,
    ):

        @settings(max_examples=60, deadline=None)
        @given(IDS, STATES)
        def survives(trigger_id: str, state: Any) -> None:
            manager.update_state(trigger_id, state)
            hits = manager.get_cache_stats().hits
            hit = manager.load_state(trigger_id)
            assert manager.get_cache_stats().hits == hits + 1
            assert hit == truth.load_state(trigger_id)
            assert same(hit, state)

        survives()


def same(loaded: Any, stored: Any) -> bool:
    """Compare as JSON does, which has one kind of number: 1e17 may come back as an integer."""
    if isinstance(stored, dict):
        return loaded.keys() == stored.keys() and all(same(loaded[k], stored[k]) for k in stored)
    if isinstance(stored, list):
        return len(loaded) == len(stored) and all(map(same, loaded, stored))
    return bool(float(loaded) == stored if isinstance(stored, float) else loaded == stored)
