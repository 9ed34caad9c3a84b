"""How much a cache can gain at most: the bounds that documented claims run into.

Throughout, ``read_share`` is the share of operations that read (ρ), ``hit_rate`` the share of
reads that hit (h), and costs are per database read and write, in any common unit.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["BOUNDS", "gain_where_reads_are_saved", "mean_read_gain", "reads_in_cost", "saved"]

#: Name in ``claims.yaml`` → formula for readers. Reads are all that a cache takes away.
BOUNDS: Final = {
    "statements saved": "ρ·h, the share of reads times the hit rate",
    "database cost saved": "φ·h, the reads' share of the database's cost times the hit rate",
    "capacity": "1/(1 − φ·h), the database's cost that is left; without gathering",
    "sequential mix": "1/(1 − φ·h) with φ the reads' share of the time, one call after the other",
}


def saved(read_share: float, hit_rate: float) -> float:
    """Return the largest share of database statements that hits can save: ρ·h.

    With ``reads_in_cost`` in place of the share of reads: of the database's cost.
    """
    return read_share * hit_rate


def reads_in_cost(read_share: float, read_cost: float, write_cost: float) -> float:
    """Return the reads' share of the cost: φ = ρ·c_r / (ρ·c_r + (1 − ρ)·c_w)."""
    reads = read_share * read_cost
    return reads / (reads + (1 - read_share) * write_cost)


def gain_where_reads_are_saved(share_of_cost: float, hit_rate: float) -> float:
    """Return the largest gain where cost is the limit and hits are free: 1/(1 − φ·h).

    The bound of the capacity where the database is the bottleneck, and of the throughput of
    calls made one after the other where φ is the share of time. It says nothing of latency under
    load, nor of writes that gathering makes cheaper. Infinite where every cost is saved.
    """
    left = 1 - share_of_cost * hit_rate
    return math.inf if left <= 0 else 1 / left


def mean_read_gain(cache_cost: float, hit_rate: float) -> float:
    """Return the gain in mean read latency without load: 1/(c + (1 − h)(1 + c)).

    ``cache_cost`` is the cost of a cache operation over that of a database read: every read looks
    up, and a miss fetches and fills.
    """
    return 1 / (cache_cost + (1 - hit_rate) * (1 + cache_cost))
