"""The replay agrees with a naive cache, one dict per TTL, and with published figures."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study import jit
from statecache.study.errors import StudyError
from statecache.study.replay import hit_curve
from statecache.study.traces import DELETE, READ, WRITE, Trace

DATA = Path(__file__).parents[4] / "shared" / "data"
WEBLOG = DATA / "weblog-424.slt.gz"

TTLS = [0.0, 0.5, 1.0, 2.0, 3.5, 7.0, 20.0, np.inf]


class NaiveCache:
    """The semantics of statecache.study.replay, operation by operation, for one TTL."""

    def __init__(self, ttl, expiry, writes, horizon):
        self.ttl, self.expiry, self.writes, self.horizon = ttl, expiry, writes, horizon
        self.armed = {}  # key -> instant
        self.ever_cached = set()
        self.removed = set()  # since armed last
        self.gone = set()  # from the database
        self.hits = self.first = self.expired = self.deleted = 0
        self.live_s = 0.0

    def look(self, key, now):
        if key in self.armed and now - self.armed[key] <= self.ttl:
            self.hits += 1
            if self.expiry == "sliding":
                self.arm(key, now)
            return True
        if key in self.removed:
            self.deleted += 1
        elif key in self.ever_cached:
            self.expired += 1
        else:
            self.first += 1
        return False

    def fill(self, key, now):
        if key not in self.gone:
            self.arm(key, now)

    def write(self, key, now):
        self.gone.discard(key)
        if self.writes == "through":
            self.arm(key, now)
        elif self.writes == "invalidate":
            self.remove(key, now)

    def delete(self, key, now):
        self.remove(key, now)
        self.removed.add(key)
        self.gone.add(key)

    def arm(self, key, now):
        self.end(key, now)
        self.armed[key] = now
        self.ever_cached.add(key)
        self.removed.discard(key)

    def remove(self, key, now):
        self.end(key, now)
        if key in self.ever_cached:
            self.removed.add(key)

    def end(self, key, now):
        if key in self.armed:
            since = self.armed.pop(key)
            self.live_s += max(0.0, min(self.ttl, min(now, self.horizon) - since))


def naive_curve(operations, ttls, expiry, writes):
    """``operations``: (time_s, key, op, armed_s or None), sorted by time."""
    happenings = []
    for place, (time_s, key, op, armed_s) in enumerate(operations):
        if op == READ:
            happenings.append((time_s, place, 0, key, op))
        happenings.append((time_s if armed_s is None else armed_s, place, 1, key, op))
    happenings.sort()
    horizon = operations[-1][0] if operations else 0.0
    duration = horizon - operations[0][0] if operations else 0.0

    return pd.DataFrame(
        naive_row(happenings, NaiveCache(ttl, expiry, writes, horizon), operations, duration)
        for ttl in ttls
    )


def naive_row(happenings, cache, operations, duration):
    missed = set()
    for now, place, is_effect, key, op in happenings:
        if op == READ and not is_effect:
            if not cache.look(key, now):
                missed.add(place)
        elif op == READ:
            if place in missed:
                cache.fill(key, now)
        elif op == WRITE:
            cache.write(key, now)
        else:
            cache.delete(key, now)
    for key in list(cache.armed):
        cache.end(key, cache.horizon)

    reads, writes, deletes = (
        sum(o[2] == code for o in operations) for code in (READ, WRITE, DELETE)
    )
    misses = cache.first + cache.expired + cache.deleted
    assert cache.hits + misses == reads
    return {
        "ttl_s": cache.ttl,
        "reads": reads,
        "writes": writes,
        "deletes": deletes,
        "hits": cache.hits,
        "hit_rate": cache.hits / reads if reads else np.nan,
        "misses_first": cache.first,
        "misses_expired": cache.expired,
        "misses_deleted": cache.deleted,
        "db_statements": misses + writes + deletes,
        "mean_live_keys": cache.live_s / duration if duration else np.nan,
    }


def trace_of(operations, *, armed):
    time_s, key, op, armed_s = zip(*operations, strict=True) if operations else ((), (), (), ())
    return Trace(
        time_s=np.array(time_s, dtype=float),
        key=np.array(key, dtype=np.int64),
        op=np.array(op, dtype=np.uint8),
        armed_s=np.array(armed_s, dtype=float) if armed else None,
    )


# Halves are exact in binary and few, so that ties in time and ages equal to a TTL are common;
# the tenths are not exact, so that an age computed in another way than now - armed is found out.
INSTANTS = st.one_of(
    st.integers(0, 24).map(lambda halves: halves / 2), st.integers(0, 40).map(lambda n: n / 10)
)
DELAYS = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 4.5])
OPERATION = st.sampled_from([READ, READ, READ, WRITE, WRITE, DELETE])


@st.composite
def streams(draw, *, delayed):
    rows = draw(st.lists(st.tuples(INSTANTS, st.integers(0, 2), OPERATION, DELAYS), max_size=30))
    rows.sort(key=lambda row: row[0])
    return [(t, key, op, t + delay if delayed else None) for t, key, op, delay in rows]


MODES = [(e, w) for e in ("fixed", "sliding") for w in ("through", "invalidate", "ignore")]


@pytest.mark.parametrize(("expiry", "writes"), MODES)
@given(operations=streams(delayed=False))
@settings(max_examples=60, deadline=None)
def test_equals_the_naive_cache(expiry, writes, operations):
    curve = hit_curve(trace_of(operations, armed=False), TTLS, expiry=expiry, writes=writes)
    pd.testing.assert_frame_equal(curve, naive_curve(operations, TTLS, expiry, writes), atol=1e-9)


@pytest.mark.parametrize(("expiry", "writes"), MODES)
@given(operations=streams(delayed=True))
@settings(max_examples=60, deadline=None)
def test_equals_the_naive_cache_where_operations_overlap(expiry, writes, operations):
    curve = hit_curve(trace_of(operations, armed=True), TTLS, expiry=expiry, writes=writes)
    pd.testing.assert_frame_equal(curve, naive_curve(operations, TTLS, expiry, writes), atol=1e-9)


@pytest.mark.parametrize(("expiry", "writes"), MODES)
def test_equals_the_naive_cache_over_long_runs_and_several_parts(expiry, writes, monkeypatch):
    """Long runs make the search take large steps, small parts make keys be divided up."""
    monkeypatch.setattr("statecache.study.replay._PART_EVENTS", 500)
    rng = np.random.default_rng(11)
    n = 4_000
    times = np.sort(rng.integers(0, 3_000, n) / 4)
    ops = rng.choice([READ, WRITE, DELETE], n, p=[0.97, 0.02, 0.01])
    keys = rng.choice(40, n, p=np.arange(40, 0, -1) / 820)
    operations = list(zip(times.tolist(), keys.tolist(), ops.tolist(), [None] * n, strict=True))
    ttls = [0, 0.25, 0.5, 1, 2, 5, 10, 30, 100, 1000]
    curve = hit_curve(trace_of(operations, armed=False), ttls, expiry=expiry, writes=writes)
    expected = naive_curve(operations, [float(ttl) for ttl in ttls], expiry, writes)
    pd.testing.assert_frame_equal(curve, expected, rtol=1e-12)


@pytest.mark.parametrize(("expiry", "writes"), MODES)
def test_both_replays_agree_where_operations_take_no_time(expiry, writes, monkeypatch):
    rng = np.random.default_rng(5)
    n = 2_000
    times = np.sort(rng.integers(0, 600, n) / 2)
    rows = list(zip(times, rng.integers(0, 9, n), rng.integers(0, 3, n), times, strict=True))
    at_once = hit_curve(trace_of(rows, armed=True), TTLS, expiry=expiry, writes=writes)
    monkeypatch.setattr("statecache.study.replay._takes_effect_at_once", lambda trace: False)
    overlapping = hit_curve(trace_of(rows, armed=True), TTLS, expiry=expiry, writes=writes)
    pd.testing.assert_frame_equal(at_once, overlapping, rtol=1e-12)


# --- one case at a time -------------------------------------------------------------------------


def one(operations, ttl=10.0, **options):
    """Replay [(time_s, op) or (time_s, op, armed_s)] on one key; the row as a dict."""
    armed = any(len(operation) == 3 for operation in operations)
    codes = {"read": READ, "write": WRITE, "delete": DELETE}
    rows = [(op[0], 0, codes[op[1]], op[2] if len(op) == 3 else op[0]) for op in operations]
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
    stream = trace_of([(0, 0, READ, None), (3, 0, READ, None)], armed=False)
    curve = hit_curve(stream, iter([5, 1, np.inf, 5, 0]))
    assert curve["ttl_s"].tolist() == [5, 1, np.inf, 5, 0]
    assert curve["hits"].tolist() == [1, 0, 1, 1, 0]


def test_nothing_to_replay():
    empty = hit_curve(trace_of([], armed=False), [1.0])
    assert empty["reads"].tolist() == [0]
    assert empty[["hit_rate", "mean_live_keys"]].isna().all(axis=None)
    assert hit_curve(trace_of([(0, 0, READ, None)], armed=False), []).empty


def test_keys_may_be_any_integers():
    rows = [(0, 0, READ, None), (1, 1, READ, None), (2, 0, READ, None), (3, 1, WRITE, None)]
    far = [(t, {0: -(2**62), 1: 2**62}[key], op, None) for t, key, op, _ in rows]
    near = hit_curve(trace_of(rows, armed=False), TTLS)
    pd.testing.assert_frame_equal(near, hit_curve(trace_of(far, armed=False), TTLS))


def test_column_types():
    curve = hit_curve(trace_of([(0, 0, READ, None)], armed=False), [1])
    floats = {"ttl_s", "hit_rate", "mean_live_keys"}
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
