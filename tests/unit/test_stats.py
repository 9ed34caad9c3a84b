from __future__ import annotations

import threading

from statecache.stats import CacheStats, Tally


def test_hit_rate_of_nothing_is_zero() -> None:
    assert CacheStats(enabled=True, ttl_secs=1).hit_rate == 0.0


def test_reasons_add_up() -> None:
    tally = Tally()
    tally.add("hit", 3)
    tally.add("miss:absent")
    tally.add("miss:tombstone", 2)
    tally.add("error:get:TimeoutError", 4)
    stats = tally.snapshot(enabled=True, ttl_secs=300)
    assert (stats.hits, stats.misses, stats.errors) == (3, 3, 4)
    assert stats.misses_by_reason == {"absent": 1, "tombstone": 2}
    assert stats.errors_by_reason == {"get:TimeoutError": 4}
    assert stats.hit_rate == 0.5


def test_no_count_is_lost_between_threads() -> None:
    tally = Tally()
    threads = [
        threading.Thread(target=lambda: [tally.add("hit") for _ in range(5_000)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.snapshot(enabled=True, ttl_secs=1).hits == 40_000
