from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.study.bounds import (
    gain_where_reads_are_saved,
    mean_read_gain,
    reads_in_cost,
    saved,
)

SHARES = st.floats(0.01, 0.99)


@pytest.mark.parametrize(("write_cost", "gain"), [(1, 5), (2, 3), (4, 2)])
def test_the_capacity_at_80_per_cent_reads(write_cost: float, gain: float) -> None:
    assert gain_where_reads_are_saved(reads_in_cost(0.8, 1, write_cost), 1) == pytest.approx(gain)


def test_the_engine_gains_no_more_than_twice() -> None:
    assert gain_where_reads_are_saved(reads_in_cost(0.5, 1, 1), 1) == pytest.approx(2)


@pytest.mark.parametrize(("hit_rate", "gain"), [(0.9, 10), (0.7, 10 / 3)])
def test_mean_reads_with_a_free_cache(hit_rate: float, gain: float) -> None:
    assert mean_read_gain(0, hit_rate) == pytest.approx(gain)


def test_mean_reads_by_hand() -> None:
    # 90 of 100 reads take .1, 10 take .1 + 1 + .1: 21 together.
    assert mean_read_gain(0.1, 0.9) == pytest.approx(100 / 21)


@given(SHARES, SHARES, st.floats(0.1, 10))
def test_no_gain_passes_that_of_free_reads(share: float, hits: float, cost: float) -> None:
    most = gain_where_reads_are_saved(reads_in_cost(share, 1, cost), 1)
    assert 1 <= gain_where_reads_are_saved(reads_in_cost(share, 1, cost), hits) <= most
    assert saved(share, hits) <= share
    assert mean_read_gain(cost, hits) <= 1 / (1 - hits) * (1 + 1e-12)
