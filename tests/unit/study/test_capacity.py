from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.capacity import find_capacity, threshold
from statecache.study.intervals import ratio_interval

RATES = [100.0, 200.0, 400.0, 800.0]


def ladder(*blocks: list[float], failed: set[tuple[int, float]] | None = None) -> pd.DataFrame:
    """Return a ladder from each block's latencies in ms."""
    rows = [
        {
            "block": block,
            "offered_s": rate,
            "latency_us": 1_000 * latency,
            "failed": (block, rate) in (failed or set()),
        }
        for block, latencies in enumerate(blocks)
        for rate, latency in zip(RATES, latencies, strict=True)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def test_a_threshold_between_two_rungs_by_hand() -> None:
    # From half the limit at 200 to twice the limit at 400: half way in logarithms, 200 · sqrt 2.
    assert threshold(RATES, [0.1, 0.5, 2.0, 9.0]) == pytest.approx(200 * math.sqrt(2))
    assert threshold(RATES, [0.1, 1.0, 2.0, 9.0]) == pytest.approx(200)


def test_rungs_in_the_wrong_order_are_pooled() -> None:
    # 2 at 200 and .5 at 400 pool to 1 at both, so 400 is still sustained.
    assert threshold(RATES, [0.1, 2.0, 0.5, 9.0]) == pytest.approx(400)


def test_both_ends_of_the_ladder() -> None:
    assert threshold(RATES, [0.1, 0.2, 0.3, 0.9]) == math.inf
    assert threshold(RATES, [1.1, 2.0, 3.0, 4.0]) == 0.0


OVERRUNS = st.lists(st.floats(0.01, 100), min_size=2, max_size=8)


@settings(deadline=None)
@given(OVERRUNS, st.data())
def test_more_latency_never_raises_the_threshold(overruns: list[float], data) -> None:
    rates = [100 * 1.5**n for n in range(len(overruns))]
    worse = list(overruns)
    place = data.draw(st.integers(0, len(worse) - 1))
    worse[place] *= data.draw(st.floats(1, 50))
    assert threshold(rates, worse) <= threshold(rates, overruns) * (1 + 1e-9)


@settings(deadline=None)
@given(OVERRUNS, st.floats(0.1, 10))
def test_another_unit_of_the_rates_changes_the_unit_only(
    overruns: list[float], factor: float
) -> None:
    rates = [100 * 1.5**n for n in range(len(overruns))]
    scaled = threshold([rate * factor for rate in rates], overruns)
    assert scaled == pytest.approx(threshold(rates, overruns) * factor)


def test_the_capacity_is_the_mean_of_the_blocks_with_its_interval() -> None:
    found = find_capacity(ladder([5, 25, 100, 450], [5, 50, 100, 450]), limit_us=50_000, level=0.9)
    by_block = {0: 200 * math.sqrt(2), 1: 200.0}
    assert found.by_block == pytest.approx(by_block)
    assert found.interval == pytest.approx(ratio_interval([*by_block.values()], [1.0, 1.0], 0.9))
    assert (found.above, found.below, found.sign) == (0, 0, "")


def test_a_rung_that_failed_otherwise_is_not_sustained_whatever_its_latency() -> None:
    quick = [5.0, 5.0, 5.0, 5.0]
    found = find_capacity(ladder(quick, failed={(0, 800.0)}), limit_us=50_000)
    assert 400 < found.by_block[0] < 800
    found = find_capacity(
        ladder([5.0, 5.0, math.nan, 5.0], failed={(0, 400.0), (0, 800.0)}), limit_us=50_000
    )
    assert 200 < found.by_block[0] < 400


def test_what_lies_beyond_the_ladder_is_said() -> None:
    all_sustained, none_sustained = [1.0, 2, 3, 4], [60.0, 70, 80, 90]
    found = find_capacity(ladder(all_sustained, [5, 25, 100, 450]), limit_us=50_000)
    assert (found.above, found.below, found.sign) == (1, 0, "≥")
    assert found.by_block[0] == 800
    found = find_capacity(ladder(none_sustained), limit_us=50_000)
    assert (found.above, found.below, found.sign) == (0, 1, "≤")
    assert found.interval.mean == pytest.approx(100)
    assert math.isnan(found.interval.low)
    both = find_capacity(ladder(all_sustained, none_sustained), limit_us=50_000)
    assert both.sign == "?"


def test_blocks_of_different_rungs_are_refused() -> None:
    rungs = ladder([5, 25, 100, 450], [5, 50, 100, 450])
    with pytest.raises(ValueError, match="same rungs"):
        find_capacity(rungs.iloc[:-1], limit_us=50_000)
    with pytest.raises(ValueError, match="must be a block"):
        find_capacity(rungs.iloc[:0], limit_us=50_000)


def test_a_known_capacity_is_covered_at_the_level() -> None:
    # Latency in a queue: 10 ms / (1 − load), p99 50 ms at a load of .8 of 1,000/s. 8 blocks with
    # 15 % noise, 1,000 times; the fit's bias between rungs is small beside it. Covered with 95 %
    # the share has a standard deviation of .7 points: 90 % is 7 of them away, the seed is fixed.
    rng = np.random.default_rng(4)
    rates = np.geomspace(500, 950, 12)
    blocks, rungs = np.divmod(np.arange(8 * 12), 12)
    covered = 0
    for _ in range(300):
        latency = 10_000 / (1 - rates[rungs] / 1_000) * np.exp(rng.normal(0, 0.15, len(rungs)))
        frame = pd.DataFrame(
            {"block": blocks, "offered_s": rates[rungs], "latency_us": latency, "failed": False}
        )
        interval = find_capacity(frame, limit_us=50_000).interval
        covered += interval.low <= 800 <= interval.high
    assert covered >= 270
