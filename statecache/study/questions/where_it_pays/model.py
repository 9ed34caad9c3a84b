"""Mean latency with and without a cache, from what each part costs and how far the servers are.

Without a cache a load is one round trip to PostgreSQL and so is an update. With one a hit is one
round trip to Redis; a miss looks up, reads and fills; an update commits and then puts. Calls are
made one after the other, and nothing waits in a queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CACHE_TRIPS_OF_A_MISS", "Costs"]

#: Exchanges with the cache on a miss, one after the other: the lookup and the fill.
CACHE_TRIPS_OF_A_MISS: Final = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Costs:
    """Mean latencies on loopback, in ms: without a cache (read, write) and with one.

    Shares are between 0 and 1: of the operations that read, and of the reads that hit. Distances
    are round trips in ms that are added to those of loopback. Arguments may be arrays.
    """

    read: float
    write: float
    hit: float
    miss: float
    write_through: float

    def without(self, read_share: ArrayLike, database_ms: ArrayLike = 0.0) -> Floats:
        """Return the mean latency of an operation without a cache."""
        reads = np.asarray(read_share, dtype=np.float64)
        mean: Floats = reads * self.read + (1 - reads) * self.write + np.asarray(database_ms)
        return mean

    def with_cache(
        self,
        read_share: ArrayLike,
        hit_rate: ArrayLike,
        database_ms: ArrayLike = 0.0,
        cache_ms: ArrayLike = 0.0,
    ) -> Floats:
        """Return the mean latency of an operation with a cache and write-through."""
        reads = np.asarray(read_share, dtype=np.float64)
        hits = np.asarray(hit_rate, dtype=np.float64)
        database, cache = np.asarray(database_ms), np.asarray(cache_ms)
        miss = self.miss + CACHE_TRIPS_OF_A_MISS * cache + database
        load = hits * (self.hit + cache) + (1 - hits) * miss
        mean: Floats = reads * load + (1 - reads) * (self.write_through + cache + database)
        return mean

    def frontier(
        self, read_share: ArrayLike, hit_rate: ArrayLike, cache_ms: ArrayLike = 0.0
    ) -> Floats:
        """Return the distance to PostgreSQL from which on the cache pays, in ms beyond loopback.

        Where with and without are equal: d = (ρ(h·H + (1 − h)·M − R) + (1 − ρ)(W′ − W)) / (ρ·h),
        with the cache's distance in H, M and W′. Negative where it pays on loopback already;
        infinite where nothing is read or nothing hits.
        """
        reads = np.asarray(read_share, dtype=np.float64)
        hits = np.asarray(hit_rate, dtype=np.float64)
        lost = self.with_cache(reads, hits, 0.0, cache_ms) - self.without(reads)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(reads * hits > 0, lost / (reads * hits), np.inf)[()]

    def read_time(self, added_ms: ArrayLike) -> Floats:
        """Return what a read of PostgreSQL takes at a distance."""
        return self.read + np.asarray(added_ms, dtype=np.float64)
