"""The model's laws, for any costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.study.questions.where_it_pays.model import Costs

ms = st.floats(0.01, 10)
shares = st.floats(0.01, 1.0)
costs = st.builds(Costs, read=ms, write=ms, hit=ms, miss=ms, write_through=ms)


@given(costs=costs, reads=shares, hits=shares, cache_ms=st.floats(0, 5))
def test_at_the_frontier_both_take_the_same_time(
    costs: Costs, reads: float, hits: float, cache_ms: float
) -> None:
    at = costs.frontier(reads, hits, cache_ms)
    with_cache = costs.with_cache(reads, hits, at, cache_ms)
    without = costs.without(reads, at)
    assert with_cache == pytest.approx(without, rel=1e-6, abs=1e-6 * (1 + abs(float(at))))


@given(costs=costs, reads=shares, hits=shares, further=st.floats(0.01, 5))
def test_beyond_the_frontier_the_cache_pays_and_before_it_costs(
    costs: Costs, reads: float, hits: float, further: float
) -> None:
    at = costs.frontier(reads, hits)
    gain = costs.without(reads, at + further) - costs.with_cache(reads, hits, at + further)
    assert gain == pytest.approx(reads * hits * further, rel=1e-3, abs=1e-9)
    loss = costs.with_cache(reads, hits, at - further) - costs.without(reads, at - further)
    assert loss == pytest.approx(reads * hits * further, rel=1e-3, abs=1e-9)


def test_a_further_cache_needs_a_further_database() -> None:
    costs = Costs(read=0.1, write=1.0, hit=0.1, miss=0.4, write_through=1.2)
    at = costs.frontier(0.8, 0.9, np.array([0.0, 0.3, 1.0]))
    assert (np.diff(at) > 0).all()


def test_where_nothing_hits_or_nothing_is_read_no_distance_is_enough() -> None:
    costs = Costs(read=0.1, write=1.0, hit=0.1, miss=0.4, write_through=1.2)
    assert math.isinf(costs.frontier(0.8, 0.0))
    assert math.isinf(costs.frontier(0.0, 0.9))
