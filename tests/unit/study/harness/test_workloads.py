from __future__ import annotations

from collections import Counter

import pytest

from statecache.study.harness.workloads import Workload, make_plan, popular_ids, trigger_ids
from statecache.study.traces import WRITE

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
