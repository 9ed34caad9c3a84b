"""The user of deploy/redis/users.acl can do what a manager does, and nothing else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from prometheus_client import CollectorRegistry
from support.managers import CACHED
from support.scratch import Scratch

from statecache.metrics import StateCacheCollector

LINE = (Path(__file__).parents[2] / "deploy" / "redis" / "users.acl").read_text().split()

#: What is granted though no call of a manager on the first database of a server needs it.
SPARE = {
    "client|setname": "a client with a name",
    "hello": "a client that speaks RESP3",
    "select": "another database than 0",
    "setrange": "raises a fence, where a write began before it was set",
    "unsubscribe": "ends a subscription",
}


class User(NamedTuple):
    name: str
    url: str


@pytest.fixture
def user(scratch: Scratch) -> Iterator[User]:
    """Such a user for the scratch prefix, on the session's server."""
    assert LINE[0] == "user"
    name, password = f"statecache_test_{secrets.token_hex(4)}", secrets.token_hex(16)
    words = [word.replace("trigger:state:", scratch.prefix) for word in LINE[2:]]
    words = [f">{password}" if word.startswith("#") else word for word in words]
    scratch.cache.execute_command("ACL", "SETUSER", name, *words)
    try:
        parts = urlsplit(scratch.redis_url)
        host = f"{name}:{password}@{parts.hostname}:{parts.port}"
        yield User(name, urlunsplit(parts._replace(netloc=host)))
    finally:
        scratch.cache.execute_command("ACL", "DELUSER", name)


def wait_until(true: Callable[[], object]) -> None:
    while not true():
        time.sleep(0.01)


def denials(scratch: Scratch, user: User) -> list[Any]:
    """Return what the server refused to the user, also where nobody was told."""
    log = scratch.cache.execute_command("ACL", "LOG", "128")
    entries = [entry if isinstance(entry, dict) else _pairs(entry) for entry in log]
    return [entry for entry in entries if entry[b"username"] == user.name.encode()]


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def do_everything(manager: Any, scratch: Scratch) -> None:
    scratch.cache.script_flush()  # so that scripts are sent, too
    large = {"window": list(range(500))}
    assert manager.load_state("a") is None
    manager.update_state("a", 1)
    _state, version = manager.load_versioned("a")
    manager.update_state("a", 2, expected_version=version)
    manager.update_states({"b": large, "c": 3})
    assert manager.load_states(["a", "b", "c", "d"]) == {"a": 2, "b": large, "c": 3, "d": None}
    manager.delete_state("c")
    manager.delete_states(["d"])
    manager.invalidate(["a"])
    time.sleep(0.01)  # what is read within a few milliseconds of a fence may not pass it
    assert manager.load_state("a") == 2
    assert manager.warm(limit=10) == 2
    assert manager.verify().checked
    manager.invalidate_all()
    assert manager.load_state("b") == large
    assert manager.cleanup_expired(retention_days=1) == 0
    assert manager.get_state_count() == 2


@pytest.mark.parametrize("kind", CACHED)
def test_every_operation_works_as_that_user(scratch: Scratch, user: User, kind: str) -> None:
    options = {
        "memory_items": 100,
        "gather": kind.startswith("Async"),
        "compress_min_bytes": 100,
        "negative_ttl_secs": 1.0,
        "early_refresh": 1.0,
        "repair_poll_secs": 1.0,
    }
    with scratch.manager(kind, redis_url=user.url, **options) as manager:
        do_everything(manager, scratch)

        def is_answered_from_memory() -> int:
            assert manager.load_state("a") == 2
            return int(manager.get_cache_stats().memory_hits)

        wait_until(is_answered_from_memory)  # which takes a subscription
        stats = manager.get_cache_stats()
    assert stats.errors_by_reason == {}
    assert stats.fills
    assert stats.puts
    assert denials(scratch, user) == []


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "{}other"),
        ("MGET", "{}:a", "{}other"),
        ("SET", "{}other", "1"),
        ("EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "{}other"),
        ("EVAL", "return redis.call('SET', '{}other', 1)", "0"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", "1", "{}:a"),
        ("PUBLISH", "{}other", "1"),
        ("SUBSCRIBE", "{}other"),
        ("PSUBSCRIBE", "*"),
        ("DEL", "{}:a"),
        ("KEYS", "*"),
        ("FLUSHDB",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("SCRIPT", "FLUSH"),
        ("CLIENT", "LIST"),
        ("MONITOR",),
    ],
    ids=lambda command: " ".join(command)[:40],
)
def test_all_else_is_refused(scratch: Scratch, user: User, command: tuple[str, ...]) -> None:
    outside = scratch.prefix.removesuffix(":")
    words = [word.replace("{}", outside) for word in command]
    with redis.Redis.from_url(user.url) as client:
        assert client.get(scratch.prefix + "a") is None, "it may do that"
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)perm|no access|acl"):
            client.execute_command(*words)
    assert len(denials(scratch, user)) == 1


def test_no_command_is_granted_that_is_not_used(scratch: Scratch, user: User) -> None:
    granted = {word[1:] for word in LINE if word.startswith("+")}

    def calls() -> dict[str, int]:
        found = scratch.cache.info("commandstats")
        return {name.removeprefix("cmdstat_"): of["calls"] for name, of in found.items()}

    before = calls()
    options = {"memory_items": 100}
    with scratch.manager("CachedStateManager", redis_url=user.url, **options) as manager:
        do_everything(manager, scratch)
        wait_until(lambda: manager.load_state("a") and manager.get_cache_stats().memory_hits)
    used = {name for name, count in calls().items() if count > before.get(name, 0)}
    # Whether a write began in the very millisecond of a fence is chance.
    assert (granted - used) | {"setrange"} == set(SPARE)


def test_the_metrics_of_a_manager_at_work(scratch: Scratch) -> None:
    with scratch.manager("CachedStateManager") as manager:
        registry = CollectorRegistry()
        registry.register(StateCacheCollector(manager, {"table": "triggers"}))
        manager.update_state("t", 1)
        manager.load_state("t")
        scratch.cache.delete(scratch.prefix + "t")
        manager.load_state("t")

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, {"table": "triggers"} | labels)

        assert value("state_cache_hits_total") == 1
        assert value("state_cache_misses_total", reason="absent") == 1
        assert value("state_cache_puts_total") == 1
        assert value("state_cache_fills_total") == 1
        assert value("state_db_read_duration_seconds_count") == value("state_db_reads_total") == 1
        assert value("state_db_write_duration_seconds_count") == value("state_db_writes_total") == 1
        assert 0 < (value("state_db_read_duration_seconds_sum") or 0) < 60
