"""Confidence intervals for few repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["Interval", "mean_interval"]


class Interval(NamedTuple):
    """An estimate with its confidence limits, in the unit of the data."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean and Student's t interval of independent values; limits are NaN for one value.

    The t interval holds its level for few values of about normal error, where a percentile
    bootstrap does not.
    """
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if len(data) < 2:
        return Interval(mean, float("nan"), float("nan"))
    error = float(data.std(ddof=1)) / len(data) ** 0.5
    reach = float(stats.t.ppf((1 + level) / 2, len(data) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)
