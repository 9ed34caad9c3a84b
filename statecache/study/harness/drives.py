"""How a subject is driven: closed and open loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from statecache.study.harness.workloads import Arrivals

__all__ = ["Closed", "Drive", "Open"]


@dataclass(frozen=True, slots=True)
class Closed:
    """Callers that each make their next request when one ends."""

    callers: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """Requests that start when they are due; at most ``callers`` are in flight."""

    callers: int
    seconds: float
    rate_per_s: float
    kind: Arrivals = "poisson"


Drive: TypeAlias = Closed | Open
