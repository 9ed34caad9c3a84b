"""How long an entry lives, and when to refresh it before it expires; no I/O.

Adaptive lifetimes take the hit rate that is wanted and solve the model of a write-through cache
under read-modify-write for the TTL (the study's ``models.read_modify_write``): of a key with d
reads a second, beside those that belong to its w writes, G = (d + w)(e^(wT) - 1)/w of the reads hit
for one that misses.
"""

from __future__ import annotations

import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable

from statecache.forking import new_lock

__all__ = ["Lifetimes"]

#: A load within this time before a write of the same key is taken for the write's own.
OWN_READ_S = 1.0
#: Fewer reads and writes than this say too little about a key's rates.
ENOUGH = 16
#: At so many, the counts and the time that they cover are halved: the older, the less it weighs.
HALVE_AT = 128


class Lifetimes:
    """Decides lifetimes from a TTL in ms and from what was read and written; from any thread.

    ``jitter`` is the share of the TTL that may be taken off at random, ``early_refresh`` XFetch's
    beta, ``target_hit_rate`` (below 1) what adaptive TTLs aim at, between ``ttl_min_ms`` and
    ``ttl_max_ms`` before jitter; 0 turns each off. Keys with little use keep ``ttl_ms``. The rates
    of the ``max_keys`` keys used last are kept, about 300 bytes each. They are those of this
    process: where others share the load, the true rates are higher, and so is the hit rate.
    """

    def __init__(
        self,
        ttl_ms: float,
        *,
        jitter: float = 0.0,
        early_refresh: float = 0.0,
        target_hit_rate: float = 0.0,
        ttl_min_ms: float = 1_000,
        ttl_max_ms: float = 86_400_000,
        own_read_s: float = OWN_READ_S,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._ttl_ms = ttl_ms
        self._jitter = jitter
        self._beta = early_refresh
        self._odds = target_hit_rate / (1 - target_hit_rate)  # hits for one miss
        self._min_ms, self._max_ms = ttl_min_ms, ttl_max_ms
        self._own_read_s = own_read_s
        self._max_keys = max_keys
        self._clock = clock
        self._random = random
        self._lock = new_lock()
        self._keys: OrderedDict[str, _Use] = OrderedDict()
        self._fetch_ms = 0.0

    def ttl_ms(self, trigger_id: str) -> int:
        """Return how long an entry that is put now is to live, in ms, at least 1."""
        ttl_ms = self._adapted(trigger_id) if self._odds else self._ttl_ms
        if self._jitter:
            ttl_ms *= 1 - self._jitter * self._random()
        return int(ttl_ms) or 1

    def note_read(self, *trigger_ids: str) -> None:
        """Hear of loads, whether they hit or missed."""
        if not self._odds:
            return
        with self._lock:
            for trigger_id in trigger_ids:
                use, now = self._use(trigger_id)
                use.reads += use.undecided
                use.undecided, use.read_at = 1, now

    def note_write(self, *trigger_ids: str) -> None:
        """Hear of updates and deletes."""
        if not self._odds:
            return
        with self._lock:
            for trigger_id in trigger_ids:
                use, now = self._use(trigger_id)
                if now - use.read_at > self._own_read_s:
                    use.reads += use.undecided
                use.undecided = 0
                # What begins the time over which is counted does not count itself.
                use.writes += now > use.since

    def note_fetch(self, ms: float) -> None:
        """Hear how long a read from PostgreSQL and its fill took."""
        # A lost update between threads loses one of many observations, and no more.
        self._fetch_ms += (ms - self._fetch_ms) / 16 if self._fetch_ms else ms

    def refresh_early(self, time_left_ms: float, fetch_ms: float | None = None) -> bool:
        """Return whether the reader that met an entry is to refresh it before it expires.

        True by a chance of e^(-time left / (beta * fetch)), so that of many readers one comes
        first (XFetch: Vattani, Chierichetti, Lowenstein, VLDB 2015). ``fetch_ms`` is by default
        the mean of what ``note_fetch`` heard.
        """
        if not self._beta:
            return False
        if fetch_ms is None:
            fetch_ms = self._fetch_ms
        return -self._beta * fetch_ms * math.log(1 - self._random()) >= time_left_ms

    def _use(self, trigger_id: str) -> tuple[_Use, float]:
        """Return the record of a key, which becomes the one used last, and the time; locked."""
        now = self._clock()
        use = self._keys.get(trigger_id)
        if use is None:
            use = self._keys[trigger_id] = _Use(now)
            if len(self._keys) > self._max_keys:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(trigger_id)
            if use.reads + use.writes >= HALVE_AT:
                use.halve(now)
        return use, now

    def _adapted(self, trigger_id: str) -> float:
        with self._lock:
            use = self._keys.get(trigger_id)
            if use is None or use.reads + use.writes < ENOUGH:
                return self._ttl_ms
            reads, writes, elapsed_s = use.reads, use.writes, self._clock() - use.since
        # T = ln(1 + w·odds/(d + w)) / w, which is odds/d where there are no writes.
        grown = writes / (reads + writes) * self._odds
        shrunk = math.log1p(grown) / grown if grown else 1.0
        ttl_ms = 1000 * elapsed_s * self._odds / (reads + writes) * shrunk
        # On average, jitter takes away half of its share.
        return min(max(ttl_ms / (1 - self._jitter / 2), self._min_ms), self._max_ms)


class _Use:
    """What is known of a key: reads but for writes' own, writes, and over which time."""

    __slots__ = ("read_at", "reads", "since", "undecided", "writes")

    def __init__(self, now: float) -> None:
        self.reads = 0.0
        self.writes = 0.0
        self.since = now
        #: 1 while the latest read, at ``read_at``, may turn out to be the next write's own.
        self.undecided = 0
        self.read_at = now

    def halve(self, now: float) -> None:
        self.reads /= 2
        self.writes /= 2
        self.since = (self.since + now) / 2
