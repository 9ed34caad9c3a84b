"""Invalidating, warming, verifying and cleaning up, while others write."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.interrupts import eventually
from support.managers import CACHED, VARIANTS
from support.scratch import Scratch

from statecache import ConfigError, InvalidTriggerId, StateManager

CACHED_VARIANTS = {name: kind for name, kind in VARIANTS.items() if "Cached" in name}


@pytest.fixture(params=VARIANTS)
def manager(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Any]:
    kind, changes = VARIANTS[request.param]
    with scratch.manager(kind, **changes) as opened:
        yield opened


@pytest.fixture(params=CACHED_VARIANTS)
def cached(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Any]:
    kind, changes = CACHED_VARIANTS[request.param]
    with scratch.manager(kind, **changes) as opened:
        yield opened


@pytest.fixture
def other(scratch: Scratch) -> Iterator[Any]:
    """Another process's manager, with an in-process tier of its own."""
    with scratch.manager("CachedStateManager", memory_items=1_000) as opened:
        yield opened


@pytest.fixture
def plain(scratch: Scratch) -> Iterator[StateManager]:
    """Who writes past the cache."""
    with scratch.manager("StateManager") as opened:
        yield opened


def loaded_from_a_cache(manager: Any, names: list[str]) -> dict[str, Any] | None:
    """Load states, which is None where the database had to be asked for one of them."""
    before = manager.get_cache_stats().db_reads
    states: dict[str, Any] = manager.load_states(names)
    return states if manager.get_cache_stats().db_reads == before else None


# Invalidating


def test_invalidated_states_are_read_anew(cached: Any, other: Any, plain: StateManager) -> None:
    names = [f"t{number}" for number in range(5)]
    cached.update_states(dict.fromkeys(names, "before"))
    assert other.load_states(names) == dict.fromkeys(names, "before")
    plain.update_states(dict.fromkeys(names, "after"))
    assert cached.load_states(names) == dict.fromkeys(names, "before"), "as documented"
    cached.invalidate(name for name in [*names[:3], names[0], "never"])
    for one in (cached, other):
        eventually(lambda one=one: one.load_states(names[:3]) == dict.fromkeys(names[:3], "after"))
    assert cached.load_state("t4") == "before", "it alone was not invalidated"
    # Read in the millisecond of a fence, a state is not cached: it might be older than the fence.
    eventually(lambda: loaded_from_a_cache(cached, names[:3]) == dict.fromkeys(names[:3], "after"))


def test_everything_invalidated(cached: Any, other: Any, plain: StateManager) -> None:
    names = [f"t{number}" for number in range(2_500)]
    cached.update_states(dict.fromkeys(names, "before"))
    assert other.load_states(names) == dict.fromkeys(names, "before")
    plain.update_states(dict.fromkeys(names, "after"))
    cached.invalidate_all()
    for one in (cached, other):
        eventually(lambda one=one: one.load_states(names) == dict.fromkeys(names, "after"))


@pytest.mark.parametrize("kind", CACHED)
def test_foreign_keys_are_left_alone(kind: str, scratch: Scratch) -> None:
    """Also where the prefix holds what SCAN takes as a pattern."""
    token = secrets.token_hex(4)
    prefix = f"{token}[ab]*?\\^-:"
    foreign = [
        token,
        f"{token}a",
        f"{token}axx\\^-:t",
        f"{token}b*?\\^-",
        f"x{prefix}t",
        f"{token}:t",
    ]
    try:
        for key in foreign:
            scratch.cache.set(key, "foreign", ex=1_000)
        with scratch.manager(kind, key_prefix=prefix) as manager:
            manager.update_states({"t": "before", "*": "before"})
            scratch.sql("UPDATE {t} SET state_data = '\"after\"', version = version + 1")
            manager.invalidate_all()
            manager.invalidate(["*"])
            assert manager.load_states(["t", "*"]) == {"t": "after", "*": "after"}
        assert scratch.cache.mget(foreign) == [b"foreign"] * len(foreign)
        assert all(scratch.cache.ttl(key) > 900 for key in foreign)
    finally:
        scratch.cache.delete(*(key for key in scratch.cache.scan_iter(f"*{token}*")))


def test_values_of_other_types_are_invalidated_too(cached: Any, scratch: Scratch) -> None:
    cached.update_states({"a": 1, "b": 2})
    scratch.cache.delete(scratch.prefix + "a")
    scratch.cache.rpush(scratch.prefix + "a", "1")
    cached.invalidate(["a"])
    cached.invalidate_all()
    assert cached.load_states(["a", "b"]) == {"a": 1, "b": 2}
    assert cached.get_cache_stats().errors == 0


def test_invalidating_while_others_write_loses_nothing(cached: Any, other: Any) -> None:
    ended = threading.Event()
    failures: list[tuple[int, Any]] = []

    def write() -> None:
        count = 0
        while not ended.is_set():
            other.update_state("t", count)
            loaded = other.load_state("t")
            if loaded != count:
                failures.append((count, loaded))
            count += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(40):
        cached.invalidate(["t"])
        cached.invalidate_all()
        cached.load_state("t")
    ended.set()
    writer.join(60)
    assert failures == [], "its own write, read back"
    eventually(lambda: cached.load_state("t") == other.load_state("t"))


@pytest.mark.parametrize("bad", ["", "a\0b", 7])
def test_bad_ids_are_refused(manager: Any, bad: Any) -> None:
    with pytest.raises(InvalidTriggerId):
        manager.invalidate(["a", bad])
    with pytest.raises(InvalidTriggerId):
        manager.warm(ids=["a", bad])


@pytest.mark.parametrize("bad", [-1, 1.5, "x", None, True])
def test_what_is_no_number_of_states_is_refused(manager: Any, bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"limit is .*: take a whole number from 0 to "):
        manager.warm(limit=bad)
    with pytest.raises(ConfigError, match=r"sample is .*: take a whole number from 0 to "):
        manager.verify(sample=bad)
    stats = manager.get_cache_stats()
    assert (stats.cache_commands, stats.db_reads) == ({}, 0)


def test_without_a_cache_there_is_nothing_to_do(plain: StateManager) -> None:
    plain.update_state("t", 1)
    plain.invalidate(["t"])
    plain.invalidate_all()
    assert plain.warm() == plain.warm(limit=5) == plain.warm(ids=["t"]) == 0
    found = plain.verify()
    assert (found.checked, found.differences, found.complete) == (0, [], True)


# Warming


def test_the_states_updated_last_are_warmed(cached: Any, plain: StateManager) -> None:
    names = [f"t{number}" for number in range(20)]
    for number, name in enumerate(names):
        plain.update_state(name, number)
    plain.delete_state("t19")
    assert cached.warm(limit=5) == 5
    assert cached.load_states(names[14:19]) == {f"t{n}": n for n in range(14, 19)}
    stats = cached.get_cache_stats()
    assert (stats.hits, stats.misses) == (5, 0)
    assert cached.load_state("t0") == 0
    assert cached.get_cache_stats().misses == 1


def test_given_states_are_warmed(cached: Any, plain: StateManager) -> None:
    plain.update_states({"a": 1, "b": 2, "c": 3})
    plain.delete_state("c")
    assert cached.warm(ids=["a", "a", "c", "never"]) == 1
    assert cached.load_state("a") == 1
    assert cached.get_cache_stats().hits == 1
    assert cached.warm(ids=[]) == 0
    assert cached.load_state("c") is None


def test_more_states_than_a_batch_are_warmed(cached: Any, plain: StateManager) -> None:
    states = {f"t{number}": number for number in range(1_100)}
    plain.update_states(states)
    assert cached.warm(limit=1_000_000) == 1_100
    assert cached.load_states(states) == states
    assert cached.get_cache_stats().misses == 0


def test_warming_never_sets_the_cache_back(cached: Any, scratch: Scratch) -> None:
    cached.update_state("t", "newer in the cache")
    scratch.sql("UPDATE {t} SET state_data = '\"older\"', version = version - 1")
    cached.warm()
    assert cached.load_state("t") == "newer in the cache"


# Verifying


def test_what_agrees(cached: Any) -> None:
    cached.update_states({f"t{number}": {"n": number} for number in range(50)})
    cached.load_state("never")
    cached.delete_state("t7")
    found = cached.verify()
    assert (found.checked >= 49, found.differences, found.complete) == (True, [], True)
    assert cached.verify(sample=10).checked == 10


def test_a_sample_is_of_states_though_the_cache_holds_tombstones(cached: Any) -> None:
    cached.update_states({f"t{number}": number for number in range(50)})
    cached.delete_states([f"t{number}" for number in range(30)])
    assert [cached.verify(sample=20).checked for _ in range(5)] == [20] * 5


def test_what_differs(cached: Any, scratch: Scratch) -> None:
    cached.update_states({"stale": 1, "ahead": 1, "content": 1, "gone": 1, "fine": 1})
    versions = {name: scratch.version(name) for name in ("stale", "ahead", "content", "gone")}
    for name, change in (
        ("stale", "version = version + 1"),
        ("ahead", "version = version - 1"),
        ("content", "state_data = '2'"),
    ):
        scratch.sql(f"UPDATE {{t}} SET {change} WHERE trigger_id = %s", name)
    scratch.sql("DELETE FROM {t} WHERE trigger_id = 'gone'")
    found = cached.verify()
    assert found.checked == 5
    assert found.complete
    kinds = sorted((one.trigger_id, one.kind) for one in found.differences)
    expected = [("ahead", "ahead"), ("content", "content"), ("gone", "ahead"), ("stale", "stale")]
    assert kinds == expected
    cached_versions = {one.trigger_id: one.cached_version for one in found.differences}
    assert cached_versions == versions


def test_writes_under_way_are_no_difference(cached: Any, other: Any) -> None:
    ended = threading.Event()

    def write() -> None:
        count = 0
        while not ended.is_set():
            other.update_state(f"t{count % 3}", count)
            count += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        eventually(lambda: other.get_state_count() == 3)
        for _ in range(3):
            assert cached.verify().differences == []
    finally:
        ended.set()
        writer.join(60)


@pytest.mark.parametrize("kind", CACHED)
def test_a_cache_that_tells_names_but_no_states(kind: str, scratch: Scratch) -> None:
    """What was not looked at is not called complete."""
    user, password = f"statecache-test-{secrets.token_hex(4)}", secrets.token_hex(8)
    scratch.cache.acl_setuser(
        user, enabled=True, passwords=[f"+{password}"], keys=["*"], channels=["*"],
        commands=["+@all", "-mget", "-get"],  # SCAN may tell one name at a time
    )  # fmt: skip
    place = urlsplit(scratch.redis_url)
    url = place._replace(netloc=f"{user}:{password}@{place.hostname}:{place.port}").geturl()
    try:
        with scratch.manager(kind, redis_url=url) as manager:
            manager.update_states({"a": 1, "b": 2, "c": 3})
            assert manager.get_cache_stats().errors == 0
            found = manager.verify()
    finally:
        scratch.cache.acl_deluser(user)
    assert (found.checked, found.differences, found.complete) == (0, [], False)


# Cleaning up


def test_a_clean_up_clears_every_cache(cached: Any, other: Any, scratch: Scratch) -> None:
    names = [f"t{number}" for number in range(1_200)]
    cached.update_states(dict.fromkeys(names, "old"))
    cached.update_state("young", 1)
    assert other.load_states(names) == dict.fromkeys(names, "old")
    scratch.sql(
        "UPDATE {t} SET updated_at = now() - interval '31 days' WHERE trigger_id <> 'young'"
    )
    assert cached.cleanup_expired(30) == 1_200
    for one in (cached, other):
        eventually(lambda one=one: set(one.load_states(names).values()) == {None})
        assert one.load_state("young") == 1
    cached.update_state("t5", "made again")
    eventually(lambda: other.load_state("t5") == "made again")


def test_a_clean_up_while_writers_run(manager: Any, plain: StateManager, scratch: Scratch) -> None:
    """What is written meanwhile stays, what is not goes, and nobody sees anything else."""
    names = [f"t{number}" for number in range(600)]
    manager.update_states(dict.fromkeys(names, "old"))
    scratch.sql("UPDATE {t} SET updated_at = now() - interval '31 days'")
    written: dict[str, Any] = {}
    begun, wrong = threading.Event(), []

    def write() -> None:
        for number, name in enumerate(names[::4]):
            manager.update_state(name, number)
            written[name] = number
            if manager.load_state(name) != number:
                wrong.append(name)
            if number == 20:
                begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(60)
    deleted = manager.cleanup_expired(30)
    writer.join(60)
    deleted += manager.cleanup_expired(30)
    assert wrong == []
    assert len(written) == 150
    assert 450 <= deleted <= 600, "some may have been deleted before they were written"
    expected = {name: written.get(name) for name in names}
    assert plain.load_states(names) == manager.load_states(names) == expected
    assert manager.get_state_count() == 150


@pytest.mark.parametrize("kind", CACHED)
def test_upkeep_without_the_cache(kind: str, scratch: Scratch) -> None:
    """Nothing fails: what was to be invalidated is read from PostgreSQL."""
    nowhere = "redis://127.0.0.1:1/0"
    with scratch.manager(kind, redis_url=nowhere, timeout_ms=50) as manager:
        manager.update_states({"a": 1, "b": 2})
        manager.invalidate(["a"])
        manager.invalidate_all()
        assert manager.warm() == 0
        found = manager.verify()
        assert (found.checked, found.differences, found.complete) == (0, [], False)
        scratch.sql("UPDATE {t} SET updated_at = now() - interval '2 days'")
        assert manager.cleanup_expired(1) == 2
        assert manager.load_states(["a", "b"]) == {"a": None, "b": None}


def test_what_could_not_be_invalidated_is_not_served(scratch: Scratch, plain: StateManager) -> None:
    """The cache refuses to write for a while: whoever invalidated is not answered by it."""
    with scratch.manager("CachedStateManager") as manager:
        manager.update_states({"a": "before", "b": "before"})
        plain.update_states({"a": "after", "b": "after"})
        before = scratch.cache.config_get("maxmemory")["maxmemory"]
        scratch.cache.config_set("maxmemory", "1")
        try:
            manager.invalidate(["a"])
            assert manager.load_state("a") == "after"
            manager.invalidate_all()
            assert manager.load_state("b") == "after"
        finally:
            scratch.cache.config_set("maxmemory", before)
        eventually(lambda: manager.get_cache_stats().unrepaired == 0)
        assert manager.load_states(["a", "b"]) == {"a": "after", "b": "after"}
