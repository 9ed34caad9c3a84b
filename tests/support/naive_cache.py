"""The semantics of statecache.study.replay once more, with dicts, operation by operation."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from statecache.study.traces import DELETE, READ, WRITE, Trace


class Operation(NamedTuple):
    time_s: float
    key: int
    op: int
    armed_s: float | None = None
    size: int = 0
    bypasses: bool = False  # a write that reaches only the database


class NaiveCache:
    """A cache with one TTL; what it holds is a dict per property of an entry."""

    def __init__(self, ttl, expiry, writes, horizon):
        self.ttl, self.expiry, self.writes, self.horizon = ttl, expiry, writes, horizon
        self.armed = {}  # key -> instant
        self.size = {}
        self.held = {}  # key -> version of the state in the cache
        self.version = {}  # key -> version in the database, 0 in the beginning
        self.ever_cached = set()
        self.removed = set()  # since armed last
        self.gone = set()  # from the database
        self.hits = self.first = self.expired = self.deleted = self.stale = 0
        self.age_s = 0.0
        self.lives = []  # (begin, end, size, whether it is still live at its end)

    def look(self, key, now, size):
        if key in self.armed and now - self.armed[key] <= self.ttl:
            self.hits += 1
            self.age_s += now - self.armed[key]
            self.stale += self.held[key] != self.version.get(key, 0)
            if self.expiry == "sliding":
                self.arm(key, now, size, self.held[key])
            return True
        if key in self.removed:
            self.deleted += 1
        elif key in self.ever_cached:
            self.expired += 1
        else:
            self.first += 1
        return False

    def fill(self, key, now, size):
        if key not in self.gone:
            self.arm(key, now, size, self.version.get(key, 0))

    def write(self, key, now, size, bypasses):
        self.gone.discard(key)
        self.version[key] = self.version.get(key, 0) + 1
        if bypasses or self.writes == "ignore":
            return
        if self.writes == "through":
            self.arm(key, now, size, self.version[key])
        else:
            self.remove(key, now)

    def delete(self, key, now):
        self.remove(key, now)
        self.removed.add(key)
        self.gone.add(key)

    def arm(self, key, now, size, version):
        self.end(key, now)
        self.armed[key], self.size[key], self.held[key] = now, size, version
        self.ever_cached.add(key)
        self.removed.discard(key)

    def remove(self, key, now):
        self.end(key, now)
        if key in self.ever_cached:
            self.removed.add(key)

    def end(self, key, now):
        if key in self.armed:
            since = self.armed.pop(key)
            life = min(self.ttl, min(now, self.horizon) - since)
            if life >= 0:
                outlived = now > self.horizon or life < now - since
                self.lives.append((since, since + life, self.size[key], outlived))

    def close(self):
        for key in list(self.armed):
            self.end(key, np.inf)


def happenings_of(operations):
    """Return (instant, place of the operation, whether it is its effect), in their order."""
    found = []
    for place, operation in enumerate(operations):
        if operation.op == READ:
            found.append((operation.time_s, place, False))
        armed_s = operation.time_s if operation.armed_s is None else operation.armed_s
        found.append((armed_s, place, True))
    return sorted(found)


def replayed(operations, ttl, expiry, writes):
    """Return the cache after all operations, which are sorted by time."""
    cache = NaiveCache(ttl, expiry, writes, operations[-1].time_s if operations else 0.0)
    missed = set()
    for now, place, is_effect in happenings_of(operations):
        _, key, op, _, size, bypasses = operations[place]
        if op == READ and not is_effect:
            if not cache.look(key, now, size):
                missed.add(place)
        elif op == READ:
            if place in missed:
                cache.fill(key, now, size)
        elif op == WRITE:
            cache.write(key, now, size, bypasses)
        else:
            cache.delete(key, now)
    cache.close()
    return cache


def naive_curve(operations, ttls, expiry, writes):
    return pd.DataFrame(naive_row(operations, ttl, expiry, writes) for ttl in ttls)


def naive_row(operations, ttl, expiry, writes):
    cache = replayed(operations, ttl, expiry, writes)
    duration = operations[-1].time_s - operations[0].time_s if operations else 0.0
    reads, written, deletes = (
        sum(o.op == code for o in operations) for code in (READ, WRITE, DELETE)
    )
    misses = cache.first + cache.expired + cache.deleted
    assert cache.hits + misses == reads
    live_s = sum(end - begin for begin, end, _, _ in cache.lives)
    live_byte_s = sum(size * (end - begin) for begin, end, size, _ in cache.lives)
    return {
        "ttl_s": ttl,
        "reads": reads,
        "writes": written,
        "deletes": deletes,
        "hits": cache.hits,
        "hit_rate": cache.hits / reads if reads else np.nan,
        "misses_first": cache.first,
        "misses_expired": cache.expired,
        "misses_deleted": cache.deleted,
        "db_statements": misses + written + deletes,
        "mean_live_keys": live_s / duration if duration else np.nan,
        "mean_live_bytes": live_byte_s / duration if duration else np.nan,
        "mean_age_at_hit_s": cache.age_s / cache.hits if cache.hits else np.nan,
        "stale_hits": cache.stale,
        "stale_share": cache.stale / cache.hits if cache.hits else np.nan,
    }


def naive_occupancy(operations, ttl, expiry, writes, edges):
    """Return the frame of live_over_time, life by life and bin by bin."""
    lives = replayed(operations, ttl, expiry, writes).lives
    rows = []
    for low, high in pairwise(edges):
        inside = [(max(0.0, min(e, high) - max(b, low)), s) for b, e, s, _ in lives]
        instants = {low, *(b for b, _, _, _ in lives if low <= b < high or b == high == edges[-1])}
        present = [
            [s for b, e, s, outlived in lives if b <= now and (now < e or (outlived and now == e))]
            for now in instants
        ]
        rows.append(
            {
                "time_s": low,
                "live_keys": sum(time for time, _ in inside) / (high - low),
                "live_bytes": sum(time * size for time, size in inside) / (high - low),
                "peak_keys": max(len(sizes) for sizes in present),
                "peak_bytes": float(max(sum(sizes) for sizes in present)),
            }
        )
    return pd.DataFrame(rows)


def trace_of(operations, *, armed=True):
    """Return the trace of operations; without ``armed`` each takes effect at once."""
    columns = zip(*operations, strict=True) if operations else ((), (), (), (), (), ())
    time_s, key, op, armed_s, size, _ = columns
    return Trace(
        time_s=np.array(time_s, dtype=float),
        key=np.array(key, dtype=np.int64),
        op=np.array(op, dtype=np.uint8),
        size=np.array(size, dtype=np.int64),
        armed_s=np.array(armed_s, dtype=float) if armed and None not in armed_s else None,
    )
