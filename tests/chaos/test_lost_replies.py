"""Replies that come too late, or not at all: nobody gets another caller's, nobody is misled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.interrupts import Victim, eventually
from support.managers import CACHED, KINDS
from support.relay import Relay, relays
from support.scratch import Scratch

from statecache import DatabaseError


@pytest.fixture
def open_relay() -> Iterator[Callable[..., Relay]]:
    with relays() as opened:
        yield opened


def behind(open_relay: Callable[..., Relay], url: str) -> tuple[Relay, str]:
    """Return a relay to the server at the address, and the address that leads through it."""
    parts = urlsplit(url)
    relay = open_relay((parts.hostname, parts.port))
    credentials, at, _host = parts.netloc.rpartition("@")
    return relay, parts._replace(netloc=f"{credentials}{at}{relay.host}:{relay.port}").geturl()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *((kind, {}) for kind in CACHED),
        ("CachedStateManager", {"memory_items": 20}),
        ("AsyncCachedStateManager", {"gather": True}),
    ],
    ids=str,
)
def test_a_late_reply_of_the_cache_reaches_nobody_else(
    kind: str, changes: dict[str, Any], scratch: Scratch, open_relay: Callable[..., Relay]
) -> None:
    """A part of the replies comes after the time-out, while others use the connections."""
    relay, url = behind(open_relay, scratch.redis_url)
    settings = {"timeout_ms": 50, "breaker_threshold": 1_000_000, **changes}
    with scratch.manager(kind, redis_url=url, **settings) as manager:
        relay.delay(to_client=(0.0, 0.1), share=0.2)

        def use(name: str) -> None:
            for count in range(15):
                state = [name, count]
                manager.update_state(name, state)
                for _ in range(3):
                    assert manager.load_state(name) == state
                assert manager.load_states([name, f"no {name}"]) == {
                    name: state,
                    f"no {name}": None,
                }

        victims = [Victim(lambda name=f"t{number}": use(name)) for number in range(6)]
        assert [victim.end() for victim in victims] == [None] * len(victims)
        stats = manager.get_cache_stats()
        assert any("Timeout" in reason for reason in stats.errors_by_reason)
        assert stats.hits or stats.memory_hits


@pytest.mark.parametrize("kind", KINDS)
def test_a_late_reply_of_postgresql_reaches_nobody_else(
    kind: str, scratch: Scratch, open_relay: Callable[..., Relay]
) -> None:
    relay, url = behind(open_relay, scratch.database_url)
    with scratch.manager(kind, database_url=url, db_timeout_ms=60) as manager:
        eventually(lambda: warmed_up(manager))
        relay.delay(to_client=(0.0, 0.08))
        failures = []

        def use(name: str) -> None:
            for count in range(12):
                try:
                    manager.update_state(name, [name, count])
                    scratch_key = scratch.prefix + name
                    scratch.cache.delete(scratch_key)
                    found = manager.load_state(name)
                except DatabaseError as error:
                    failures.append(error)
                else:
                    assert found == [name, count]

        victims = [Victim(lambda name=f"t{number}": use(name)) for number in range(4)]
        assert [victim.end() for victim in victims] == [None] * len(victims)
        relay.heal()
        assert failures, "some replies were late"
        eventually(lambda: warmed_up(manager))


def warmed_up(manager: Any) -> bool:
    try:
        manager.update_state("warm", 1)
        return bool(manager.load_state("warm") == 1)
    except DatabaseError:
        return False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", ["update", "delete", "batch"])
def test_a_commit_whose_answer_is_lost(
    kind: str, operation: str, scratch: Scratch, open_relay: Callable[..., Relay]
) -> None:
    """The caller gets an error, the write stands: the manager that made it reads the truth."""
    relay, url = behind(open_relay, scratch.database_url)
    with (
        scratch.manager(kind, database_url=url) as manager,
        scratch.manager("CachedStateManager") as other,
    ):
        manager.update_state("t", "before")
        assert manager.load_state("t") == other.load_state("t") == "before"
        call = {
            "update": lambda: manager.update_state("t", "after"),
            "delete": lambda: manager.delete_state("t"),
            "batch": lambda: manager.update_states({"s": "after", "t": "after"}),
        }[operation]
        after = None if operation == "delete" else "after"
        relay.delay(to_client=(30.0, 30.0))
        writer = Victim(call)
        eventually(lambda: truth(scratch) == after)
        relay.delay()  # the pool connects anew as soon as it finds the connection cut
        relay.cut(deliver=True)
        assert isinstance(writer.end(), DatabaseError)
        assert manager.load_state("t") == after
        if "Cached" in kind:
            eventually(lambda: other.load_state("t") == after)
            eventually(lambda: manager.get_cache_stats().unrepaired == 0)
        assert manager.load_state("t") == after


def truth(scratch: Scratch) -> Any:
    return scratch.sql("SELECT state_data FROM {t} WHERE trigger_id = 't'")[0][0]
