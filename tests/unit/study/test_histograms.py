from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.histograms import histogram

LATENCIES = st.lists(st.floats(1e-6, 1e4), max_size=50)

#: For sums and logarithms in floating point.
ROUNDING = 1e-12


@settings(deadline=None)
@given(LATENCIES)
def test_every_latency_is_counted_in_the_bucket_it_lies_in(latencies: list[float]) -> None:
    frame = histogram(np.array(latencies))
    assert frame["count"].sum() == len(latencies)
    assert (frame["count"] > 0).all()
    # Buckets and values both in order: each value beside the bucket that counted it.
    values = 1e6 * np.sort(latencies)
    low = np.repeat(frame["low_us"].to_numpy(), frame["count"])
    high = np.repeat(frame["high_us"].to_numpy(), frame["count"])
    assert (low <= values * (1 + ROUNDING)).all()
    assert (values <= high * (1 + ROUNDING)).all()


@settings(deadline=None)
@given(LATENCIES)
def test_buckets_are_in_order_apart_and_narrow(latencies: list[float]) -> None:
    frame = histogram(np.array(latencies))
    low, high = frame["low_us"].to_numpy(), frame["high_us"].to_numpy()
    assert (high / low - 1 <= 0.011).all()
    assert (high[:-1] <= low[1:] * (1 + ROUNDING)).all()


@settings(deadline=None)
@given(LATENCIES, LATENCIES)
def test_histograms_add_up(one: list[float], two: list[float]) -> None:
    apart: dict[float, int] = {}
    for part in (one, two):
        frame = histogram(np.array(part))
        for low, count in zip(frame["low_us"], frame["count"], strict=True):
            apart[low] = apart.get(low, 0) + count
    both = histogram(np.array(one + two))
    assert dict(zip(both["low_us"], both["count"], strict=True)) == apart


def test_equal_latencies_share_a_bucket() -> None:
    frame = histogram(np.array([0.0015, 0.25, 0.0015]))
    assert frame["count"].tolist() == [2, 1]
    assert frame["low_us"].tolist() == pytest.approx([1500, 250_000], rel=0.011)


@pytest.mark.parametrize("below", [0.0, 1e-9, 9e-7])
def test_below_a_microsecond_is_the_bucket_of_one(below: float) -> None:
    frame = histogram(np.array([below, 1e-6]))
    assert frame["count"].tolist() == [2]
    assert frame["low_us"].tolist() == [1.0]


def test_columns_and_types_without_any_latency_too() -> None:
    for values in ([], [0.001]):
        frame = histogram(np.array(values, dtype=np.float64))
        assert frame.dtypes.astype(str).to_dict() == {
            "low_us": "float64",
            "high_us": "float64",
            "count": "int64",
        }
