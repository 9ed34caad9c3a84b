"""What lives at a time agrees with a naive cache, and its mean with the curve."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.naive_cache import Operation, naive_occupancy, trace_of

from statecache.study.errors import StudyError
from statecache.study.replay import hit_curve, live_over_time
from statecache.study.traces import READ, WRITE

MODES = [(e, w) for e in ("fixed", "sliding") for w in ("through", "invalidate", "ignore")]


@st.composite
def streams(draw):
    """Operations in sixteenths of 0 to 16 s, which are exact, as are the edges of 8 bins."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(1, 63).map(lambda n: n / 4),
                st.integers(0, 2),
                st.integers(0, 2),
                st.sampled_from([0.0, 0.0, 0.5, 4.5]),
                st.integers(0, 9),
            ),
            max_size=25,
        )
    )
    ends = [(0.0, 0, READ, 0.0, 5), (16.0, 0, READ, 0.0, 5)]
    rows = sorted([*rows, *ends], key=lambda row: row[0])
    return [Operation(t, key, op, t + delay, size) for t, key, op, delay, size in rows]


@pytest.mark.parametrize(("expiry", "writes"), MODES)
@given(operations=streams(), ttl_s=st.sampled_from([0.0, 0.5, 2.0, 5.0, np.inf]))
@settings(max_examples=30, deadline=None)
def test_equals_the_naive_cache(expiry, writes, operations, ttl_s):
    edges = np.linspace(0, 16, 9)
    for delayed in (False, True):
        ours = operations if delayed else [o._replace(armed_s=o.time_s) for o in operations]
        modes = {"expiry": expiry, "writes": writes}
        found = live_over_time(trace_of(ours, armed=delayed), ttl_s, bins=8, **modes)
        expected = naive_occupancy(ours, ttl_s, expiry, writes, edges)
        pd.testing.assert_frame_equal(found, expected, atol=1e-9)


@pytest.mark.parametrize(("expiry", "writes"), MODES)
def test_the_mean_over_time_is_that_of_the_curve(expiry, writes):
    rng = np.random.default_rng(3)
    n = 3_000
    times = np.sort(rng.uniform(0, 500, n)).tolist()
    columns = rng.integers(0, 40, n), rng.integers(0, 3, n), times, rng.integers(0, 99, n)
    rows = [
        Operation(*row) for row in zip(times, *(list(map(float, c)) for c in columns), strict=True)
    ]
    trace = trace_of(rows)
    for ttl_s in (0.1, 3.0, 1000.0):
        modes = {"expiry": expiry, "writes": writes, "bypass_share": 0.2}
        over_time = live_over_time(trace, ttl_s, bins=37, **modes)
        (row,) = hit_curve(trace, [ttl_s], **modes).to_dict("records")
        assert over_time["live_keys"].mean() == pytest.approx(row["mean_live_keys"], rel=1e-9)
        assert over_time["live_bytes"].mean() == pytest.approx(row["mean_live_bytes"], rel=1e-9)
        assert (over_time["peak_keys"] >= over_time["live_keys"] - 1e-9).all()


def test_an_entry_still_lives_when_its_ttl_ends_but_not_when_it_is_replaced():
    two = [Operation(0, 0, WRITE), Operation(4, 1, WRITE), Operation(8, 1, READ)]
    assert live_over_time(trace_of(two, armed=False), 4.0, bins=1)["peak_keys"].tolist() == [2]
    assert live_over_time(trace_of(two, armed=False), 3.9, bins=1)["peak_keys"].tolist() == [1]
    again = [Operation(0, 0, WRITE), Operation(4, 0, WRITE), Operation(8, 1, READ)]
    assert live_over_time(trace_of(again, armed=False), 4.0, bins=2)["peak_keys"].tolist() == [1, 2]


def test_without_sizes_or_time_there_is_nothing_to_tell():
    trace = trace_of([Operation(0, 0, READ), Operation(1, 0, READ)])
    bare = type(trace)(time_s=trace.time_s, key=trace.key, op=trace.op)
    frame = live_over_time(bare, 1.0, bins=3)
    assert frame["live_keys"].tolist() == [1, 1, 1]
    assert frame[["live_bytes", "peak_bytes"]].isna().all(axis=None)
    assert live_over_time(trace_of([]), 1.0).empty
    assert live_over_time(trace_of([Operation(3, 0, READ)]), 1.0).empty


def test_what_is_out_of_range_is_refused():
    with pytest.raises(StudyError, match=r"^The number of bins is 0: give 1 or more\."):
        live_over_time(trace_of([]), 1.0, bins=0)
    with pytest.raises(StudyError, match=r"^The TTL -1\.0 is out of range"):
        live_over_time(trace_of([]), -1.0)
