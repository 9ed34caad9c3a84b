"""Latency histograms with logarithmic buckets, kept instead of single latencies."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["P99_SAMPLES", "histogram", "pooled", "quantile_us"]

#: A 99th percentile rests on this many latencies at least.
P99_SAMPLES: Final = 10_000

#: Buckets are 1/64 of a factor of two wide, so a value is known within 1.1 %.
PER_OCTAVE: Final = 64


def histogram(latencies_s: NDArray[np.float64]) -> pd.DataFrame:
    """Return low_us, high_us (float64, a bucket's limits) and count (int64) of buckets in use.

    Latencies are in seconds; anything below a microsecond falls into the bucket of one.
    """
    microseconds = np.maximum(latencies_s * 1e6, 1.0)
    bucket = np.floor(np.log2(microseconds) * PER_OCTAVE).astype(np.int64)
    number, count = np.unique(bucket, return_counts=True)
    return pd.DataFrame(
        {
            "low_us": np.exp2(number / PER_OCTAVE),
            "high_us": np.exp2((number + 1) / PER_OCTAVE),
            "count": count.astype(np.int64),
        }
    )


def pooled(histograms: pd.DataFrame) -> pd.DataFrame:
    """Return histograms of several measurements as one: low_us, high_us and count, ascending."""
    together = histograms.groupby(["low_us", "high_us"])["count"].sum()
    return together.sort_index().reset_index()


def quantile_us(histogram: pd.DataFrame, share: float) -> float:
    """Return the latency that this share of the values, 0 to 1, does not exceed, in µs.

    It is the geometric middle of the bucket that holds it. Raises ``ValueError`` where there are
    no values.
    """
    if histogram.empty:
        raise ValueError("an empty histogram has no quantile: measure something first.")
    reached = histogram["count"].cumsum().to_numpy()
    place = int(np.searchsorted(reached, share * reached[-1]))
    row = histogram.iloc[min(place, len(histogram) - 1)]
    return float(np.sqrt(row["low_us"] * row["high_us"]))
