"""What the cache adds, and that it never changes an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psycopg_pool
import pytest
import redis
import redis.asyncio
from support.managers import CACHED
from support.scratch import Scratch

from statecache import (
    AsyncCachedStateManager,
    CachedStateManager,
    DatabaseError,
    InvalidTriggerId,
)
from statecache._sync.cache import StateCache
from statecache.lifetimes import Lifetimes
from statecache.lookup import Moment, Put, Row
from statecache.stats import Tally


@pytest.fixture(params=CACHED)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manager(kind: str, scratch: Scratch) -> Iterator[Any]:
    with scratch.manager(kind) as opened:
        yield opened


class Cache:
    """The cache alone, to put entries of one key in any order."""

    def __init__(self, cache: StateCache) -> None:
        self.cache = cache

    def moment(self) -> Moment:
        moment = self.cache.moment()
        assert moment is not None
        return moment

    def put(self, version: int, payload: bytes | None, moment: Moment | None = None) -> Put:
        return self.cache.put({"t": Row(payload, version)}, moment or self.moment())["t"]

    def fill(self, version: int, payload: bytes, moment: Moment) -> Put:
        return self.cache.fill({"t": Row(payload, version)}, moment)["t"]


@pytest.fixture
def cache(scratch: Scratch) -> Iterator[Cache]:
    config = scratch.config()
    client = redis.Redis.from_url(scratch.redis_url)
    opened = StateCache(client, config, Tally(), Lifetimes(config.ttl_ms))
    yield Cache(opened)
    opened.close()
    client.close()


# Write-through and cache-aside


def test_an_update_is_written_through(manager: Any, scratch: Scratch) -> None:
    manager.update_state("trigger_123", {"b": 1, "a": 2})
    version = scratch.version("trigger_123")
    assert scratch.entry("trigger_123") == (version, b'J{"a":2,"b":1}')
    assert manager.load_state("trigger_123") == {"a": 2, "b": 1}
    stats = manager.get_cache_stats()
    assert (stats.hits, stats.misses, stats.db_reads) == (1, 0, 0)


def test_a_miss_fills_the_cache_with_what_postgresql_holds(manager: Any, scratch: Scratch) -> None:
    scratch.sql("INSERT INTO {t} (trigger_id, state_data, version) VALUES ('t', '[1]', 9)")
    assert manager.load_state("t") == [1]
    assert scratch.entry("t") == (9, b"J[1]")
    assert manager.load_state("t") == [1]
    stats = manager.get_cache_stats()
    assert (stats.hits, stats.misses, stats.fills, stats.hit_rate) == (1, 1, 1, 0.5)
    assert stats.misses_by_reason == {"absent": 1}


def test_what_does_not_exist_is_not_cached(manager: Any, scratch: Scratch) -> None:
    assert manager.load_state("t") is None
    assert scratch.entry("t") is None


def test_the_ttl_is_kept_to_the_millisecond(kind: str, scratch: Scratch) -> None:
    with scratch.manager(kind, ttl_secs=0.75) as manager:
        manager.update_state("t", 1)
        assert 0 < scratch.cache.pttl(scratch.prefix + "t") <= 750
        scratch.cache.delete(scratch.prefix + "t")
        manager.load_state("t")
        assert 0 < scratch.cache.pttl(scratch.prefix + "t") <= 750


def test_an_expired_entry_is_a_miss(kind: str, scratch: Scratch) -> None:
    with scratch.manager(kind, ttl_secs=0.05) as manager:
        manager.update_state("t", 1)
        deadline = time.monotonic() + 10
        # On a busy machine the put may have come too late: then a fence lies there.
        while (scratch.entry("t") or (0, b""))[1].startswith(b"J"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert manager.load_state("t") == 1
        assert manager.get_cache_stats().misses == 1


def test_managers_see_each_other_s_writes_at_once(scratch: Scratch) -> None:
    with scratch.manager(CACHED[0]) as one, scratch.manager(CACHED[1]) as other:
        for count in range(20):
            (one, other)[count % 2].update_state("t", count)
            assert one.load_state("t") == other.load_state("t") == count
        one.delete_state("t")
        assert other.load_state("t") is None


def test_a_disabled_cache_opens_no_connection(scratch: Scratch) -> None:
    with psycopg_pool.ConnectionPool(scratch.database_url, min_size=1) as pool:
        before = scratch.cache.info("stats")["total_connections_received"]
        with CachedStateManager(pool, None, config=scratch.config(enabled=False)) as manager:
            manager.update_state("t", 1)
            assert manager.load_state("t") == 1
            manager.delete_state("t")
            assert manager.load_state("t") is None
            assert not manager.get_cache_stats().enabled
        assert scratch.cache.info("stats")["total_connections_received"] == before


def test_the_managers_own_their_connections_when_made_from_the_environment(
    scratch: Scratch,
) -> None:
    environ = {
        "DATABASE_URL": scratch.database_url,
        "REDIS_URL": scratch.redis_url,
        "STATE_CACHE_SCHEMA": scratch.schema,
        "STATE_CACHE_KEY_PREFIX": scratch.prefix,
        "STATE_CACHE_TTL_SECS": "600",
    }
    with CachedStateManager.from_env(environ) as manager:
        manager.update_state("t", 1)
        assert manager.load_state("t") == 1
        assert manager.get_cache_stats().ttl_secs == 600

    async def use() -> Any:
        unentered = AsyncCachedStateManager.from_env(environ)
        try:
            return await unentered.load_state("t")
        finally:
            await unentered.aclose()

    assert asyncio.run(use()) == 1


def test_the_positional_ttl_of_the_documented_call(scratch: Scratch) -> None:
    client = redis.Redis.from_url(scratch.redis_url)
    with psycopg_pool.ConnectionPool(scratch.database_url, min_size=1) as pool:
        manager = CachedStateManager(pool, client, 300)
        assert manager.get_cache_stats().ttl_secs == 300
        manager.close()
    client.close()


# The cache never goes backwards


def test_an_older_put_does_not_replace_a_newer_one(cache: Cache, scratch: Scratch) -> None:
    assert cache.put(10, b'"new"') is Put.STORED
    assert cache.put(9, b'"old"') is Put.SUPERSEDED
    assert scratch.entry("t") == (10, b'J"new"')


def test_versions_are_compared_beyond_what_a_double_holds(cache: Cache, scratch: Scratch) -> None:
    assert cache.put(2**60 + 1, b"1") is Put.STORED
    assert cache.put(2**60, b"0") is Put.SUPERSEDED
    assert scratch.entry("t") == (2**60 + 1, b"J1")


def test_a_slow_reader_does_not_fill_over_a_newer_write(cache: Cache, scratch: Scratch) -> None:
    moment = cache.moment()
    cache.put(2, b'"new"')
    assert cache.fill(1, b'"old"', moment) is Put.SUPERSEDED
    assert scratch.entry("t") == (2, b'J"new"')


def test_a_slow_reader_does_not_bring_a_deleted_state_back(
    manager: Any, cache: Cache, scratch: Scratch
) -> None:
    manager.update_state("t", "here")
    version, moment = scratch.version("t"), cache.moment()
    manager.delete_state("t")
    assert cache.fill(version, b'"here"', moment) is Put.SUPERSEDED
    assert manager.load_state("t") is None
    assert manager.get_cache_stats().misses_by_reason == {"tombstone": 1}


def test_a_tombstone_gives_way_to_what_is_newer_only(cache: Cache, scratch: Scratch) -> None:
    cache.put(2, None)
    assert cache.fill(2, b"1", cache.moment()) is Put.SUPERSEDED
    assert scratch.entry("t") == (2, b"D")
    cache.put(3, b"3")
    assert scratch.entry("t") == (3, b"J3")


def test_the_same_version_arms_the_ttl_again(cache: Cache, scratch: Scratch) -> None:
    cache.put(2, b"1")
    scratch.cache.pexpire(scratch.prefix + "t", 1_000)
    cache.fill(2, b"1", cache.moment())
    assert scratch.cache.pttl(scratch.prefix + "t") > 100_000


def test_a_fill_past_its_deadline_is_dropped_by_the_server_s_clock(
    cache: Cache, scratch: Scratch
) -> None:
    moment = cache.moment()
    assert cache.fill(1, b"1", moment._replace(at=moment.at - 6)) is Put.LATE
    assert scratch.entry("t") is None
    assert cache.fill(1, b"1", moment) is Put.STORED
    assert scratch.entry("t") == (1, b"J1")


def test_what_was_read_or_written_before_the_cache_lost_its_contents_is_dropped(
    cache: Cache, scratch: Scratch
) -> None:
    moment = cache.moment()
    cache.put(2, b'"new"')
    for key in scratch.cache.scan_iter(scratch.prefix + "*"):  # as FLUSHALL would
        scratch.cache.delete(key)
    assert cache.fill(1, b'"old"', moment) is Put.LATE
    assert cache.put(1, b'"old"', moment) is Put.LATE
    assert scratch.entry("t") is None
    assert cache.fill(2, b'"new"', cache.moment()) is Put.STORED


def test_what_was_read_or_written_before_an_invalidation_is_dropped(
    cache: Cache, scratch: Scratch
) -> None:
    cache.put(2, b'"by the manager"')
    moment = cache.moment()
    assert cache.cache.invalidate(["t"])
    assert scratch.entry("t") == (0, b"F")
    assert cache.fill(2, b'"by the manager"', moment) is Put.SUPERSEDED
    assert cache.put(2, b'"by the manager"', moment) is Put.SUPERSEDED
    time.sleep(0.01)  # fences carry whole milliseconds
    assert cache.fill(2, b'"by hand"', cache.moment()) is Put.STORED
    assert scratch.entry("t") == (2, b'J"by hand"')


def test_a_repairing_fence_stays_away_from_what_is_up_to_date(
    cache: Cache, scratch: Scratch
) -> None:
    cache.put(5, b"5")
    assert cache.cache.fence({"t": 5})["t"] is Put.SUPERSEDED
    assert scratch.entry("t") == (5, b"J5")
    assert cache.cache.fence({"t": 6})["t"] is Put.STORED
    assert scratch.entry("t") == (6, b"F")


# Who is told


def test_a_put_is_told_with_the_name_of_who_put_it_and_fences_are_told_to_all(
    cache: Cache, scratch: Scratch
) -> None:
    other = StateCache(scratch.cache, scratch.config(), Tally(), Lifetimes(1_000))
    with scratch.cache.pubsub() as listening:
        listening.subscribe(cache.cache.channel)

        def next_message() -> bytes:
            while (message := listening.get_message(timeout=20)) is not None:
                if message["type"] == "message":
                    return bytes(message["data"])
            raise AssertionError("nobody was told")

        cache.put(5, b"1")
        put = next_message()
        assert put.endswith(b"\0%016xt" % 5)
        assert cache.cache.is_own(put)
        assert not other.is_own(put)
        cache.cache.fence({"t": 6})
        fence = next_message()
        assert fence == b"\0%016xt" % 6
        assert not cache.cache.is_own(fence)
        cache.cache.invalidate(["t"])
        assert next_message() == b"\0" + b"f" * 16 + b"t"
        cache.fill(7, b"1", cache.moment())
        cache.put(4, b"1")  # nothing changes
        cache.cache.invalidate_all()
        assert next_message().startswith(b"\0" + b"f" * 16)
    other.close()


# Whatever lies in the cache, the answer is PostgreSQL's


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{}",
        b"ffffffffffffffffX{}",
        b"zzzzzzzzzzzzzzzzJ1",
        b"ffffffffffffffffJ019ab12c4de1",
        b"7fffffffffffffffJ019ab12c4de{broken",
        b"7fffffffffffffffZ019ab12c4denot zlib",
        b"0000000000000001J019ab12c4de\xff\xfe",
        b'{"ema": 1}' * 100,
    ],
)
def test_junk_under_our_key_is_a_counted_miss(manager: Any, scratch: Scratch, junk: bytes) -> None:
    manager.update_state("t", "truth")
    scratch.cache.set(scratch.prefix + "t", junk)
    assert manager.load_state("t") == "truth"
    assert manager.get_cache_stats().misses_by_reason == {"corrupt": 1}
    manager.update_state("t", "newer")
    assert manager.load_state("t") == "newer", "junk is never newest"
    time.sleep(0.01)  # a fence that removed the junk carries whole milliseconds
    manager.update_state("t", "newest")
    assert scratch.entry("t") == (scratch.version("t"), b'J"newest"')


def test_a_key_of_another_type_is_overwritten(manager: Any, scratch: Scratch) -> None:
    scratch.cache.lpush(scratch.prefix + "t", "a list")
    manager.update_state("t", 1)
    assert manager.load_state("t") == 1
    scratch.cache.delete(scratch.prefix + "t")
    scratch.cache.sadd(scratch.prefix + "t", "a set")
    assert manager.load_state("t") == 1
    assert scratch.entry("t") == (scratch.version("t"), b"J1"), "repaired by the read"
    assert manager.get_cache_stats().errors == 0


def test_an_emptied_cache_and_a_forgotten_script_cost_only_misses(
    manager: Any, scratch: Scratch
) -> None:
    manager.update_state("t", 1)
    scratch.cache.delete(scratch.prefix + "t")
    scratch.cache.script_flush()
    assert manager.load_state("t") == 1
    assert manager.load_state("t") == 1
    stats = manager.get_cache_stats()
    assert (stats.hits, stats.misses, stats.errors) == (1, 1, 0)


# Single flight


def test_concurrent_misses_share_database_reads(scratch: Scratch) -> None:
    scratch.sql("INSERT INTO {t} (trigger_id, state_data) VALUES ('t', '1')")

    async def load_together() -> Any:
        client = redis.asyncio.Redis.from_url(scratch.redis_url)
        async with (
            psycopg_pool.AsyncConnectionPool(scratch.database_url, min_size=4) as pool,
            AsyncCachedStateManager(pool, client, config=scratch.config()) as manager,
        ):
            states = await asyncio.gather(*(manager.load_state("t") for _ in range(50)))
            await client.aclose()
            return states, manager.get_cache_stats()

    states, stats = asyncio.run(load_together())
    assert states == [1] * 50
    assert stats.hits + stats.misses == 50
    assert stats.db_reads + stats.coalesced == stats.misses
    assert stats.coalesced > 0


# What a review found


def test_what_is_live_is_told_by_its_state_not_by_when_it_was_deleted(
    manager: Any, scratch: Scratch
) -> None:
    manager.update_state("t", 1)
    manager.delete_state("t")
    # A service of the documented form knows no deleted_at.
    scratch.sql("UPDATE {t} SET state_data = '2', deleted_at = now() - interval '30 days'")
    manager.invalidate(["t"])
    assert manager.load_state("t") == 2
    assert manager.get_state_count() == 1
    manager.cleanup_expired(retention_days=30)
    state, version = manager.load_versioned("t")
    assert state == 2
    manager.update_state("t", 3, expected_version=version)
    assert manager.load_state("t") == 3


def test_a_negative_entry_keeps_out_what_the_fence_before_it_did(
    kind: str, scratch: Scratch, cache: Cache
) -> None:
    with scratch.manager(kind, negative_ttl_secs=0.05) as manager:
        manager.update_state("t", 1)
        version, moment = scratch.version("t"), cache.moment()
        manager.delete_state("t")
        manager.invalidate(["t"])
        time.sleep(0.01)  # fences carry whole milliseconds
        assert manager.load_state("t") is None
        entry = scratch.entry("t")
        assert entry is not None
        assert entry[1] == b"N"
        time.sleep(0.1)
        assert cache.fill(version, b"1", moment) is Put.SUPERSEDED
        assert manager.load_state("t") is None


def test_a_reader_behind_an_invalidation_shares_no_older_read(
    kind: str, scratch: Scratch, cache: Cache
) -> None:
    with scratch.manager(kind) as manager:
        manager.update_state("t", 1)
        assert cache.cache.invalidate(["t"])
        assert manager.load_state("t") == 1
        assert manager.get_cache_stats().misses_by_reason == {"fenced": 1}


def test_junk_with_its_kind_in_the_wrong_place_is_overwritten(
    manager: Any, scratch: Scratch
) -> None:
    scratch.cache.set(scratch.prefix + "t", b"7fffJfffffffffff0019ab12c4de" + b"{}")
    manager.update_state("t", 1)
    assert scratch.entry("t") == (scratch.version("t"), b"J1")


def test_states_that_only_sql_can_store_are_the_documented_error(
    manager: Any, scratch: Scratch
) -> None:
    deep = "[" * 2_000 + "]" * 2_000
    scratch.sql("INSERT INTO {t} (trigger_id, state_data) VALUES ('t', %s::jsonb)", deep)
    with pytest.raises(DatabaseError, match="beyond what can be read"):
        manager.load_state("t")
    deep = "[" * 300 + "]" * 300
    scratch.sql("UPDATE {t} SET state_data = %s::jsonb", deep)
    assert manager.load_state("t") is not None


def test_a_trigger_that_swallows_the_write_is_an_error(manager: Any, scratch: Scratch) -> None:
    scratch.sql(
        "CREATE FUNCTION {s}.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    scratch.sql(
        "CREATE TRIGGER swallow BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION {s}.swallow()"
    )
    with pytest.raises(DatabaseError, match="did not store"):
        manager.update_state("t", 1)


def test_one_id_where_several_are_expected_is_refused(manager: Any) -> None:
    manager.update_states({"a": 1, "b": 2})
    for call in (manager.load_states, manager.delete_states, manager.invalidate):
        with pytest.raises(InvalidTriggerId, match="pass a list"):
            call("ab")
    assert manager.load_states(["a", "b"]) == {"a": 1, "b": 2}


def test_gathered_hits_are_served_while_postgresql_is_in_trouble(scratch: Scratch) -> None:
    async def run() -> list[Any]:
        client = redis.asyncio.Redis.from_url(scratch.redis_url)
        config = scratch.config(gather=True)
        async with psycopg_pool.AsyncConnectionPool(scratch.database_url, min_size=1) as pool:
            async with AsyncCachedStateManager(pool, client, config=config) as manager:
                await manager.update_state("cached", 1)
                scratch.sql("ALTER TABLE {t} RENAME TO elsewhere")
                calls = (manager.load_state("cached"), manager.load_state("not cached"))
                answers = await asyncio.gather(*calls, return_exceptions=True)
            await client.aclose()
        return answers

    hit, miss = asyncio.run(run())
    assert hit == 1
    assert isinstance(miss, DatabaseError)


def test_a_state_that_was_only_to_be_refreshed_is_served_while_postgresql_is_in_trouble(
    kind: str, scratch: Scratch
) -> None:
    # With such a beta nearly every hit is refreshed early.
    with scratch.manager(kind, early_refresh=1_000, ttl_secs=5) as manager:
        manager.update_state("t", 1)
        scratch.cache.delete(scratch.prefix + "t")
        assert manager.load_state("t") == 1, "which also tells how long a read takes"
        scratch.sql("ALTER TABLE {t} RENAME TO elsewhere")
        for _ in range(50):
            assert manager.load_state("t") == 1
