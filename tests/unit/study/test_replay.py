"""The replay agrees with a naive cache, one dict per TTL, and with published figures."""

from __future__ import annotations

import gzip
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.naive_cache import Operation, naive_curve, trace_of

from statecache.study import jit
from statecache.study.errors import StudyError
from statecache.study.replay import hit_curve
from statecache.study.traces import DELETE, READ, WRITE, Trace

DATA = Path(__file__).parents[4] / "shared" / "data"
WEBLOG = DATA / "weblog-424.slt.gz"

TTLS = [0.0, 0.5, 1.0, 2.0, 3.5, 7.0, 20.0, np.inf]


# Halves are exact in binary and few, so that ties in time and ages equal to a TTL are common;
# the tenths are not exact, so that an age computed in another way than now - armed is found out.
INSTANTS = st.one_of(
    st.integers(0, 24).map(lambda halves: halves / 2), st.integers(0, 40).map(lambda n: n / 10)
)
DELAYS = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 4.5])
OPERATION = st.sampled_from([READ, READ, READ, WRITE, WRITE, DELETE])


@st.composite
def streams(draw, *, delayed):
    rows = draw(
        st.lists(
            st.tuples(
                INSTANTS, st.integers(0, 2), OPERATION, DELAYS, st.integers(0, 9), st.booleans()
            ),
            max_size=30,
        )
    )
    rows.sort(key=lambda row: row[0])
    return [
        Operation(t, key, op, t + delay if delayed else t, size, bypasses and op == WRITE)
        for t, key, op, delay, size, bypasses in rows
    ]


MODES = [(e, w) for e in ("fixed", "sliding") for w in ("through", "invalidate", "ignore")]


def drawn_by(operations):
    """Replace the draw of the writes that bypass the cache by what the operations say."""
    drawn = np.array([operation.bypasses for operation in operations], dtype=bool)
    return patch("statecache.study.replay.grouping.bypassing_writes", lambda *_: drawn)


def assert_equal_curves(operations, ttls, expiry, writes, *, armed):
    modes = {"expiry": expiry, "writes": writes, "bypass_share": 0.5}
    with drawn_by(operations):
        curve = hit_curve(trace_of(operations, armed=armed), ttls, **modes)
    expected = naive_curve(operations, ttls, expiry, writes)
    pd.testing.assert_frame_equal(curve, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("expiry", "writes"), MODES)
@given(operations=streams(delayed=False))
@settings(max_examples=60, deadline=None)
def test_equals_the_naive_cache(expiry, writes, operations):
    assert_equal_curves(operations, TTLS, expiry, writes, armed=False)


@pytest.mark.parametrize(("expiry", "writes"), MODES)
@given(operations=streams(delayed=True))
@settings(max_examples=60, deadline=None)
def test_equals_the_naive_cache_where_operations_overlap(expiry, writes, operations):
    assert_equal_curves(operations, TTLS, expiry, writes, armed=True)


def long_stream(n=4_000):
    """Return long runs, which make the search take large steps."""
    rng = np.random.default_rng(11)
    times = np.sort(rng.integers(0, 3_000, n) / 4).tolist()
    ops = rng.choice([READ, WRITE, DELETE], n, p=[0.97, 0.02, 0.01]).tolist()
    keys = rng.choice(40, n, p=np.arange(40, 0, -1) / 820).tolist()
    sizes = rng.integers(0, 2_000, n).tolist()
    bypasses = ((rng.random(n) < 0.5) & (np.array(ops) == WRITE)).tolist()
    return [Operation(*row) for row in zip(times, keys, ops, times, sizes, bypasses, strict=True)]


LONG_TTLS = [0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 1000.0]


@pytest.mark.parametrize(("expiry", "writes"), MODES)
def test_equals_the_naive_cache_over_long_runs_and_several_parts(expiry, writes, monkeypatch):
    monkeypatch.setattr("statecache.study.replay.replaying._PART_EVENTS", 500)
    assert_equal_curves(long_stream(), LONG_TTLS, expiry, writes, armed=False)


@pytest.mark.parametrize(("expiry", "writes"), MODES)
def test_both_replays_agree_where_operations_take_no_time(expiry, writes, monkeypatch):
    modes = {"expiry": expiry, "writes": writes, "bypass_share": 0.5, "seed": 3}
    trace = trace_of(long_stream())
    at_once = hit_curve(trace, TTLS, **modes)
    monkeypatch.setattr(
        "statecache.study.replay.replaying.takes_effect_at_once", lambda trace: False
    )
    pd.testing.assert_frame_equal(at_once, hit_curve(trace, TTLS, **modes), rtol=1e-9)


# --- one case at a time -------------------------------------------------------------------------


def one(operations, ttl=10.0, **options):
    """Replay [(time_s, op) or (time_s, op, armed_s)] on one key; the row as a dict."""
    armed = any(len(operation) == 3 for operation in operations)
    codes = {"read": READ, "write": WRITE, "delete": DELETE}
    rows = [
        Operation(op[0], 0, codes[op[1]], op[2] if len(op) == 3 else op[0]) for op in operations
    ]
    return hit_curve(trace_of(rows, armed=armed), [ttl], **options).iloc[0].to_dict()


def test_an_access_hits_while_the_age_is_at_most_the_ttl():
    assert one([(0, "read"), (10, "read")])["hits"] == 1
    assert one([(0, "read"), (np.nextafter(10, 11), "read")])["hits"] == 0


def test_a_hit_arms_only_where_expiry_slides():
    reads = [(0, "read"), (9, "read"), (18, "read")]
    assert one(reads)["misses_expired"] == 1
    assert one(reads, expiry="sliding")["misses_expired"] == 0


def test_what_a_write_does():
    stream = [(0, "read"), (9, "write"), (18, "read")]
    assert one(stream, writes="through")["hits"] == 1
    assert one(stream, writes="invalidate")["misses_deleted"] == 1
    assert one(stream, writes="ignore")["misses_expired"] == 1


def test_a_deleted_state_is_missed_until_it_is_written_again():
    stream = [(0, "read"), (1, "delete"), (2, "read"), (3, "read"), (4, "write"), (5, "read")]
    row = one(stream)
    assert (row["misses_first"], row["misses_deleted"], row["hits"]) == (1, 2, 1)
    assert row["db_statements"] == 3 + 1 + 1
    row = one([*stream, (6, "read")], writes="ignore")
    assert (row["misses_first"], row["misses_deleted"], row["hits"]) == (1, 3, 1)


def test_live_keys_are_averaged_over_the_whole_time():
    assert one([(0, "read"), (40, "read")])["mean_live_keys"] == pytest.approx(10 / 40)
    assert one([(0, "write"), (4, "delete"), (40, "read")])["mean_live_keys"] == pytest.approx(0.1)


def test_an_entry_is_visible_and_ages_from_the_instant_it_was_armed():
    assert one([(0, "read", 2), (1, "read", 3), (12, "read", 12)])["misses_first"] == 2
    assert one([(0, "read", 2), (12, "read", 12)])["hits"] == 1
    assert one([(0, "read", 2), (12.5, "read", 13)])["misses_expired"] == 1


def test_until_a_write_arrives_readers_see_the_entry_before_it():
    row = one([(0, "write", 0), (9, "write", 12), (9.5, "read", 9.5), (11, "read", 11.5)])
    assert (row["hits"], row["misses_expired"]) == (1, 1)


def test_the_arming_that_arrives_last_counts():
    # the second write began later and arrived first: the age at 13 is that of the first, 5
    row = one([(0, "write", 8), (1, "write", 2), (13, "read", 13)])
    assert row["hits"] == 1


def test_a_fill_overtaken_by_a_delete_is_dropped():
    row = one([(0, "read", 5), (1, "delete", 2), (6, "read", 7)])
    assert (row["misses_first"], row["misses_deleted"], row["hits"]) == (1, 1, 0)


def test_the_rows_are_in_the_order_asked_for():
    stream = trace_of([Operation(0, 0, READ), Operation(3, 0, READ)], armed=False)
    curve = hit_curve(stream, iter([5, 1, np.inf, 5, 0]))
    assert curve["ttl_s"].tolist() == [5, 1, np.inf, 5, 0]
    assert curve["hits"].tolist() == [1, 0, 1, 1, 0]


def test_nothing_to_replay():
    empty = hit_curve(trace_of([], armed=False), [1.0])
    assert empty["reads"].tolist() == [0]
    assert empty[["hit_rate", "mean_live_keys"]].isna().all(axis=None)
    assert hit_curve(trace_of([Operation(0, 0, READ)], armed=False), []).empty


def test_keys_may_be_any_integers():
    rows = [Operation(*row) for row in ((0, 0, READ), (1, 1, READ), (2, 0, READ), (3, 1, WRITE))]
    far = [row._replace(key={0: -(2**62), 1: 2**62}[row.key]) for row in rows]
    near = hit_curve(trace_of(rows, armed=False), TTLS)
    pd.testing.assert_frame_equal(near, hit_curve(trace_of(far, armed=False), TTLS))


def test_column_types():
    curve = hit_curve(trace_of([Operation(0, 0, READ)], armed=False), [1])
    floats = {"ttl_s", "hit_rate", "stale_share"} | {c for c in curve if c.startswith("mean_")}
    assert {c: str(t) for c, t in curve.dtypes.items()} == {
        c: "float64" if c in floats else "int64" for c in curve
    }


@pytest.mark.parametrize("ttl", [-1.0, np.nan, "soon", None])
def test_a_ttl_that_is_none_is_refused(ttl):
    with pytest.raises(StudyError, match=r"^The TTLs? .*: give (0 )?seconds"):
        hit_curve(trace_of([], armed=False), [1.0, ttl])


def test_unknown_options_are_refused():
    with pytest.raises(StudyError, match=r"The expiry 'never' is unknown: use one of fixed, sli"):
        hit_curve(trace_of([], armed=False), [1.0], expiry="never")
    with pytest.raises(StudyError, match=r"The writes 'back' are unknown: use one of through, "):
        hit_curve(trace_of([], armed=False), [1.0], writes="back")


def test_kernels_run_where_no_folder_can_hold_their_machine_code(monkeypatch):
    from numba.core import caching

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])

    @jit.kernel(jit.FLOAT)
    def twice(x):
        return 2 * x

    assert twice(1.5) == 3.0


# --- published figures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expiry", "percent"),
    [
        ("fixed", [6.22, 14.15, 21.24, 30.33, 39.40, 45.46, 57.80]),
        ("sliding", [6.72, 15.52, 24.14, 34.07, 44.05, 50.45, 62.47]),
    ],
)
def test_weblog(expiry, percent):
    """The table of exact replays in research/ttl-models.md, to its last digit."""
    if not WEBLOG.exists():
        pytest.skip(f"{WEBLOG.name} is not in ../shared/data beside the repository")
    pairs = np.frombuffer(gzip.decompress(WEBLOG.read_bytes()), ">i4").reshape(-1, 2)
    trace = Trace(time_s=pairs[:, 0], key=pairs[:, 1], op=np.zeros(len(pairs), np.uint8))

    curve = hit_curve(trace, [10, 60, 180, 600, 1800, 3600, 14400], expiry=expiry)

    assert len(trace) == 116_215
    assert set(curve["misses_first"]) == {34_036}
    assert (100 * curve["hit_rate"]).tolist() == pytest.approx(percent, abs=0.005 + 1e-9)
