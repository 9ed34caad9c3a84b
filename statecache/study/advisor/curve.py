"""The curve that advice is read off: what each TTL gives, by exact replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.advisor.limits import LimitError
from statecache.study.errors import StudyError
from statecache.study.replay import Expiry, Tally, Writes, curve_of, live_over_time, tally
from statecache.study.traces import Trace

__all__ = ["ENTRY_BYTES", "CurveOf", "Policy", "grid", "refined", "rounded"]

Floats = NDArray[np.float64]

#: What an entry takes in Redis beside its JSON: key (14 characters), head and Redis's own part.
#: Measured with MEMORY USAGE on Valkey 9.1, states of 170 to 1,000 bytes: 103 to 106.
ENTRY_BYTES: Final = 106

_PER_DECADE: Final = 24
_BETWEEN: Final = 7
_SHORTEST_S: Final = 0.001  # Redis counts milliseconds

#: Replays something under these TTLs and returns the columns of :meth:`Policy.curve`.
CurveOf: TypeAlias = Callable[[Floats], pd.DataFrame]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the cache is run, apart from its TTL; see ``replay.hit_curve``.

    ``bypass_share`` of the writes never reach the cache: lost, or by writers that do not know of
    it. ``state_bytes`` is the size of a state where the trace has none. ``sample`` is the share of
    the keys that was recorded: statements a second and what is held are scaled up by it. Raises
    LimitError for a share out of range.
    """

    expiry: Expiry = "fixed"
    writes: Writes = "through"
    bypass_share: float = 0.0
    seed: int = 0
    state_bytes: float | None = None
    sample: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise LimitError(f"sample is {self.sample}: give the share of the keys, up to 100%.")

    @property
    def can_be_stale(self) -> bool:
        """Whether a hit can be stale at all."""
        return self.bypass_share > 0 or self.writes == "ignore"

    def tally(self, trace: Trace, ttls: Floats, span_s: tuple[float, float] | None = None) -> Tally:
        """Replay a trace under this policy, over the time from its first to its last instant."""
        return tally(
            trace,
            ttls,
            expiry=self.expiry,
            writes=self.writes,
            bypass_share=self.bypass_share,
            seed=self.seed,
            span_s=span_s,
        )

    def over_time(self, trace: Trace, ttl_s: float) -> pd.DataFrame:
        """Return what the cache holds as time goes by, under one TTL."""
        return live_over_time(
            trace,
            ttl_s,
            expiry=self.expiry,
            writes=self.writes,
            bypass_share=self.bypass_share,
            seed=self.seed,
        )

    def curve(self, sums: Tally) -> pd.DataFrame:
        """Return one row per TTL: the columns of ``replay.curve_of``, and what limits are set on.

        db_qps           statements a second, averaged over the time; NaN where that is none
        memory_bytes     mean_live_bytes and ENTRY_BYTES an entry; NaN where sizes are unknown
        stale_at_most_s  the TTL; infinite where hits prolong an entry's life
        """
        curve = curve_of(sums)
        live = ["mean_live_keys", "mean_live_bytes"]
        curve[live] = curve[live] / self.sample
        live_bytes, some_time = curve["mean_live_bytes"], sums.span_s[1] - sums.span_s[0]
        if self.state_bytes is not None:
            live_bytes = live_bytes.fillna(curve["mean_live_keys"] * self.state_bytes)
        return curve.assign(
            db_qps=curve["db_statements"] / self.sample / (some_time or math.nan),
            memory_bytes=live_bytes + ENTRY_BYTES * curve["mean_live_keys"],
            stale_share=curve["stale_share"].fillna(0.0),  # without a hit none is stale
            stale_at_most_s=curve["ttl_s"] if self.expiry == "fixed" else math.inf,
        )

    def replayed(self, trace: Trace) -> CurveOf:
        """Return what replays a trace under this policy and returns its curve."""
        return lambda ttls: self.curve(self.tally(trace, ttls))


def grid(duration_s: float, *among: float | None) -> Floats:
    """Return TTLs from a second to the length of a trace, evenly spaced on a logarithmic axis.

    Shorter where the trace is, and always with the TTLs ``among`` them. A longer TTL than the trace
    cannot be told from it. Raises StudyError where the trace lasts no time.
    """
    if not duration_s > 0:
        raise StudyError("The trace lasts no time: give one of at least two instants.")
    longest = max(duration_s, 10 * _SHORTEST_S)
    shortest = max(_SHORTEST_S, min(1.0, longest / 1_000))
    count = math.ceil(_PER_DECADE * math.log10(longest / shortest)) + 1
    named = [one for one in among if one is not None and _SHORTEST_S <= one <= longest]
    return np.unique([*rounded(np.geomspace(shortest, longest, count)), *named])


def refined(ttls: Floats, places: Iterable[int]) -> Floats:
    """Return further TTLs on both sides of these places of a grid, without those it has."""
    steps = {step for place in places for step in (place - 1, place) if 0 <= step < ttls.size - 1}
    between = [
        rounded(np.geomspace(ttls[step], ttls[step + 1], _BETWEEN + 2)[1:-1]) for step in steps
    ]
    return np.setdiff1d(np.concatenate([[], *between]), ttls)


def rounded(ttls: Floats) -> Floats:
    """Return TTLs with three digits that count: what one would type."""
    return np.array([max(float(f"{ttl:.3g}"), _SHORTEST_S) for ttl in ttls])
