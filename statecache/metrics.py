"""The counters of managers as Prometheus metrics, read when they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Protocol

from statecache.durations import BOUNDS_S, Spread
from statecache.errors import ConfigError
from statecache.stats import CacheStats

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["StateCacheCollector"]

#: What the fields of CacheStats count; one that is missing here is exported under its name alone.
_HELP: Final = {
    "enabled": "Whether the cache is used.",
    "ttl_secs": "Time to live of a cached state.",
    "hits": "Loads that the cache or the process's own memory answered.",
    "memory_hits": "Loads that the process's own memory answered.",
    "misses_by_reason": "Loads that the cache could not answer.",
    "errors_by_reason": "Failed calls of the cache.",
    "fills": "Entries put after a miss.",
    "fills_dropped": "Fills that came too late or found something newer.",
    "puts": "Entries put after a committed write or delete.",
    "puts_superseded": "Puts that found something newer.",
    "puts_late": "Puts that came too late.",
    "coalesced": "Loads that shared another caller's database read.",
    "writes_absorbed": "Writes that a later one of the same key in the same batch outdid.",
    "unrepaired": "Keys that the cache failed to take and that are not repaired yet.",
    "breaker_open": "Whether the breaker keeps callers away from the cache.",
    "db_reads": "Statements sent to PostgreSQL that read states.",
    "db_writes": "Statements sent to PostgreSQL that wrote states.",
    "db_read_seconds": "How long reading states from PostgreSQL took.",
    "db_write_seconds": "How long writing states to PostgreSQL took.",
}

#: Reasons that have a sample from the start: a rate cannot see the first one of a series.
_REASONS: Final = (
    "absent",
    "bypassed",
    "corrupt",
    "early",
    "error",
    "fenced",
    "tombstone",
    "unrepaired",
)

#: Whole numbers that also fall.
_LEVELS: Final = {"unrepaired": "unrepaired_keys"}

#: Sums of what is exported by reason.
_SUMS: Final = ("misses", "errors")


class _HasStats(Protocol):
    def get_cache_stats(self) -> CacheStats: ...


class StateCacheCollector:
    """A collector for ``prometheus_client``: ``REGISTRY.register(StateCacheCollector(manager))``.

    ``labels`` are added to every sample. Where a process has several managers, register one
    collector and ``add`` the others to it: the same labels with other values. Raises
    ``ConfigError`` where prometheus-client is missing.
    """

    def __init__(self, manager: _HasStats, labels: Mapping[str, str] | None = None) -> None:
        try:
            import prometheus_client  # noqa: F401, PLC0415 - only who exports needs it
        except ImportError:
            raise ConfigError(
                "metrics need prometheus-client: install statecache[metrics]."
            ) from None
        self._names = tuple(labels or {})
        self._managers: dict[tuple[str, ...], _HasStats] = {}
        self.add(manager, labels)

    def add(self, manager: _HasStats, labels: Mapping[str, str] | None = None) -> None:
        """Collect from another manager, too."""
        labels = labels or {}
        values = tuple(labels.get(name, "") for name in self._names)
        if labels.keys() != set(self._names) or values in self._managers:
            raise ConfigError(
                f"the labels of another manager are {dict(labels)}: take the first one's names "
                f"({', '.join(self._names) or 'none'}) with values that no other has."
            )
        self._managers[values] = manager

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; the registry calls this at every scrape."""
        pictures = {values: m.get_cache_stats() for values, m in self._managers.items()}
        for field in dataclasses.fields(CacheStats):
            if field.name not in _SUMS:
                held = {values: getattr(stats, field.name) for values, stats in pictures.items()}
                yield _metric(field.name, str(field.type), self._names, held)


def _metric(
    field: str, kind: str, labels: Sequence[str], held: Mapping[tuple[str, ...], Any]
) -> Metric:
    """Return a field's metric; what it is follows from the field's type."""
    from prometheus_client import core  # noqa: PLC0415

    name = field if field.startswith("db_") else f"cache_{_LEVELS.get(field, field)}"
    name = f"state_{name}".removesuffix("_by_reason").replace("_secs", "_seconds")
    text = _HELP.get(field, f"See CacheStats.{field}.")
    if kind == "Spread":
        return _histogram(name.replace("_seconds", "_duration_seconds"), text, labels, held)
    if kind.startswith("dict"):
        return _by_reason(name, text, labels, held)
    counts = kind == "int" and field not in _LEVELS
    family = core.CounterMetricFamily if counts else core.GaugeMetricFamily
    metric = family(name, text, labels=labels)
    for values, value in held.items():
        metric.add_metric(values, value)
    return metric


def _by_reason(
    name: str, text: str, labels: Sequence[str], held: Mapping[tuple[str, ...], dict[str, int]]
) -> Metric:
    from prometheus_client import core  # noqa: PLC0415

    of_misses = name == "state_cache_misses"
    own = ("reason",) if of_misses else ("operation", "reason")
    metric = core.CounterMetricFamily(name, text, labels=[*labels, *own])
    for values, counts in held.items():
        for reason, count in (dict.fromkeys(_REASONS if of_misses else (), 0) | counts).items():
            metric.add_metric([*values, *reason.split(":", len(own) - 1)], count)
    return metric


def _histogram(
    name: str, text: str, labels: Sequence[str], held: Mapping[tuple[str, ...], Spread]
) -> Metric:
    from prometheus_client import core  # noqa: PLC0415

    metric = core.HistogramMetricFamily(name, text, labels=labels)
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for values, spread in held.items():
        buckets = list(zip(bounds, accumulate(spread.buckets), strict=True))
        metric.add_metric(values, buckets, spread.sum)
    return metric
