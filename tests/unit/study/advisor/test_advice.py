"""Advice obeys its limits on random traces, judged by a naive cache, and says so if none can."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.naive_cache import Operation, naive_curve

from statecache.study.advisor import wording
from statecache.study.advisor.advice import Advice, advise, advise_by_curve
from statecache.study.advisor.curve import ENTRY_BYTES, Policy
from statecache.study.advisor.limits import LimitError, Limits
from statecache.study.advisor.summary import summary
from statecache.study.errors import StudyError
from statecache.study.traces import DELETE, READ, WRITE, Trace

POLICIES = st.sampled_from(
    [
        Policy(expiry=expiry, writes=writes)
        for expiry in ("fixed", "sliding")
        for writes in ("through", "invalidate", "ignore")
    ]
)


def none_or(values):
    return st.none() | values


LIMITS = st.fixed_dictionaries(
    {
        "max_db_qps": none_or(st.floats(0.05, 3)),
        "min_hit_rate": none_or(st.floats(0.05, 1)),
        "max_stale_s": none_or(st.floats(0.5, 50)),
        "max_memory_bytes": none_or(st.floats(50, 3_000)),
    }
)


@st.composite
def traces(draw):
    count = draw(st.integers(3, 12))
    times = [0, *sorted(draw(st.lists(st.integers(0, 60), min_size=count, max_size=count))), 60]
    operations = [
        Operation(
            float(time_s),
            draw(st.integers(0, 2)),
            draw(st.sampled_from([READ, READ, READ, WRITE, DELETE])),
            size=draw(st.integers(0, 200)),
        )
        for time_s in times
    ]
    operations[0] = operations[0]._replace(op=READ)
    return operations


def trace_of(operations) -> Trace:
    return Trace(
        time_s=np.array([one.time_s for one in operations]),
        key=np.array([one.key for one in operations]),
        op=np.array([one.op for one in operations], dtype=np.uint8),
        size=np.array([one.size for one in operations]),
    )


def oracle_meets(operations, ttls, policy: Policy, limits: Limits) -> list[bool]:
    """Whether each TTL meets all limits, from the counts of the naive cache."""
    curve = naive_curve(operations, ttls, policy.expiry, policy.writes)
    duration = operations[-1].time_s - operations[0].time_s
    found = []
    for row in curve.itertuples():
        memory = row.mean_live_bytes + ENTRY_BYTES * row.mean_live_keys
        checks = [
            limits.max_db_qps is None or row.db_statements / duration <= limits.max_db_qps,
            limits.min_hit_rate is None or row.hits / row.reads >= limits.min_hit_rate,
            limits.max_stale_s is None or row.ttl_s <= limits.max_stale_s,
            limits.max_memory_bytes is None or memory <= limits.max_memory_bytes,
        ]
        found.append(all(checks))
    return found


@given(traces(), LIMITS, POLICIES)
@settings(max_examples=25, deadline=None)
def test_advice_obeys_its_limits_and_gives_up_exactly_if_no_ttl_meets_them(
    operations, given_limits, policy
) -> None:
    if policy.expiry == "sliding":
        given_limits = given_limits | {"max_stale_s": None}
    limits = Limits(**given_limits)
    advice = advised_by_curve(trace_of(operations), limits, policy)
    ttls = advice.choice.curve["ttl_s"].tolist()
    meets = oracle_meets(operations, ttls, policy, limits)
    assert advice.feasible == any(meets)
    if advice.feasible:
        assert meets[ttls.index(advice.ttl_s)]
        assert wording.shortfall_sentences(advice) == []
    for exclusion in advice.choice.exclusions:
        for begin, end in exclusion.stretches:
            excluded = [met for ttl, met in zip(ttls, meets, strict=True) if begin <= ttl <= end]
            assert excluded
            assert not any(excluded)
    assert "TTL" in wording.headline(advice)
    json.dumps(summary(advice), allow_nan=False)


def advised_by_curve(trace: Trace, limits: Limits, policy: Policy) -> Advice:
    return advise_by_curve(
        policy.replayed(trace),
        operations=len(trace),
        keys=3,
        duration_s=trace.duration_s,
        limits=limits,
        policy=policy,
    )


def two_reads_a_minute_apart() -> Trace:
    """One key read every 60 s, another one once."""
    times = np.array([*np.arange(0.0, 1_200, 60), 1_200.0])
    return Trace(
        time_s=times,
        key=np.array([0] * 20 + [1]),
        op=np.zeros(21, dtype=np.uint8),
        size=np.full(21, 100),
    )


def advised(**limits: float) -> Advice:
    return advise(two_reads_a_minute_apart(), Limits(**limits))


def test_limits_that_exclude_each_other_are_told_with_what_is_missing() -> None:
    advice = advised(min_hit_rate=0.5, max_stale_s=30)
    assert not advice.feasible
    assert advice.ttl_s not in {30.0}, "between the limits one misses both by less"
    by_name = {one.limit.what: one for one in advice.choice.shortfalls}
    assert by_name["hit rate"].best == 0.0
    assert by_name["hit rate"].by == pytest.approx(0.5)
    assert 60 < by_name["staleness"].ttl_s < 130, "a TTL that reaches half of the reads"
    assert "short of at least 50.0 %" in wording.shortfall_sentences(advice)[0]


def test_a_limit_that_nothing_reaches_says_what_the_best_is() -> None:
    advice = advised(min_hit_rate=0.99)
    (short,) = advice.choice.shortfalls
    assert short.best == pytest.approx(19 / 21)
    assert wording.shortfall_sentences(advice)[0].startswith("Under any TTL, hit rate comes to at")
    assert wording.exclusion_sentences(advice) == [
        "Hit rate of at least 99.0 %: excludes every TTL."
    ]


@pytest.mark.parametrize("limits", [{}, {"min_hit_rate": 0.5}, {"max_db_qps": 1e-6}])
def test_every_sentence_can_be_said(limits: dict[str, float]) -> None:
    advice = advised(**limits)
    said = [
        wording.headline(advice),
        *wording.exclusion_sentences(advice),
        *wording.shortfall_sentences(advice),
        wording.wrong_sentence(advice),
        wording.halves_sentence(advice),
        wording.groups_sentence(advice),
        wording.adaptive_sentence(advice),
        wording.scope_sentence(advice),
    ]
    assert all(sentence and "nan" not in sentence for sentence in said)
    json.dumps(summary(advice), allow_nan=False)


def test_limits_pull_the_choice_no_further_from_the_knee_than_they_must() -> None:
    free = advised()
    assert free.ttl_s == free.choice.knee_s
    floor = advised(min_hit_rate=19 / 21)
    assert floor.feasible
    meeting = floor.choice.curve.loc[floor.choice.curve["meets"], "ttl_s"]
    assert floor.ttl_s == meeting.min(), "the shortest that gets all there is"
    capped = advised(max_stale_s=45)
    assert capped.ttl_s == 45, "a bound in seconds is on the grid"


def test_wrong_by_two_shows_half_and_double_and_which_limit_they_break() -> None:
    advice = advised(max_stale_s=100)
    half, one, twice = advice.around["ttl_s"]
    assert one == advice.ttl_s
    assert half == pytest.approx(one / 2, rel=0.01)
    assert twice == pytest.approx(one * 2, rel=0.01)
    assert "beyond the limit on staleness" in wording.wrong_sentence(advice)


def test_the_configuration_is_taken_by_the_manager() -> None:
    from statecache import CacheConfig

    advice = advised()
    variable, _, value = advice.configuration.partition("=")
    assert CacheConfig.from_env({variable: value}).ttl_secs == advice.ttl_s


@pytest.mark.parametrize(
    ("limits", "policy", "says"),
    [
        ({"max_stale_share": 0.01}, Policy(), "bypass-share"),
        ({"max_stale_s": 30}, Policy(expiry="sliding"), "never expires"),
        ({"max_memory_bytes": 1e6}, Policy(), "bytes of a state"),
    ],
)
def test_a_limit_without_an_answer_is_refused(limits, policy, says) -> None:
    with_sizes = two_reads_a_minute_apart()
    trace = Trace(time_s=with_sizes.time_s, key=with_sizes.key, op=with_sizes.op)
    with pytest.raises(LimitError, match=says):
        advise(trace, Limits(**limits), policy)


def test_a_trace_without_reads_or_time_is_refused() -> None:
    write = np.full(2, WRITE, dtype=np.uint8)
    with pytest.raises(StudyError, match="no reads"):
        advise(Trace(time_s=np.array([0.0, 9.0]), key=np.zeros(2, int), op=write))
    with pytest.raises(StudyError, match="no time"):
        advise(Trace(time_s=np.zeros(2), key=np.zeros(2, int), op=write))


def test_share_of_stale_hits_is_a_ceiling_for_the_ttl() -> None:
    draw = np.random.default_rng(1)
    trace = Trace(
        time_s=np.sort(draw.uniform(0, 5_000, 20_000)),
        key=draw.integers(0, 50, 20_000),
        op=(draw.random(20_000) < 0.2).astype(np.uint8),
    )
    policy = Policy(bypass_share=0.1)
    budget = 0.06  # the closed form for these rates: w = .016/s, reached at about 50 s
    advice = advise(trace, Limits(max_stale_share=budget), policy)
    assert advice.feasible
    assert advice.choice.row["stale_share"] <= budget
    (exclusion,) = advice.choice.exclusions
    assert math.isclose(exclusion.stretches[-1][1], advice.choice.curve["ttl_s"].iloc[-1])
    assert exclusion.stretches[-1][0] > advice.ttl_s
