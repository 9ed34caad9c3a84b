"""What a replay counts, as sums that add up over the parts of a trace, and the curve of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.errors import StudyError
from statecache.study.replay.settings import Behaviour

__all__ = ["Tally", "curve_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tally:
    """The sums of a replay: a number for what no TTL changes, else an array, one value per TTL.

    Tallies of traces without a common key add up (``+``, or ``sum(tallies[1:], tallies[0])``), if
    they are of the same TTLs, behaviour and time; StudyError if not.

    ttls             seconds, in the order asked for
    span_s           first and last instant of the time over which entries are taken to live
    bypassed         writes that bypassed the cache (of ``writes``)
    misses_…         by reason, as in :func:`curve_of`
    stale_hits       hits on an entry that a write overtook
    age_at_hit_s     ages of the entries that were hit, summed up
    live_key_s       seconds that entries lived within their TTL, summed up
    live_byte_s      the same, each entry times its size; NaN for a trace without sizes
    """

    ttls: Floats
    behaviour: Behaviour
    span_s: tuple[float, float]
    reads: int
    writes: int
    deletes: int
    bypassed: int
    misses_first: Ints
    misses_expired: Ints
    misses_deleted: Ints
    stale_hits: Ints
    age_at_hit_s: Floats
    live_key_s: Floats
    live_byte_s: Floats

    def __add__(self, other: Tally) -> Tally:
        """Return the tally of both traces."""
        if not isinstance(other, Tally):
            return NotImplemented
        self._check_fits(other)
        return Tally(
            ttls=self.ttls,
            behaviour=self.behaviour,
            span_s=self.span_s,
            reads=self.reads + other.reads,
            writes=self.writes + other.writes,
            deletes=self.deletes + other.deletes,
            bypassed=self.bypassed + other.bypassed,
            misses_first=self.misses_first + other.misses_first,
            misses_expired=self.misses_expired + other.misses_expired,
            misses_deleted=self.misses_deleted + other.misses_deleted,
            stale_hits=self.stale_hits + other.stale_hits,
            age_at_hit_s=self.age_at_hit_s + other.age_at_hit_s,
            live_key_s=self.live_key_s + other.live_key_s,
            live_byte_s=self.live_byte_s + other.live_byte_s,
        )

    def _check_fits(self, other: Tally) -> None:
        if not np.array_equal(self.ttls, other.ttls):
            raise StudyError(
                f"Tallies of {self.ttls.size} and {other.ttls.size} TTLs differ in a TTL and do "
                "not add up: replay all parts under the same TTLs."
            )
        if self.behaviour != other.behaviour:
            raise StudyError(
                f"Tallies of {self.behaviour} and {other.behaviour} do not add up: replay all "
                "parts in the same way."
            )
        if self.span_s != other.span_s:
            raise StudyError(
                f"Tallies over {self.span_s} and {other.span_s} seconds do not add up: replay all "
                "parts with the span_s of the whole trace."
            )


def curve_of(tally: Tally) -> pd.DataFrame:
    """Return the curve of a tally: one row per TTL, in the order asked for.

    Columns:

    ttl_s           float64, seconds
    reads, writes, deletes   int64, operations in the trace
    hits            int64
    hit_rate        float64, hits / reads; NaN where there are no reads
    misses_first    int64, reads of keys that have not been in the cache so far: no TTL avoids them
    misses_expired  int64, reads that find an entry too old: a longer TTL avoids them
    misses_deleted  int64, reads of keys whose entry a delete, or with writes="invalidate" a write,
                    removed since it was armed last, its age aside: no TTL avoids them
    db_statements   int64, misses + writes + deletes
    mean_live_keys  float64, entries within their TTL, averaged over the time from the first
                    ``time_s`` to the last; NaN where that is no time
    mean_live_bytes  float64, their sizes, likewise; NaN for a trace without sizes
    mean_age_at_hit_s  float64, seconds since the entry that is hit was armed; NaN without hits
    stale_hits      int64, hits on an entry that a write overtook
    stale_share     float64, stale_hits / hits; NaN without hits
    """
    rows = np.ones(tally.ttls.size, dtype=np.int64)
    misses = tally.misses_first + tally.misses_expired + tally.misses_deleted
    hits = tally.reads - misses
    some_hits = np.where(hits > 0, hits, np.nan)
    first_s, last_s = tally.span_s
    some_time = (last_s - first_s) or np.nan
    return pd.DataFrame(
        {
            "ttl_s": tally.ttls,
            "reads": tally.reads * rows,
            "writes": tally.writes * rows,
            "deletes": tally.deletes * rows,
            "hits": hits,
            "hit_rate": hits / (tally.reads or np.nan),
            "misses_first": tally.misses_first,
            "misses_expired": tally.misses_expired,
            "misses_deleted": tally.misses_deleted,
            "db_statements": misses + tally.writes + tally.deletes,
            "mean_live_keys": tally.live_key_s / some_time,
            "mean_live_bytes": tally.live_byte_s / some_time,
            "mean_age_at_hit_s": tally.age_at_hit_s / some_hits,
            "stale_hits": tally.stale_hits,
            "stale_share": tally.stale_hits / some_hits,
        }
    )
