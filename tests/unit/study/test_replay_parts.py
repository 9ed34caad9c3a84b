"""Parts of a trace, divided by key, add up to the whole; what bypasses is drawn alike in each."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.errors import StudyError
from statecache.study.replay import curve_of, hit_curve, tally
from statecache.study.replay.bypass import bypassing_writes
from statecache.study.traces import READ, WRITE, Trace

TTLS = [5.0, 0.0, 0.5, np.inf, 60.0]
MODES = [(e, w) for e in ("fixed", "sliding") for w in ("through", "invalidate", "ignore")]


def some_trace(seed, *, n=400, keys=25, named=False, overlapping=False):
    rng = np.random.default_rng(seed)
    time_s = np.sort(rng.integers(0, 4 * n, n) / 8) + 1.7e9
    return Trace(
        time_s=time_s,
        key=rng.integers(0, keys, n),
        op=rng.choice([0, 1, 2], n, p=[0.7, 0.25, 0.05]),
        size=rng.integers(0, 5_000, n),
        keys=np.array([f"key-{k}" for k in range(keys)], dtype=object) if named else None,
        armed_s=time_s + rng.choice([0.0, 0.5, 3.0], n) if overlapping else None,
    )


def chosen(trace, rows):
    """Return some rows as a trace of their own; its codes of names differ from the whole's."""
    return Trace.from_frame(trace.to_frame()[rows])


@pytest.mark.parametrize(("expiry", "writes"), MODES)
@given(
    seed=st.integers(0, 99),
    parts=st.lists(st.integers(0, 3), min_size=25, max_size=25),
    named=st.booleans(),
    overlapping=st.booleans(),
)
@settings(max_examples=10, deadline=None)
def test_any_partition_by_key_adds_up(expiry, writes, seed, parts, named, overlapping):
    trace = some_trace(seed, named=named, overlapping=overlapping)
    modes = {"expiry": expiry, "writes": writes, "bypass_share": 0.3, "seed": 7}
    span = trace.time_s[0], trace.time_s[-1]
    part = np.array(parts)[trace.key]
    tallies = [
        tally(chosen(trace, part == number), TTLS, **modes, span_s=span) for number in range(4)
    ]

    whole = tally(trace, TTLS, **modes)
    total = sum(tallies[1:], tallies[0])

    assert total.bypassed == whole.bypassed
    pd.testing.assert_frame_equal(curve_of(total), curve_of(whole), rtol=1e-9, atol=0)
    pd.testing.assert_frame_equal(curve_of(whole), hit_curve(trace, TTLS, **modes))


def test_a_tally_survives_a_journey_between_processes():
    there = tally(some_trace(1), TTLS)
    pd.testing.assert_frame_equal(curve_of(pickle.loads(pickle.dumps(there))), curve_of(there))


def test_without_sizes_bytes_are_unknown_also_in_the_sum_and_no_part_is_no_loss():
    trace = some_trace(2)
    bare = Trace(time_s=trace.time_s, key=trace.key, op=trace.op)
    span = trace.time_s[0], trace.time_s[-1]
    nothing = tally(chosen(bare, np.zeros(len(bare), bool)), TTLS, span_s=span)
    assert curve_of(tally(bare, TTLS) + nothing)["mean_live_bytes"].isna().all()
    assert curve_of(tally(trace, TTLS) + nothing).equals(hit_curve(trace, TTLS))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"ttls": [1.0, 2.0]}, r"^Tallies of 5 and 2 TTLs differ in a TTL"),
        ({"expiry": "sliding"}, r"^Tallies of Behaviour.*replay all parts in the same way"),
        ({"seed": 1}, r"replay all parts in the same way"),
        ({"span_s": (0.0, 2e9)}, r"replay all parts with the span_s of the whole trace"),
    ],
)
def test_tallies_of_different_things_do_not_add_up(other, message):
    trace = some_trace(3)
    with pytest.raises(StudyError, match=message):
        tally(trace, TTLS) + tally(trace, **({"ttls": TTLS} | other))


def test_a_span_that_leaves_operations_out_is_refused():
    trace = some_trace(3)
    for span in ((0.0, 1.0), (trace.time_s[1], 2e9), (0.0, np.inf), (np.nan, 2e9)):
        with pytest.raises(StudyError, match=r"^The span from .* does not hold all operations"):
            tally(trace, TTLS, span_s=span)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bypass_share": -0.1}, r"^The share -0\.1 of writes that bypass the cache is out"),
        ({"bypass_share": np.nan}, r"^The share nan of writes"),
        ({"seed": -1}, r"^The seed -1 is out of range"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(StudyError, match=message):
        hit_curve(some_trace(3), TTLS, **options)


# --- the draw -----------------------------------------------------------------------------------


def drawn(trace, share, seed):
    return bypassing_writes(
        trace, trace.key.astype(np.int32), int(trace.key.max()) + 1, share, seed
    )


def test_only_writes_bypass_and_a_larger_share_adds_to_a_smaller_one():
    trace = some_trace(4)
    shares = [drawn(trace, share, 0) for share in (0.0, 0.2, 0.6, 1.0)]
    assert not shares[0].any()
    assert np.array_equal(shares[3], trace.op == WRITE)
    for less, more in pairwise(shares):
        assert not np.any(less & ~more)


def test_the_draw_is_the_share_overall_and_for_keys_places_and_seeds():
    """Among n fair draws the count is 6 standard errors off with p < 2e-9; 700 are looked at."""
    n, keys, share = 100_000, 500, 0.3
    trace = Trace(
        time_s=np.arange(n), key=np.repeat(np.arange(keys), n // keys), op=np.full(n, WRITE)
    )
    first, second = (drawn(trace, share, seed).reshape(keys, -1) for seed in (1, 2))
    both = first & second
    for counts, trials, expected in (
        (first.sum(axis=1), n // keys, share),
        (first.sum(axis=0), keys, share),
        (first.sum(), n, share),
        (both.sum(), n, share**2),  # another seed draws independently
        ((first[:, 1:] & first[:, :-1]).sum(), n - keys, share**2),  # so do neighbours
        ((first[1:] & first[:-1]).sum(), n - n // keys, share**2),
    ):
        error = np.sqrt(trials * expected * (1 - expected))
        assert np.all(np.abs(counts - trials * expected) <= 6 * error)


def test_a_bypassing_write_makes_hits_stale_until_the_entry_is_replaced():
    ops = np.array([READ, WRITE, READ, READ, READ])
    trace = Trace(time_s=np.array([0.0, 1, 2, 9, 12]), key=np.zeros(5, np.int32), op=ops)
    row = hit_curve(trace, [10.0], bypass_share=1.0).iloc[0]
    assert (row["hits"], row["stale_hits"], row["misses_expired"]) == (2, 2, 1)
    assert row["stale_share"] == 1.0
    row = hit_curve(trace, [10.0], bypass_share=1.0, expiry="sliding").iloc[0]
    assert (row["hits"], row["stale_hits"]) == (3, 3)
    row = hit_curve(trace, [5.0], bypass_share=1.0, expiry="sliding").iloc[0]
    assert (row["hits"], row["stale_hits"]) == (2, 1)
    assert hit_curve(trace, [10.0]).iloc[0]["stale_hits"] == 0
