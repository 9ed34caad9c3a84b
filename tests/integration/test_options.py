"""What is off by default, through real managers: compression, lifetimes, the recorder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.managers import CACHED
from support.scratch import Scratch

from statecache import Access
from statecache.recorder import AccessRecorder
from statecache.study.traces import DELETE, READ, WRITE, read_trace

RECORDS = {"window": [{"at": n, "delay": n % 7, "carrier": "UA"} for n in range(30)]}


@pytest.fixture(params=CACHED)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def raw(scratch: Scratch, trigger_id: str) -> bytes:
    found: bytes | None = scratch.cache.get(scratch.prefix + trigger_id)
    assert found is not None
    return found


def lifetimes_ms(scratch: Scratch) -> list[int]:
    keys = list(scratch.cache.scan_iter(f"{scratch.prefix}t*"))
    return [scratch.cache.pttl(key) for key in keys]


# Compression


def test_large_states_are_compressed_and_come_back(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, compress_min_bytes=200) as manager:
        manager.update_state("large", RECORDS)
        manager.update_state("small", {"count": 1})
        assert len(raw(scratch, "large")) < len(json.dumps(RECORDS)) / 3
        assert raw(scratch, "small").endswith(b'{"count":1}')
        assert manager.load_state("large") == RECORDS
        assert manager.load_states(["large", "small"]) == {"large": RECORDS, "small": {"count": 1}}
        assert manager.get_cache_stats().hits == 3
    with scratch.manager(kind) as plain:
        assert plain.load_state("large") == RECORDS, "whoever compresses, everybody can read"
        assert plain.get_cache_stats().hits == 1


def test_a_compressed_state_that_is_damaged_is_a_counted_miss(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, compress_min_bytes=200) as manager:
        manager.update_state("t", RECORDS)
        entry = raw(scratch, "t")
        for damaged in (entry[:-3], entry[:60] + b"\xff" + entry[61:], entry + b"x"):
            scratch.cache.set(scratch.prefix + "t", damaged)
            assert manager.load_state("t") == RECORDS
        assert manager.get_cache_stats().misses_by_reason == {"corrupt": 3}
        while not manager.get_cache_stats().hits:  # a reader repairs it, if not the very first
            assert manager.load_state("t") == RECORDS
        assert manager.get_cache_stats().errors == 0


# Lifetimes


def test_jitter_spreads_the_expiry(scratch: Scratch, kind: str) -> None:
    with scratch.manager(kind, ttl_secs=1_000, ttl_jitter=0.5) as manager:
        manager.update_states({f"t{n}": n for n in range(100)})
    found = lifetimes_ms(scratch)
    assert len(found) == 100
    assert max(found) <= 1_000_000
    assert min(found) > 400_000
    assert max(found) - min(found) > 250_000


def test_the_ttl_of_a_busy_key_adapts_and_that_of_others_stays(scratch: Scratch, kind: str) -> None:
    options = {"ttl_secs": 300, "target_hit_rate": 0.8, "ttl_min_secs": 0.1, "ttl_max_secs": 600}
    with scratch.manager(kind, **options) as manager:
        manager.update_state("quiet", 1)
        for n in range(40):
            manager.load_state("t")
            manager.update_state("t", n)
    # At w events a second it is ln(5) / w; the events took less than half a minute altogether.
    assert lifetimes_ms(scratch)[0] < 60_000
    assert scratch.cache.pttl(scratch.prefix + "quiet") > 200_000


def test_entries_are_refreshed_before_they_expire(scratch: Scratch, kind: str) -> None:
    told: list[Access] = []
    # A beta so large that an expiry some seconds ahead is as near as the next fetch.
    with scratch.manager(kind, observer=told.append, ttl_secs=3, early_refresh=1_000.0) as manager:
        manager.update_state("t", 1)
        scratch.cache.delete(scratch.prefix + "t")
        manager.load_state("t")  # times a fetch
        while told[-1].outcome != "early":
            assert manager.load_state("t") == 1
        assert told[-1].armed is not None, "it filled"
        stats = manager.get_cache_stats()
    assert stats.misses_by_reason["early"] == 1
    assert stats.fills == sum(stats.misses_by_reason.values())


# The recorder


def test_a_manager_s_accesses_become_a_trace(scratch: Scratch, kind: str, tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1.0)
    before = time.time()
    with scratch.manager(kind, observer=recorder) as manager:
        manager.load_state("a")
        manager.update_state("a", {"count": 1})
        manager.load_states(["a", "b"])
        manager.delete_states(["a"])
    recorder.close()
    trace = read_trace(tmp_path)
    assert trace.op.tolist() == [READ, WRITE, READ, READ, DELETE]
    assert trace.size is not None
    # Without the space that PostgreSQL puts in.
    assert trace.size.tolist() == [0, 11, 11, 0, 0]
    a, b = trace.key[0], trace.key[3]
    assert a != b
    assert trace.key.tolist() == [a, a, a, b, a]
    assert before - 1 < trace.time_s[0] <= trace.time_s[-1] < time.time() + 1


# Observers that want some keys only


class Picky:
    """An observer of a few keys."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.told: list[Access] = []

    def wants(self, trigger_id: str) -> bool:
        return trigger_id in self.keys

    def __call__(self, access: Access) -> None:
        self.told.append(access)


@pytest.mark.parametrize(
    ("kind", "gather"), [*((kind, False) for kind in CACHED), ("AsyncCachedStateManager", True)]
)
def test_no_access_of_a_wanted_key_is_missed(scratch: Scratch, kind: str, gather: bool) -> None:
    picky = Picky("a", "b")
    with scratch.manager(kind, observer=picky, memory_items=10, gather=gather) as manager:
        manager.update_states({"a": 1, "other": 1})
        while not manager.get_cache_stats().memory_hits:  # until the tier is trusted
            manager.load_state("other")
        assert {access.trigger_id for access in picky.told} == {"a"}
        picky.told.clear()

        expected = []
        for n in range(50):
            for key in ("a", "other", "b", "a"):
                manager.load_state(key)
            manager.update_state("a", n)  # the tier keeps what was written
            manager.update_state("other", n)
            manager.load_states(["a", "other"])
            operations = zip(("load", "load", "load", "update", "load"), "abaaa", strict=True)
            expected += list(operations)
        manager.delete_states(["a", "other"])
        assert [(access.operation, access.trigger_id) for access in picky.told] == [
            *expected,
            ("delete", "a"),
        ]
        loads = [access.outcome for access in picky.told if access.operation == "load"]
        assert "memory" in loads
        assert manager.get_cache_stats().memory_hits > loads.count("memory")


def test_who_wants_no_key_in_particular_is_told_of_all(scratch: Scratch, kind: str) -> None:
    told: list[Access] = []
    with scratch.manager(kind, observer=told.append, memory_items=10) as manager:
        manager.update_state("a", 1)
        for _ in range(100):
            manager.load_state("a")
        stats = manager.get_cache_stats()
    assert [access.operation for access in told] == ["update"] + 100 * ["load"]
    outcomes = [access.outcome for access in told]
    assert outcomes.count("memory") == stats.memory_hits
