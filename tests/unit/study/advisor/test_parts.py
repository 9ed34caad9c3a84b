"""What comes after a beginning, adaptive TTLs and groups, against naive replays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.naive_cache import Operation, replayed

from statecache.study.advisor.adaptive import live_adaptively
from statecache.study.advisor.advice import advise
from statecache.study.advisor.curve import Policy
from statecache.study.advisor.groups import by_prefix, by_reads, own_ttls
from statecache.study.advisor.halves import compare_halves
from statecache.study.advisor.limits import Limits
from statecache.study.advisor.parts import after, before, of_operations, span
from statecache.study.advisor.peaks import busiest_minute, statements_over_time
from statecache.study.replay import hit_curve
from statecache.study.traces import DELETE, READ, WRITE, Trace

TTLS = np.array([0.5, 1.0, 3.0, 7.0, 20.0])


@st.composite
def operations(draw):
    count = draw(st.integers(2, 40))
    times = sorted(draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    return [
        Operation(
            float(time_s),
            draw(st.integers(0, 3)),
            draw(st.sampled_from([READ, READ, WRITE, DELETE])),
            size=draw(st.integers(0, 9)),
        )
        for time_s in times
    ]


def trace_of(ops) -> Trace:
    return Trace(
        time_s=np.array([one.time_s for one in ops]),
        key=np.array([one.key for one in ops]),
        op=np.array([one.op for one in ops], dtype=np.uint8),
        size=np.array([one.size for one in ops]),
    )


@given(operations(), st.integers(1, 39))
@settings(max_examples=30, deadline=None)
def test_what_comes_after_starts_with_the_cache_as_it_was(ops, cut) -> None:
    trace = trace_of(ops)
    begin, end = span(trace)
    middle = min(max(begin, cut + 0.5), end)
    policy = Policy()
    first = policy.tally(before(trace, middle), TTLS, (begin, middle))
    rest = after(policy.tally(trace, TTLS), first)
    early = [one for one in ops if one.time_s < middle]
    for place, ttl in enumerate(TTLS):
        hits = replayed(ops, ttl, "fixed", "through").hits
        hits -= replayed(early, ttl, "fixed", "through").hits
        reads = sum(one.op == READ for one in ops[len(early) :])
        row = policy.curve(rest).iloc[place]
        assert (row["reads"], row["hits"]) == (reads, hits)
    assert (rest.live_key_s >= -1e-9).all()


@given(operations(), st.sampled_from([1.0, 3.0, 7.0]))
@settings(max_examples=30, deadline=None)
def test_adaptive_ttls_are_the_one_ttl_as_long_as_nothing_is_known(ops, ttl_s) -> None:
    few = [one for place, one in enumerate(ops) if sum(o.key == one.key for o in ops[:place]) < 15]
    trace = trace_of(few)
    lived = live_adaptively(trace, ttl_s, 0.8, None, span(trace))
    (row,) = hit_curve(trace, [ttl_s]).to_dict("records")
    assert lived.db_statements == row["db_statements"]
    if row["reads"]:
        assert lived.hit_rate == pytest.approx(row["hit_rate"])
    if trace.duration_s:
        assert lived.live_keys == pytest.approx(row["mean_live_keys"])


def two_kinds(seed: int = 3) -> Trace:
    """A few keys read all the time, with a long rhythm, and many that come twice in a second."""
    draw = np.random.default_rng(seed)
    steady = np.arange(0.0, 6_000, 1.0)
    steady_keys = np.arange(steady.size) % 60  # each once a minute
    bursts = np.repeat(draw.uniform(0, 6_000, 3_000), 2) + np.tile([0.0, 0.5], 3_000)
    names = [f"hot:{number}" for number in range(60)] + [
        f"rare:{number}" for number in range(3_000)
    ]
    return Trace(
        time_s=np.concatenate([steady, bursts]),
        key=np.concatenate([steady_keys, 60 + np.repeat(np.arange(3_000), 2)]),
        op=np.zeros(12_000, dtype=np.uint8),
        keys=np.array(names, dtype=object),
    )


def test_groups_gain_where_one_ttl_is_a_compromise() -> None:
    trace = two_kinds()
    grouping = by_prefix(trace)
    assert grouping is not None
    ttls = np.array([0.6, 1.0, 5.0, 20.0, 61.0, 300.0])
    groups = own_ttls(trace, grouping, Policy(), limits=Limits(), ttls=ttls, ttl_s=61.0)
    table = groups.table.set_index("group")
    assert groups.worth_it
    assert table.loc["rare", "ttl_s"] < table.loc["hot", "ttl_s"]
    assert groups.memory <= groups.memory_one
    assert groups.saved_memory > 0.15
    for name, row in table.iterrows():
        own = of_operations(
            trace, np.array([key.startswith(name) for key in trace.keys[trace.key]])
        )
        assert row["hit_rate"] == pytest.approx(hit_curve(own, [row["ttl_s"]])["hit_rate"].iloc[0])


def test_groups_keep_to_seconds_of_staleness() -> None:
    trace, limits = two_kinds(), Limits(max_stale_s=20)
    grouping = by_prefix(trace)
    assert grouping is not None
    ttls = np.array([0.6, 1.0, 5.0, 20.0, 61.0, 300.0])
    groups = own_ttls(trace, grouping, Policy(), limits=limits, ttls=ttls, ttl_s=20.0)
    assert groups.table["ttl_s"].max() <= 20


def test_groups_by_reads_know_only_the_first_half() -> None:
    time_s = np.array([0.0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15])
    key = np.array([7, 7, 7, 7, 8, 8, 9, 9, 9, 9, 9])
    found = by_reads(Trace(time_s=time_s, key=key, op=np.zeros(11, dtype=np.uint8)))
    assert found is not None
    by_key = {int(k): found.names[group] for k, group in zip(key, found.group, strict=True)}
    assert by_key == {7: "most read", 8: "rarely read", 9: "not read before"}


def test_prefixes_need_more_than_a_key_each() -> None:
    names = np.array(["a:1", "b:1", "c:1"], dtype=object)
    trace = Trace(
        time_s=np.arange(3.0), key=np.arange(3), op=np.zeros(3, dtype=np.uint8), keys=names
    )
    assert by_prefix(trace) is None


def test_a_stream_that_changes_shows_what_learning_from_its_first_half_costs() -> None:
    """Every key a minute apart at first, then ten minutes apart: the rhythm was learnt wrongly."""
    early, late = np.arange(0.0, 6_000, 60), np.arange(6_000.0, 12_001, 600)
    time_s = np.concatenate([early, late])
    keys = np.arange(20)
    trace = Trace(
        time_s=np.repeat(time_s, 20),
        key=np.tile(keys, time_s.size),
        op=np.zeros(20 * time_s.size, dtype=np.uint8),
    )
    advice = advise(trace)
    halves = compare_halves(trace, Policy(), Limits(), advice.choice.curve["ttl_s"].to_numpy())
    assert halves is not None
    assert 60 <= halves.first.ttl_s < 200
    assert halves.second.ttl_s > 500
    assert halves.regret > 0.6, "the first TTL catches next to nothing there"
    assert halves.more_statements > 3


@given(
    operations(),
    st.sampled_from([0.5, 3.0, 7.0]),
    st.sampled_from(["fixed", "sliding"]),
    st.sampled_from(["through", "invalidate", "ignore"]),
)
@settings(max_examples=60, deadline=None)
def test_statements_over_time_are_those_of_the_replay(ops, ttl_s, expiry, writes) -> None:
    trace, policy = trace_of(ops), Policy(expiry=expiry, writes=writes)
    counts = statements_over_time(trace, policy, ttl_s, 5.0)
    (row,) = hit_curve(trace, [ttl_s], expiry=expiry, writes=writes).to_dict("records")
    assert counts.sum() == row["db_statements"]
    begin, _ = span(trace)
    early = [one for one in ops if one.time_s < begin + 5.0]
    first = replayed(early, ttl_s, expiry, writes)
    assert counts[0] == len(early) - first.hits


def test_the_busiest_minute_is_a_rate() -> None:
    time_s = np.concatenate([np.arange(0.0, 600, 10), np.arange(300.0, 360, 0.5) + 0.01])
    trace = Trace(
        time_s=time_s, key=np.arange(time_s.size), op=np.zeros(time_s.size, dtype=np.uint8)
    )
    assert busiest_minute(trace, Policy(), 30.0) == pytest.approx((120 + 6) / 60)
    assert busiest_minute(trace, Policy(sample=0.1), 30.0) == pytest.approx((120 + 6) / 6)
