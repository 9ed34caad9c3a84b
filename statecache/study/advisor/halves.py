"""How well a TTL learnt on the first half of a trace does on the second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.advisor.choice import Choice, choose_from
from statecache.study.advisor.curve import Policy
from statecache.study.advisor.limits import Limits
from statecache.study.advisor.parts import after, before, span
from statecache.study.traces import READ, Trace

__all__ = ["Halves", "compare_halves"]


@dataclass(frozen=True, slots=True)
class Halves:
    """The choice on each half of the time, by the same rule and limits, on the same TTLs.

    The second half begins with the cache as the first has left it under the same TTL.
    """

    first: Choice
    second: Choice
    limits: Limits

    @property
    def learnt(self) -> pd.Series:
        """What the TTL learnt on the first half gives on the second."""
        return self.second.curve.iloc[self.first.place]

    @property
    def regret(self) -> float:
        """The hit rate that is lost on the second half by having learnt on the first.

        Negative where the TTL learnt hits more than the one that the second half would choose,
        which then costs memory, or staleness.
        """
        return float(self.second.row["hit_rate"] - self.learnt["hit_rate"])

    @property
    def more_statements(self) -> float:
        """Database statements of the TTL learnt over those of the second half's own, less 1."""
        own = float(self.second.row["db_statements"])
        return float(self.learnt["db_statements"]) / own - 1 if own else 0.0

    @property
    def broken(self) -> list[str]:
        """What is limited, and beyond its limit, under the TTL learnt on the second half."""
        row = self.learnt.to_frame().T
        return [limit.what for limit in self.limits.given if not limit.met(row)[0]]


def compare_halves(
    trace: Trace, policy: Policy, limits: Limits, ttls: NDArray[np.float64]
) -> Halves | None:
    """Choose on each half; None where one of them has no reads or lasts no time."""
    begin, end = span(trace)
    middle = begin + (end - begin) / 2
    beginning = before(trace, middle)
    reads = int((beginning.op == READ).sum())
    if not reads or reads == int((trace.op == READ).sum()) or not begin < middle < end:
        return None
    first = policy.tally(beginning, ttls, (begin, middle))
    second = after(policy.tally(trace, ttls, (begin, end)), first)
    return Halves(
        choose_from(policy.curve(first), limits), choose_from(policy.curve(second), limits), limits
    )
