from __future__ import annotations

import heapq
import math
import random
import threading
import tracemalloc
from typing import Any

import pytest

from statecache.lifetimes import ENOUGH, HALVE_AT, Lifetimes
from statecache.study import models


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def adaptive(target: float, clock: Clock, **options: Any) -> Lifetimes:
    limits = {"ttl_min_ms": 1, "ttl_max_ms": 1e12, "clock": clock}
    return Lifetimes(300_000, target_hit_rate=target, **limits | options)


def learn(
    lifetimes: Lifetimes,
    clock: Clock,
    *,
    reads_per_s: float = 0.0,
    events_per_s: float = 0.0,
    count: int = 50 * HALVE_AT,
    chance: random.Random | None = None,
) -> None:
    """Let Poisson reads, and events that load and then update, happen to the key "t"."""
    chance = chance or random.Random(7)
    for _ in range(count):
        clock.now += chance.expovariate(reads_per_s + events_per_s)
        lifetimes.note_read("t")
        if chance.random() * (reads_per_s + events_per_s) < events_per_s:
            lifetimes.note_write("t")


def mean_ttl_s(lifetimes: Lifetimes, clock: Clock, **rates: float) -> float:
    """Return the mean of the TTLs given over many events: one alone varies with the arrivals."""
    ttls, chance = [], random.Random(9)
    learn(lifetimes, clock, **rates, chance=chance)
    for _ in range(400):
        learn(lifetimes, clock, **rates, chance=chance, count=HALVE_AT // 4)
        ttls.append(lifetimes.ttl_ms("t") / 1000)
    return sum(ttls) / len(ttls)


# The TTL itself


def test_without_options_every_entry_lives_for_the_ttl() -> None:
    lifetimes = Lifetimes(300_000)
    assert {lifetimes.ttl_ms(name) for name in "abc"} == {300_000}


def test_jitter_spreads_evenly_and_never_beyond_the_ttl() -> None:
    lifetimes = Lifetimes(10_000, jitter=0.2, random=random.Random(1).random)
    ttls = [lifetimes.ttl_ms("t") for _ in range(20_000)]
    assert 8_000 <= min(ttls) < 8_010
    assert 9_990 <= max(ttls) <= 10_000
    for fifth in range(5):
        low = 8_000 + 400 * fifth
        share = sum(low <= ttl < low + 400 for ttl in ttls) / len(ttls)
        assert share == pytest.approx(0.2, abs=0.02)


def test_a_lifetime_is_at_least_a_millisecond() -> None:
    assert Lifetimes(1, jitter=1.0).ttl_ms("t") == 1
    assert Lifetimes(0.3).ttl_ms("t") == 1


# Adaptive: against the closed form


@pytest.mark.parametrize(
    ("reads_per_s", "events_per_s"), [(1.0, 0.0), (0.0, 0.25), (0.9, 0.1), (0.2, 2.0), (0.001, 1.0)]
)
@pytest.mark.parametrize("target", [0.3, 0.8, 0.98])
def test_the_ttl_is_the_inverse_of_the_model(
    reads_per_s: float, events_per_s: float, target: float
) -> None:
    clock = Clock()
    lifetimes = adaptive(target, clock, own_read_s=0.0)
    found = mean_ttl_s(lifetimes, clock, reads_per_s=reads_per_s, events_per_s=events_per_s)
    expected = models.write_through_ttl(target, reads_per_s, events_per_s)
    assert found == pytest.approx(float(expected), rel=0.06)
    rate = models.read_modify_write(reads_per_s, events_per_s, found)
    assert float(rate) == pytest.approx(target, abs=0.02)


def test_the_loads_of_writes_are_not_counted_as_reads() -> None:
    clock = Clock()
    lifetimes = adaptive(0.632, clock)
    ttl_s = mean_ttl_s(lifetimes, clock, events_per_s=0.01)
    # w·T = 1 gives 1 - 1/e; counting the loads as reads would give 1/w · ln 1.86 = 62 s.
    assert ttl_s == pytest.approx(100, rel=0.06)


def test_a_read_long_before_a_write_is_nobody_s_own() -> None:
    clock = Clock()
    independent, own = adaptive(0.8, clock, own_read_s=1.0), adaptive(0.8, clock, own_read_s=100.0)
    for _ in range(10 * HALVE_AT):
        for lifetimes in (independent, own):
            lifetimes.note_read("t")
        clock.now += 50
        for lifetimes in (independent, own):
            lifetimes.note_write("t")
        clock.now += 50
    rates = (0.01, 0.01)
    assert independent.ttl_ms("t") == pytest.approx(
        1000 * float(models.write_through_ttl(0.8, *rates)), rel=0.02
    )
    assert own.ttl_ms("t") == pytest.approx(
        1000 * float(models.write_through_ttl(0.8, 0.0, 0.01)), rel=0.02
    )


# Adaptive: against a simulation of the cache in virtual time


@pytest.mark.parametrize("jitter", [0.0, 0.5])
@pytest.mark.parametrize(
    ("reads_per_s", "events_per_s"), [(1.0, 0.0), (0.0, 0.2), (0.5, 0.5), (0.9, 0.1), (0.02, 0.01)]
)
def test_a_simulated_cache_reaches_the_hit_rate(
    reads_per_s: float, events_per_s: float, jitter: float
) -> None:
    target, clock, chance = 0.8, Clock(), random.Random(3)
    lifetimes = adaptive(target, clock, jitter=jitter, random=chance.random)
    expires_at, hits, reads = 0.0, 0, 0
    for step in range(60_000):
        clock.now += chance.expovariate(reads_per_s + events_per_s)
        lifetimes.note_read("t")
        hit = clock.now <= expires_at
        if step > 2_000:
            reads, hits = reads + 1, hits + hit
        if not hit:
            expires_at = clock.now + lifetimes.ttl_ms("t") / 1000
        if chance.random() * (reads_per_s + events_per_s) < events_per_s:
            clock.now += 0.002
            lifetimes.note_write("t")
            expires_at = clock.now + lifetimes.ttl_ms("t") / 1000
    assert hits / reads == pytest.approx(target, abs=0.03)


def test_reads_and_writes_that_know_nothing_of_each_other_reach_it_too() -> None:
    target, clock, chance = 0.8, Clock(), random.Random(5)
    lifetimes = adaptive(target, clock)
    queue = [(clock.now, "read", 0.05), (clock.now, "write", 0.02)]
    expires_at, hits, reads = 0.0, 0, 0
    for _ in range(60_000):
        clock.now, kind, rate = heapq.heappop(queue)
        heapq.heappush(queue, (clock.now + chance.expovariate(rate), kind, rate))
        if kind == "read":
            lifetimes.note_read("t")
            reads, hits = reads + 1, hits + (clock.now <= expires_at)
        else:
            lifetimes.note_write("t")
        if kind == "write" or clock.now > expires_at:
            expires_at = clock.now + lifetimes.ttl_ms("t") / 1000
    assert hits / reads == pytest.approx(target, abs=0.03)


# Adaptive: evidence, limits, memory


def test_too_little_evidence_leaves_the_ttl() -> None:
    clock = Clock()
    lifetimes = adaptive(0.8, clock)
    assert lifetimes.ttl_ms("t") == 300_000
    for _ in range(ENOUGH):
        lifetimes.note_read("t")
        clock.now += 1
    assert lifetimes.ttl_ms("t") == 300_000
    lifetimes.note_read("t")
    assert lifetimes.ttl_ms("t") == pytest.approx(4_000, rel=0.001), "h / (r·(1 - h))"
    assert lifetimes.ttl_ms("other") == 300_000


def test_rates_are_exact_from_the_start() -> None:
    clock = Clock()
    lifetimes = adaptive(0.8, clock)
    for _ in range(ENOUGH + 1):  # with as many seconds between them as there are counted
        lifetimes.note_write("t")
        clock.now += 1
    clock.now -= 1
    assert lifetimes.ttl_ms("t") == pytest.approx(1000 * math.log(5), abs=1)


def test_the_ttl_stays_within_its_limits() -> None:
    clock = Clock()
    lifetimes = adaptive(0.8, clock, ttl_min_ms=2_000, ttl_max_ms=600_000, jitter=0.1)
    learn(lifetimes, clock, reads_per_s=1_000)
    assert 1_800 <= lifetimes.ttl_ms("t") <= 2_000
    learn(lifetimes, clock, reads_per_s=0.0001)
    assert 540_000 <= lifetimes.ttl_ms("t") <= 600_000


def test_a_burst_at_one_instant_gives_the_shortest_ttl() -> None:
    lifetimes = adaptive(0.8, Clock(), ttl_min_ms=2_000)
    for _ in range(1_000):
        lifetimes.note_read("t")
        lifetimes.note_write("t")
    for _ in range(1_000):
        lifetimes.note_read("t")
    assert lifetimes.ttl_ms("t") == 2_000


def test_new_rates_replace_old_ones() -> None:
    clock = Clock()
    lifetimes = adaptive(0.8, clock)
    learn(lifetimes, clock, reads_per_s=0.01)
    learn(lifetimes, clock, reads_per_s=10, count=15 * HALVE_AT)
    assert lifetimes.ttl_ms("t") == pytest.approx(400, rel=0.4), "it was 400,000"


def test_only_the_keys_used_last_are_known() -> None:
    clock = Clock()
    lifetimes = adaptive(0.8, clock, max_keys=2)
    for _ in range(2 * ENOUGH):
        clock.now += 1
        lifetimes.note_read("kept")
        lifetimes.note_read("forgotten")
    lifetimes.note_read("kept")
    lifetimes.note_read("new")
    assert lifetimes.ttl_ms("kept") < 300_000
    assert lifetimes.ttl_ms("forgotten") == 300_000


def test_memory_is_bounded() -> None:
    clock = Clock()
    lifetimes = adaptive(0.8, clock, max_keys=10_000)
    tracemalloc.start()
    try:
        for n in range(50_000):
            clock.now += 0.1
            lifetimes.note_read(f"trigger_{n}")
            lifetimes.note_write(f"trigger_{n}")
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()


def test_off_it_remembers_nothing() -> None:
    tracemalloc.start()
    try:
        lifetimes = Lifetimes(300_000, jitter=0.1)
        for n in range(10_000):
            lifetimes.note_read(f"trigger_{n}")
            lifetimes.note_write(f"trigger_{n}")
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_threads_may_use_it_at_once() -> None:
    lifetimes = Lifetimes(300_000, target_hit_rate=0.8, max_keys=10, ttl_min_ms=1)
    errors: list[BaseException] = []

    def use(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(5_000):
                name = str(chance.randrange(20))
                lifetimes.note_read(name)
                lifetimes.note_write(name)
                assert 1 <= lifetimes.ttl_ms(name) <= 86_400_000
                lifetimes.note_fetch(1.0)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# Early refresh


def test_early_refresh_is_off_by_default() -> None:
    assert not Lifetimes(300_000).refresh_early(0.0, 100.0)


def test_the_chance_of_an_early_refresh_is_xfetch_s() -> None:
    lifetimes = Lifetimes(300_000, early_refresh=2.0, random=random.Random(1).random)
    for time_left_ms in (0.5, 5.0, 20.0, 50.0):
        yes = sum(lifetimes.refresh_early(time_left_ms, 10.0) for _ in range(20_000))
        assert yes / 20_000 == pytest.approx(math.exp(-time_left_ms / (2.0 * 10.0)), abs=0.015)


def test_what_has_expired_is_refreshed_for_certain() -> None:
    lifetimes = Lifetimes(300_000, early_refresh=1.0)
    assert all(lifetimes.refresh_early(0.0, 10.0) for _ in range(1_000))
    assert lifetimes.refresh_early(0.0), "also before any fetch was timed"
    assert not lifetimes.refresh_early(1.0)


def test_the_fetch_time_is_a_mean_that_follows() -> None:
    lifetimes = Lifetimes(300_000, early_refresh=1.0, random=lambda: 1 - 1 / math.e)
    lifetimes.note_fetch(8.0)
    assert lifetimes.refresh_early(7.999)
    assert not lifetimes.refresh_early(8.001), "exactly one fetch before the end, for this chance"
    for _ in range(200):
        lifetimes.note_fetch(2.0)
    assert lifetimes.refresh_early(1.999)
    assert not lifetimes.refresh_early(2.001)
