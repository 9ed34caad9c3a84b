"""What a notebook hands in for the claims that it judges."""

from __future__ import annotations

import math
from dataclasses import dataclass

from statecache.study.intervals import Interval
from statecache.study.verdicts import Measured

__all__ = ["Evidence"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What all measurements of one notebook have in common.

    ``pairs`` is the number of blocks or repetitions. The command that measures them again is the
    run's own, and is added where they are published.
    """

    notebook: str
    profile: str
    pairs: int

    def of(
        self,
        claim: str,
        interval: Interval,
        conditions: str,
        *,
        bound: float = math.nan,
        pairs: int | None = None,
        counted: bool = False,
        why: str = "",
    ) -> Measured:
        """Return what was measured for a claim; a ``bound`` that is not finite is none."""
        return Measured(
            claim=claim,
            interval=interval,
            pairs=self.pairs if pairs is None else pairs,
            profile=self.profile,
            conditions=conditions,
            notebook=self.notebook,
            bound=float(bound) if math.isfinite(bound) else None,
            counted=counted,
            why=why,
        )
