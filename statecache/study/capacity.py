"""The highest offered rate that still meets a latency limit, read off a ladder of rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from statecache.study.intervals import Interval, ratio_interval

__all__ = ["FAILED_OVERRUN", "Capacity", "find_capacity", "threshold"]

#: A rung that failed for another reason than its latency counts as this many times the limit.
FAILED_OVERRUN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest sustained rate: geometric mean over the blocks, with its t interval.

    ``by_block`` holds each block's own, so that two capacities of the same blocks are compared in
    pairs (``ratio_interval``). In ``above`` blocks the highest rung was still sustained, and in
    ``below`` blocks not even the lowest; there the rung itself stands for the unknown rate, and
    the capacity is at least, or at most, what is shown.
    """

    interval: Interval
    by_block: Mapping[object, float]
    above: int
    below: int

    @property
    def sign(self) -> str:
        """How the capacity is to be read: "", "≥", "≤", or "?" where both ends were missed."""
        return {(False, False): "", (True, False): "≥", (False, True): "≤"}.get(
            (self.above > 0, self.below > 0), "?"
        )


def find_capacity(ladder: pd.DataFrame, *, limit_us: float, level: float = 0.95) -> Capacity:
    """Return the capacity that a ladder of offered rates shows.

    ``ladder`` has a row a rung and block: block, offered_s (operations a second, the same rungs
    in every block), latency_us (the percentile that is limited) and failed (whether there were
    errors, a growing backlog, too few completed or a saturated client).

    Within a block, a monotone fit (isotonic regression of the logarithm of the latency) takes out
    the rungs that chance has put in the wrong order; see ``threshold``.
    """
    rungs: dict[object, list[float]] = {}
    found: dict[object, float] = {}
    for block, group in ladder.sort_values("offered_s").groupby("block"):
        rungs[block] = group["offered_s"].tolist()
        overruns = group["latency_us"].to_numpy(dtype=float) / limit_us
        failed = group["failed"].to_numpy(dtype=bool)
        overruns[failed] = np.fmax(overruns[failed], FAILED_OVERRUN)
        found[block] = threshold(rungs[block], overruns.tolist())
    if not found or len({tuple(rates) for rates in rungs.values()}) > 1:
        raise ValueError("every block of a ladder needs the same rungs, and there must be a block.")
    lowest, highest = next(iter(rungs.values()))[0], next(iter(rungs.values()))[-1]
    rates = [min(max(rate, lowest), highest) for rate in found.values()]
    return Capacity(
        ratio_interval(rates, [1.0] * len(rates), level),
        dict(zip(found, rates, strict=True)),
        above=sum(rate == math.inf for rate in found.values()),
        below=sum(rate == 0 for rate in found.values()),
    )


def threshold(rates: Sequence[float], overruns: Sequence[float]) -> float:
    """Return the highest rate at which the monotone fit of the overruns is at most 1.

    ``rates`` ascend; an overrun is a latency over its limit. Between two rungs the fit is a line
    in logarithms. Infinite where the highest rung is sustained, 0 where the lowest is not.
    """
    logs, fit = np.log(rates), isotonic_regression(np.log(overruns)).x
    if fit[-1] <= 0:
        return math.inf
    if fit[0] > 0:
        return 0.0
    last = int(np.flatnonzero(fit <= 0)[-1])
    share = -fit[last] / (fit[last + 1] - fit[last])
    return float(np.exp(logs[last] + share * (logs[last + 1] - logs[last])))
