from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.codec import check_trigger_id
from statecache.study.errors import StudyError
from statecache.study.harness.documents import document, trigger_ids
from statecache.study.harness.workloads import (
    Arrivals,
    Plan,
    Workload,
    arrivals,
    make_plan,
    popular_ids,
    recorded_arrivals,
    trace_plan,
)
from statecache.study.traces import DELETE, READ, WRITE, Trace

IDS = trigger_ids(1_000)
ZIPF = Workload(keys=1_000)
UNIFORM = Workload(keys=1_000, popularity="uniform")


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert make_plan(ZIPF, 7, 500) == make_plan(ZIPF, 7, 500)
    assert make_plan(ZIPF, 7, 500) != make_plan(ZIPF, 8, 500)


def test_zipf_uses_the_most_popular_id_as_often_as_its_weight_says() -> None:
    plan = make_plan(ZIPF, 7, 100_000)
    # 1 / sum of rank^-1.2 over 1,000 ranks; the standard deviation of the share is .0013.
    weight = 1 / sum(rank**-1.2 for rank in range(1, 1_001))
    (name, uses), (_second, second_uses) = Counter(plan.ids).most_common(2)
    assert uses / 100_000 == pytest.approx(weight, abs=0.007)
    assert uses / second_uses == pytest.approx(2**1.2, rel=0.1)
    assert name != IDS[0], "which one is popular has nothing to do with the order of ids"


def test_uniform_uses_all_alike() -> None:
    uses = Counter(make_plan(UNIFORM, 7, 100_000).ids)
    assert len(uses) == len(IDS)
    assert max(uses.values()) < 170  # 100 expected, 7 standard deviations


def test_the_share_of_writes_is_kept() -> None:
    plan = make_plan(ZIPF, 7, 100_000)
    assert plan.operations.count(WRITE) / 100_000 == pytest.approx(0.2, abs=0.008)


def test_popular_ids_go_from_the_most_popular_to_rare_ones() -> None:
    plan = make_plan(ZIPF, 7, 100_000)
    uses = Counter(plan.ids)
    chosen = popular_ids(plan, 10)
    assert len(set(chosen)) == 10
    assert chosen[0] == uses.most_common(1)[0][0]
    counts = [uses[one] for one in chosen]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 50


def test_a_hot_set_gets_its_share() -> None:
    workload = Workload(keys=1_000, popularity="hot", hot_keys=0.01, hot_share=0.9)
    uses = Counter(make_plan(workload, 7, 100_000).ids)
    # 90 % of 100,000 in ten keys; the standard deviation is 95.
    assert sum(count for _id, count in uses.most_common(10)) == pytest.approx(90_000, abs=700)


def test_deletes_and_sizes_are_drawn_as_asked() -> None:
    workload = Workload(read_share=0.5, delete_share=0.1, size_bytes=2_000, size_sigma=0.5)
    plan = make_plan(workload, 7, 50_000)
    assert plan.operations.count(DELETE) / 50_000 == pytest.approx(0.1, abs=0.01)
    assert plan.operations.count(WRITE) / 50_000 == pytest.approx(0.4, abs=0.016)
    assert plan.sizes is not None
    logs = np.log(plan.sizes)
    # Standard errors .0028 and .0016: seven of them.
    assert np.median(logs) == pytest.approx(np.log(2_000), abs=0.02)
    assert logs.std() == pytest.approx(0.5, abs=0.012)


@given(size=st.integers(0, 5_000), number=st.integers(0, 1 << 40))
def test_a_document_has_its_size_and_its_number(size: int, number: int) -> None:
    encoded = orjson.dumps(document(number, size))
    assert orjson.loads(encoded)["count"] == number
    # The number's own digits, and the member that fills up.
    assert max(size, 150) - 10 <= len(encoded) <= max(size, 200) + 20


@pytest.mark.parametrize("kind", ["poisson", "constant"])
def test_arrivals_are_in_order_within_the_time_and_the_same_for_the_same_seed(
    kind: Arrivals,
) -> None:
    due = arrivals(kind, 500.0, 20.0, seed=3)
    assert (np.diff(due) >= 0).all()
    assert due[0] >= 0
    assert due[-1] < 20.0
    assert len(due) == pytest.approx(10_000, abs=700)  # 7 standard deviations of 100
    assert (due == arrivals(kind, 500.0, 20.0, seed=3)).all()


def test_poisson_gaps_vary_as_much_as_they_last() -> None:
    gaps = np.diff(arrivals("poisson", 1_000.0, 50.0, seed=3))
    # Of 50,000 gaps the ratio's standard error is .0045.
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)


def test_a_trace_becomes_its_own_requests() -> None:
    trace = Trace(
        time_s=np.array([10.0, 11.0, 12.0]),
        key=np.array([1, 0, 1], dtype=np.int32),
        op=np.array([READ, WRITE, DELETE], dtype=np.uint8),
        keys=np.array(["a", "b"], dtype=object),
        size=np.array([0, 500, 0]),
    )
    plan = trace_plan(trace)
    assert plan.ids == ["b", "a", "b"]
    assert list(plan.operations) == [READ, WRITE, DELETE]
    assert plan.sizes == [0, 500, 0]
    assert plan.times_s is not None
    assert plan.times_s.tolist() == [10.0, 11.0, 12.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": 0},
        {"read_share": 0.9, "delete_share": 0.2},
        {"hot_share": 1.5},
        {"popularity": "pareto"},
        {"size_bytes": 2 << 20},
        {"size_sigma": -1.0},
        {"zipf_exponent": float("nan")},
    ],
)
def test_a_workload_that_cannot_be_is_refused_in_one_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"^[^\n]+: take [^\n]+\.$"):
        Workload(**wrong)


def test_no_arrival_at_all_is_refused() -> None:
    with pytest.raises(StudyError, match="no request starts"):
        arrivals("poisson", 1e-9, 0.001, seed=1)


def test_absent_keys_have_no_state_and_are_only_loaded() -> None:
    workload = Workload(keys=1_000, read_share=1.0, absent_share=0.25)
    assert workload.loaded_ids == IDS[:750]
    with pytest.raises(StudyError, match="absent_share"):
        Workload(keys=10, absent_share=0.25)
    with pytest.raises(StudyError, match="absent_share"):
        Workload(keys=10, read_share=1.0, absent_share=1.5)


def test_a_recorded_stream_is_its_own_plan(tmp_path: Path) -> None:
    path = tmp_path / "stream.parquet"
    columns = {"time_s": [0.0, 1.0, 2.0], "key": ["b", "a", "b"], "op": ["read", "write", "delete"]}
    pd.DataFrame(columns).to_parquet(path)
    workload = Workload(trace=str(path))
    assert workload.ids == ["b", "a"]
    assert workload.may_be_absent
    plan = make_plan(workload, seed=1)
    assert (plan.ids, list(plan.operations)) == (["b", "a", "b"], [READ, WRITE, DELETE])


def recorded(times: list[float], keys: list[str] | None = None) -> Plan:
    count = len(times)
    return trace_plan(
        Trace(
            time_s=np.array(times),
            key=np.arange(count, dtype=np.int32),
            op=np.zeros(count, dtype=np.uint8),
            keys=np.array(keys or [f"k{number}" for number in range(count)], dtype=object),
        )
    )


@given(
    gaps=st.lists(st.integers(0, 1_000), min_size=2, max_size=50).filter(any),
    rate=st.floats(1, 1e4),
    place=st.floats(0, 0.999),
)
def test_recorded_arrivals_keep_their_rhythm_at_the_rate_asked_for(
    gaps: list[int], rate: float, place: float
) -> None:
    times = np.cumsum([0, *gaps]).astype(float)
    plan, offset = recorded(times.tolist()), int(place * len(times))
    # One round and no more; of those at the same instant as its first the earlier ones are next.
    period = len(times) / rate
    due = recorded_arrivals(plan, rate, period * (1 - 1e-9), offset)
    assert due[0] == 0
    assert len(due) == len(times) - np.count_nonzero(times[:offset] == times[offset])
    factor = period * len(gaps) / len(times) / times[-1]
    later = due[: len(times) - offset]
    assert later == pytest.approx(factor * (times[offset:] - times[offset]), abs=1e-9 * period)


def test_what_was_never_recorded_has_no_rhythm() -> None:
    for plan in (make_plan(Workload(keys=3), seed=1), recorded([5.0, 5.0])):
        with pytest.raises(StudyError, match="no recorded times"):
            recorded_arrivals(plan, 100.0, 1.0, 0)


def test_names_that_no_trigger_may_have_get_one_of_their_own() -> None:
    names = ["fine", "", "nul\0", "x" * 513, "\ud800", "new\nline", "ü" * 256]
    ids = recorded([float(number) for number in range(len(names))], names).ids
    assert ids[0] == "fine"
    assert ids[-1] == names[-1]
    assert len(set(ids)) == len(names)
    for trigger_id in ids:
        check_trigger_id(trigger_id)
