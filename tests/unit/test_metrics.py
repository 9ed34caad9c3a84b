from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from statecache import CacheStats, ConfigError
from statecache.durations import BOUNDS_S, Durations
from statecache.metrics import StateCacheCollector
from statecache.stats import Tally


class Manager:
    """What the collector sees of a manager."""

    def __init__(self, **counts: int) -> None:
        self.tally = Tally()
        self.reads = Durations()
        for name, count in counts.items():
            self.tally.add(name.replace("__", ":"), count)

    def get_cache_stats(self) -> CacheStats:
        stats = self.tally.snapshot(enabled=True, ttl_secs=300)
        return dataclasses.replace(stats, db_read_seconds=self.reads.snapshot())


def registry_of(collector: Any) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(collector)
    return registry


def test_counters_have_the_documented_names_and_labels() -> None:
    manager = Manager(hit=3, miss__absent=2, fill__STORED=1, put__STORED=4, coalesced=5)
    manager.tally.add("error:get:TimeoutError", 7)
    for _ in range(6):
        manager.tally.reads.note(0.001)
    registry = registry_of(StateCacheCollector(manager))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("state_cache_hits_total") == 3
    assert value("state_cache_misses_total", reason="absent") == 2
    assert value("state_cache_errors_total", operation="get", reason="TimeoutError") == 7
    assert value("state_cache_fills_total") == 1
    assert value("state_cache_puts_total") == 4
    assert value("state_cache_coalesced_total") == 5
    assert value("state_db_reads_total") == 6
    assert value("state_cache_enabled") == 1
    assert value("state_cache_ttl_seconds") == 300
    assert value("state_cache_unrepaired_keys") == 0
    assert value("state_cache_breaker_open") == 0


def test_a_scrape_shows_what_is_counted_by_then() -> None:
    manager = Manager()
    registry = registry_of(StateCacheCollector(manager))
    assert registry.get_sample_value("state_cache_hits_total") == 0
    manager.tally.add("hit", 2)
    assert registry.get_sample_value("state_cache_hits_total") == 2


def test_every_reason_has_a_sample_before_it_first_happens() -> None:
    registry = registry_of(StateCacheCollector(Manager(miss__new_one=1)))
    for reason in ("absent", "bypassed", "early", "error", "tombstone", "unrepaired"):
        assert registry.get_sample_value("state_cache_misses_total", {"reason": reason}) == 0
    assert registry.get_sample_value("state_cache_misses_total", {"reason": "new_one"}) == 1


def test_durations_become_a_cumulative_histogram() -> None:
    manager = Manager()
    for seconds in (0.0001, 0.0007, 0.0008, 9.0):
        manager.reads.note(seconds)
    registry = registry_of(StateCacheCollector(manager))
    name = "state_db_read_duration_seconds"
    buckets = [
        registry.get_sample_value(f"{name}_bucket", {"le": le})
        for le in (*map(str, BOUNDS_S), "+Inf")
    ]
    assert buckets == [1, 1, 1, *[3] * 12, 4]
    assert registry.get_sample_value(f"{name}_count") == 4
    assert registry.get_sample_value(f"{name}_sum") == pytest.approx(9.0016)
    assert registry.get_sample_value("state_db_write_duration_seconds_count") == 0


def test_every_field_of_the_stats_is_exported() -> None:
    names = {metric.name for metric in StateCacheCollector(Manager()).collect()}
    assert len(names) == len(dataclasses.fields(CacheStats)) - len({"misses", "errors"})
    assert all(name.startswith(("state_cache_", "state_db_")) for name in names)


def test_what_also_falls_is_a_gauge() -> None:
    kinds = {metric.name: metric.type for metric in StateCacheCollector(Manager()).collect()}
    gauges = {name for name, kind in kinds.items() if kind == "gauge"}
    assert gauges == {
        "state_cache_enabled",
        "state_cache_ttl_seconds",
        "state_cache_breaker_open",
        "state_cache_unrepaired_keys",
    }


def test_several_managers_are_told_apart_by_labels() -> None:
    collector = StateCacheCollector(Manager(hit=1), {"table": "a"})
    collector.add(Manager(hit=2, miss__absent=5), {"table": "b"})
    registry = registry_of(collector)
    assert registry.get_sample_value("state_cache_hits_total", {"table": "a"}) == 1
    assert registry.get_sample_value("state_cache_hits_total", {"table": "b"}) == 2
    labels = {"table": "b", "reason": "absent"}
    assert registry.get_sample_value("state_cache_misses_total", labels) == 5
    text = generate_latest(registry).decode()
    assert text.count("# TYPE state_cache_hits_total counter") == 1


@pytest.mark.parametrize("labels", [None, {"table": "a"}, {"other": "b"}, {"table": "b", "x": ""}])
def test_labels_that_do_not_tell_managers_apart_are_refused(labels: Any) -> None:
    collector = StateCacheCollector(Manager(), {"table": "a"})
    with pytest.raises(ConfigError, match=r"take the first one's names \(table\)"):
        collector.add(Manager(), labels)


def test_the_output_is_valid_openmetrics() -> None:
    manager = Manager(hit=1)
    manager.tally.add('error:put:odd: "reason"\n', 1)
    manager.reads.note(0.01)
    registry = registry_of(StateCacheCollector(manager, {"table": "a"}))
    text = generate_openmetrics(registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["state_db_read_duration_seconds"].type == "histogram"
    assert families["state_cache_errors"].samples[0].labels["reason"] == 'odd: "reason"\n'


def test_scrapes_may_come_from_another_thread() -> None:
    manager = Manager()
    registry = registry_of(StateCacheCollector(manager))
    scraping = threading.Event()

    def count() -> None:
        scraping.wait()
        for _ in range(5_000):
            manager.tally.add("hit")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    scraping.set()
    seen = [registry.get_sample_value("state_cache_hits_total") or 0 for _ in range(50)]
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)
    assert registry.get_sample_value("state_cache_hits_total") == 20_000


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "StateCacheCollector(None)",
            "metrics need prometheus-client: install statecache[metrics].\n",
        ),
        ("raise ConfigError('imported')", "imported\n"),
    ],
)
def test_prometheus_is_needed_to_export_only(statement: str, expected: str) -> None:
    script = f"""
import sys
sys.modules["prometheus_client"] = None
from statecache import ConfigError
from statecache.metrics import StateCacheCollector
try:
    {statement}
except ConfigError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    assert done.stdout == expected
