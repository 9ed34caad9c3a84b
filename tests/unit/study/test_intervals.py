from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from statecache.study.intervals import Interval, mean_interval

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)


def test_by_hand() -> None:
    # Mean 2, standard deviation 1, and t(.975, 2) = 4.302653 by the table.
    reach = 4.302653 / 3**0.5
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - reach, 2 + reach), abs=1e-6)
    # t(.9, 1) = 3.077684
    reach = 3.077684 * 0.5
    assert mean_interval([1.0, 2.0], level=0.8) == pytest.approx(
        (1.5, 1.5 - reach, 1.5 + reach), abs=1e-6
    )


def test_one_value_has_no_limits() -> None:
    mean, low, high = mean_interval([0.7])
    assert mean == 0.7
    assert math.isnan(low)
    assert math.isnan(high)


def test_it_is_made_of_plain_numbers() -> None:
    interval = mean_interval(np.array([1.0, 2.0]).tolist())
    assert isinstance(interval, Interval)
    assert {type(part) for part in interval} == {float}


def test_it_holds_its_level_for_three_values() -> None:
    # How many of 20,000 intervals cover is binomial with p = .95: a standard deviation of
    # sqrt(.95 · .05 / 20,000) = .00154 of the share. The tolerance of .008 is 5.19 of them:
    # a right interval fails with a probability of 2.1e-7. (An interval with the normal's
    # quantile covers .81, one with ddof=0 .93.)
    samples = np.random.default_rng(20130204).normal(5.0, 2.0, (20_000, 3))
    covered = 0
    for sample in samples:
        _mean, low, high = mean_interval(sample.tolist())
        covered += low <= 5.0 <= high
    assert covered / len(samples) == pytest.approx(0.95, abs=0.008)


@settings(deadline=None)
@given(NUMBERS, st.floats(-1e3, 1e3))
def test_a_shift_of_the_values_shifts_it(values: list[float], shift: float) -> None:
    shifted = mean_interval([value + shift for value in values])
    expected = tuple(part + shift for part in mean_interval(values))
    assert shifted == pytest.approx(expected, rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(NUMBERS, st.floats(-1e2, 1e2))
def test_another_unit_changes_nothing_but_the_unit(values: list[float], factor: float) -> None:
    mean, low, high = mean_interval(values)
    scaled = mean_interval([value * factor for value in values])
    low, high = sorted((low * factor, high * factor))
    assert scaled == pytest.approx((mean * factor, low, high), rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(NUMBERS)
def test_it_lies_around_the_mean_and_widens_with_the_level(values: list[float]) -> None:
    assume(max(values) - min(values) > 1e-3)
    narrow, wide = mean_interval(values, 0.5), mean_interval(values, 0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert narrow.mean == wide.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert narrow.high - narrow.mean == pytest.approx(narrow.mean - narrow.low)


@settings(deadline=None)
@given(NUMBERS)
def test_the_order_of_the_values_does_not_matter(values: list[float]) -> None:
    assert mean_interval(sorted(values)) == pytest.approx(mean_interval(values), abs=1e-9)
