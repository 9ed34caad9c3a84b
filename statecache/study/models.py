"""Closed forms for one key: hit rate, its inverse, and staleness.

They explain a curve and are no substitute for :func:`statecache.study.replay.hit_curve`: real
arrivals come in bursts, and a web log that hits 14 % at a TTL of a minute hits 6 % by the form.

All of them assume, beside what each says: Poisson arrivals, independent of each other, at constant
rates; fills that take no time; no eviction; a state that always exists; jitter, early refresh and
single flight off. The hit rate is that of a trace without an end: a finite one adds a first miss
per key. They are per key; over several keys, weight hit rates by reads and stale shares by hits.

Rates are per second, TTLs are seconds (0 to infinity), shares are between 0 and 1. Every argument
may be a number or an array, arrays are broadcast, and the result is float64 of the common shape, a
float for numbers. A rate, TTL or share out of range raises StudyError. A hit rate where nothing is
ever read is the limit for ever rarer reads.

The forms lean on g(w, T) = (1 − e^(−wT)) / w, the mean time to the first of T and an event of rate
w. It is T for w = 0, and stays finite where e^(wT) does not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statecache.study.errors import StudyError

__all__ = [
    "aggregate_read_modify_write",
    "cache_aside",
    "cache_aside_ttl",
    "delete_on_write",
    "delete_on_write_ttl",
    "read_modify_write",
    "sliding",
    "sliding_delete_on_write",
    "sliding_ttl",
    "sliding_write_through",
    "stale_share",
    "stale_share_ttl",
    "write_through",
    "write_through_ttl",
]

Floats = NDArray[np.float64]

_BISECTIONS: Final = 64


def cache_aside(reads_per_s: ArrayLike, ttl_s: ArrayLike) -> Floats:
    """Return the hit rate where only a read's miss arms the TTL: rT / (1 + rT).

    Source: Jung, Berger, Balakrishnan, INFOCOM 2003. No writes, or writes that bypass the cache.
    """
    reads, ttl = _rates("reads_per_s", reads_per_s), _ttls(ttl_s)
    return _share(_product(reads, ttl), 1.0)


def sliding(reads_per_s: ArrayLike, ttl_s: ArrayLike) -> Floats:
    """Return the hit rate where every read arms the TTL: 1 − e^(−rT).

    Source: Fofack, Nain, Neglia, Towsley, Computer Networks 65 (2014). For other arrivals than
    Poisson it is F(T), the distribution of the time between two reads. No writes.
    """
    reads, ttl = _rates("reads_per_s", reads_per_s), _ttls(ttl_s)
    return _plain(-np.expm1(-_product(reads, ttl)))


def cache_aside_ttl(hit_rate: ArrayLike, reads_per_s: ArrayLike) -> Floats:
    """Return the TTL in seconds that gives a hit rate: h / (r(1 − h)), as :func:`cache_aside`."""
    return write_through_ttl(hit_rate, reads_per_s, 0.0)


def sliding_ttl(hit_rate: ArrayLike, reads_per_s: ArrayLike) -> Floats:
    """Return the TTL in seconds that gives a hit rate: −ln(1 − h) / r, as :func:`sliding`.

    Infinite for h = 1, and for h > 0 where nothing is read.
    """
    share, reads = _shares("hit_rate", hit_rate), _rates("reads_per_s", reads_per_s)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _plain(np.where(share == 0, 0.0, -np.log1p(-share) / reads))


def sliding_write_through(
    reads_per_s: ArrayLike, writes_per_s: ArrayLike, ttl_s: ArrayLike
) -> Floats:
    """Return the hit rate where every read and every write arm the TTL: 1 − e^(−(r + w)T).

    Derived here: a read hits if the latest operation before it, of either kind, was within T.
    """
    reads, writes = _rates("reads_per_s", reads_per_s), _rates("writes_per_s", writes_per_s)
    return _plain(-np.expm1(-_product(reads + writes, _ttls(ttl_s))))


def sliding_delete_on_write(
    reads_per_s: ArrayLike, writes_per_s: ArrayLike, ttl_s: ArrayLike
) -> Floats:
    """Return the hit rate where every read arms the TTL and a write deletes: r·g(r + w, T).

    Derived here: a read hits if the latest operation before it was within T, and a read, which it
    was with probability r/(r + w). The writes are independent of the reads.
    """
    reads, writes = _rates("reads_per_s", reads_per_s), _rates("writes_per_s", writes_per_s)
    return _plain(np.minimum(_product(reads, _mean_time(reads + writes, _ttls(ttl_s))), 1.0))


def write_through(reads_per_s: ArrayLike, writes_per_s: ArrayLike, ttl_s: ArrayLike) -> Floats:
    """Return the hit rate where a read's miss and every write arm the TTL.

    h = G / (1 + G) with G = (r + w)(e^(wT) − 1) / w. Derived here: the entry is dead until the next
    read or write, 1/(r + w) on average, and then live until T passes without a write,
    (e^(wT) − 1)/w; Poisson reads see the live share of the time. As w → 0 it is
    :func:`cache_aside`.

    The writes are independent of the reads: for an engine that loads and then updates on every
    event use :func:`read_modify_write`. Where a share p of the writes never reaches the cache, give
    w(1 − p) here and see :func:`stale_share`.
    """
    reads, writes = _rates("reads_per_s", reads_per_s), _rates("writes_per_s", writes_per_s)
    ttl = _ttls(ttl_s)
    # G / (1 + G), both parts times e^(−wT), so that nothing overflows
    live = _product(reads + writes, _mean_time(writes, ttl))
    return _share(live, np.exp(-_product(writes, ttl)))


def write_through_ttl(
    hit_rate: ArrayLike, reads_per_s: ArrayLike, writes_per_s: ArrayLike
) -> Floats:
    """Return the TTL in seconds that gives a hit rate: the inverse of :func:`write_through`.

    T = (1/w)·ln(1 + w·h / ((r + w)(1 − h))); as w → 0, T = h / (r(1 − h)). Infinite for h = 1, and
    for h > 0 where there are neither reads nor writes. It holds per key and under the conditions of
    :func:`write_through`, and doesn't aggregate: no mean of these TTLs gives the mean hit rate.
    """
    share = _shares("hit_rate", hit_rate)
    reads, writes = _rates("reads_per_s", reads_per_s), _rates("writes_per_s", writes_per_s)
    arms = reads + writes
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        odds = share / (1 - share)
        grown = writes / arms * odds
        ttl = odds / arms * np.where(grown > 0, np.log1p(grown) / grown, 1.0)
    return _plain(np.select([share == 0, (share == 1) | (arms == 0)], [0.0, np.inf], ttl))


def delete_on_write(reads_per_s: ArrayLike, writes_per_s: ArrayLike, ttl_s: ArrayLike) -> Floats:
    """Return the hit rate where a read's miss arms the TTL and a write deletes the entry.

    h = rg / (1 + rg) with g = g(w, T). Derived here: a fill lives until T or the next write, and
    the r·g reads of that time hit for one that missed. The writes are independent of the reads; the
    state stays in the database.
    """
    reads, writes = _rates("reads_per_s", reads_per_s), _rates("writes_per_s", writes_per_s)
    return _share(_product(reads, _mean_time(writes, _ttls(ttl_s))), 1.0)


def delete_on_write_ttl(
    hit_rate: ArrayLike, reads_per_s: ArrayLike, writes_per_s: ArrayLike
) -> Floats:
    """Return the TTL in seconds that gives a hit rate: the inverse of :func:`delete_on_write`.

    T = −ln(1 − w·h / (r(1 − h))) / w; as w → 0, T = h / (r(1 − h)). Per key, like the form itself.
    NaN where no TTL gives that hit rate: writes keep it below r/(r + w).
    """
    share = _shares("hit_rate", hit_rate)
    reads, writes = _rates("reads_per_s", reads_per_s), _rates("writes_per_s", writes_per_s)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        live = share / (1 - share) / reads
        ended = writes * live
        ttl = live * np.where(ended > 0, -np.log1p(-np.minimum(ended, 1.0)) / ended, 1.0)
    beyond = (ended > 1) | ((share == 1) & (writes > 0))
    return _plain(np.select([share == 0, beyond], [0.0, np.nan], ttl))


def read_modify_write(reads_per_s: ArrayLike, events_per_s: ArrayLike, ttl_s: ArrayLike) -> Floats:
    """Return the hit rate where each event loads the state and updates it at once.

    ``reads_per_s`` (d) are the *other* reads, without the loads of the events; ``events_per_s`` is
    w. h = G / (1 + G) with G = (d + w)(e^(wT) − 1) / w, for those reads and the engine's own loads
    alike; with d = 0 it is 1 − e^(−wT). Derived like :func:`write_through`: of an event, only the
    update arms, and both kinds of reads see the live share of the time.

    The same expression as :func:`write_through`, with the same inverse, of other rates: an event's
    load cannot shorten the dead time beyond what its update does, and counting it among the reads
    there gives .775 at wT = 1, d = 0, where .632 is true.
    """
    return write_through(reads_per_s, events_per_s, ttl_s)


def aggregate_read_modify_write(
    reads_per_s: ArrayLike, events_per_s: ArrayLike, ttl_s: ArrayLike
) -> Floats:
    """Return the hit rate over all reads of many keys, per TTL: :func:`read_modify_write` by reads.

    ``reads_per_s`` (other reads, d) and ``events_per_s`` (w) are numbers or arrays with one rate
    per key; a key weighs its reads, d + w, the engine's loads among them. The result has the shape
    of ``ttl_s``, and is NaN where no key is read.
    """
    reads, events = np.broadcast_arrays(
        np.atleast_1d(_rates("reads_per_s", reads_per_s)),
        np.atleast_1d(_rates("events_per_s", events_per_s)),
    )
    ttls = _ttls(ttl_s)
    weights = reads + events
    total = weights.sum() or np.nan
    # one TTL at a time: keys × TTLs at once would not fit for millions of keys
    hits = [np.vdot(weights, read_modify_write(reads, events, ttl)) for ttl in ttls.ravel()]
    return _plain(np.reshape(np.array(hits, dtype=np.float64) / total, ttls.shape))


def stale_share(writes_per_s: ArrayLike, ttl_s: ArrayLike, lost_share: ArrayLike) -> Floats:
    """Return the share of hits that serve an older state than the database holds.

    A share p = ``lost_share`` of the writes never reaches the cache (lost, or by writers that
    bypass it), the others write through: 1 − g(w, T) / g(w(1 − p), T), g as in the module's text;
    for p = 1 it is 1 − (1 − e^(−wT)) / (wT). Derived here: an arming serves until T or the next
    write that arrives, and what it serves is fresh until T or the next write of any kind.

    Losses are independent of each other, which those of an outage are not. The form grows with the
    TTL, so that a budget for staleness is a ceiling for the TTL.
    """
    writes, ttl = _rates("writes_per_s", writes_per_s), _ttls(ttl_s)
    lost = _shares("lost_share", lost_share)
    fresh, served = _mean_time(writes, ttl), _mean_time(writes * (1 - lost), ttl)
    with np.errstate(invalid="ignore"):
        # both 0 (T = 0) or both infinite (no writes, no expiry): there is nothing stale
        stale = np.where(fresh == served, 0.0, 1 - fresh / served)
    return _plain(np.maximum(stale, 0.0))


def stale_share_ttl(stale: ArrayLike, writes_per_s: ArrayLike, lost_share: ArrayLike) -> Floats:
    """Return the longest TTL in seconds with at most this share of stale hits.

    The inverse of :func:`stale_share`, by bisection, since it has no closed form. Infinite from
    ``lost_share`` on, which no TTL exceeds, and where nothing is written.
    """
    share, writes, lost = np.broadcast_arrays(
        _shares("stale", stale),
        _rates("writes_per_s", writes_per_s),
        _shares("lost_share", lost_share),
    )
    # wT is e to the power of what lies between
    low, high = np.full(share.shape, -700.0), np.full(share.shape, 700.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = stale_share(1.0, np.exp(middle), lost) <= share
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    with np.errstate(divide="ignore", over="ignore"):
        ttl = np.exp(low) / writes
    return _plain(np.select([(share >= lost) | (writes == 0), share == 0], [np.inf, 0.0], ttl))


def _mean_time(rate: Floats, ttl: Floats) -> Floats:
    """Return g(w, T), the mean of the shorter of T and the wait for an event of rate w."""
    events = _product(rate, ttl)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        happens = -np.expm1(-events)
        # two ways to write it: one is exact where w or wT is next to 0, one where T is infinite
        return np.where(events > 1, happens / rate, ttl * np.where(events > 0, happens / events, 1))


def _product(rate: Floats, time: Floats) -> Floats:
    """Multiply, with 0 times infinity as 0: what never happens doesn't happen in any time."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return np.where((rate == 0) | (time == 0), 0.0, rate * time)


def _share(live: Floats, dead: Floats | float) -> Floats:
    """Return live / (live + dead), which is 1 where an entry lives forever."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return _plain(np.where(np.isinf(live), 1.0, live / (live + dead)))


def _rates(name: str, values: ArrayLike) -> Floats:
    return _checked(
        name, values, np.finfo(np.float64).max, "a finite rate of at least 0 per second"
    )


def _ttls(values: ArrayLike) -> Floats:
    return _checked("ttl_s", values, np.inf, "0 seconds or more")


def _shares(name: str, values: ArrayLike) -> Floats:
    return _checked(name, values, 1.0, "a share between 0 and 1")


def _checked(name: str, values: ArrayLike, highest: float, allowed: str) -> Floats:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StudyError(f"{name} is {values!r}, not a number: give {allowed}.") from error
    if np.any(bad := ~((numbers >= 0) & (numbers <= highest))):
        raise StudyError(f"{name} is {numbers[bad].ravel()[0]}: give {allowed}.")
    return numbers


def _plain(values: Floats) -> Floats:
    """Give numbers back for numbers: numpy computes with arrays of no dimension as well."""
    return values[()]
