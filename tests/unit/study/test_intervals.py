from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from statecache.study.intervals import (
    Interval,
    LogRatio,
    holm,
    mean_interval,
    ratio_interval,
    share_interval,
)

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)
POSITIVE = st.floats(0.1, 10)
PAIRS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=2, max_size=9)
#: Significance level of the tests.
ALPHA = 0.05


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


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], level)


def test_limits_of_shares_stay_shares() -> None:
    plain = mean_interval([0.4, 0.5, 0.6], 0.9)
    assert share_interval([0.4, 0.5, 0.6], 0.9) == plain
    wide = share_interval([0.2, 0.9], 0.99)
    assert wide == (pytest.approx(0.55), 0.0, 1.0)
    assert math.isnan(share_interval([0.5]).low)


# Ratios


def test_a_ratio_by_hand() -> None:
    # Logs 0, ln 4: mean ln 2; s = ln 4 / sqrt 2, t(.975, 1) = 12.7062.
    mean, low, high = ratio_interval([3.0, 20.0], [3.0, 5.0])
    reach = 12.7062 * math.log(4) / 2
    assert mean == pytest.approx(2.0)
    assert (low, high) == pytest.approx((2 / math.exp(reach), 2 * math.exp(reach)), rel=1e-4)
    # t(.995, 1) = 63.6567
    wide = ratio_interval([3.0, 20.0], [3.0, 5.0], 0.99)
    assert math.log(wide.high / 2) == pytest.approx(63.6567 * math.log(4) / 2, rel=1e-5)


@settings(deadline=None)
@given(PAIRS)
def test_the_ratio_the_other_way_round_is_its_inverse(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    for estimate in (LogRatio.paired, LogRatio.independent):
        mean, low, high = estimate(ours, theirs).interval(0.5)
        turned = estimate(theirs, ours)
        assert turned.interval(0.5) == pytest.approx((1 / mean, 1 / high, 1 / low), rel=1e-9)
        assert turned.p_differs() == pytest.approx(estimate(ours, theirs).p_differs(), abs=1e-9)


@settings(deadline=None)
@given(PAIRS, POSITIVE)
def test_another_unit_changes_no_ratio(pairs: list[tuple[float, float]], unit: float) -> None:
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scaled = [value * unit for value in ours], [value * unit for value in theirs]
    for estimate in (LogRatio.paired, LogRatio.independent):
        assert estimate(*scaled).interval(0.5) == pytest.approx(
            estimate(ours, theirs).interval(0.5), rel=1e-6
        )


def test_what_slows_both_sides_of_a_pair_does_not_widen_the_interval() -> None:
    busy = np.random.default_rng(3).uniform(1, 5, 12)
    assert ratio_interval((2 * busy).tolist(), busy.tolist()) == pytest.approx((2.0, 2.0, 2.0))
    low, high = LogRatio.independent((2 * busy).tolist(), busy.tolist()).interval()[1:]
    assert low < 1.7 < 2.3 < high


def test_a_pair_without_its_partner_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_interval([1.0, 2.0], [1.0])


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_what_has_no_logarithm_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="only finite values above 0"):
        ratio_interval([1.0, value], [1.0, 1.0])


def test_independent_sides_by_the_reference() -> None:
    ours, theirs = [1.0, 1.3, 0.8, 1.1], [2.0, 2.6, 2.9]
    found = LogRatio.independent(ours, theirs)
    reference = stats.ttest_ind(np.log(ours), np.log(theirs), equal_var=False)
    limits = reference.confidence_interval(0.9)
    assert found.p_differs() == pytest.approx(reference.pvalue)
    assert found.freedom == pytest.approx(reference.df)
    assert found.interval(0.9)[1:] == pytest.approx((math.exp(limits.low), math.exp(limits.high)))


def test_pairs_by_the_reference() -> None:
    ours, theirs = [1.0, 1.3, 0.8, 1.1], [1.1, 1.2, 1.0, 1.3]
    logs = np.log(ours) - np.log(theirs)
    found = LogRatio.paired(ours, theirs)
    assert found.p_differs() == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)
    above = stats.ttest_1samp(logs, math.log(0.8), alternative="greater").pvalue
    assert found.p_above(0.8) == pytest.approx(above)
    assert found.p_below(0.8) == pytest.approx(1 - above)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([0.5, 0.9, 0.95, 0.99]), POSITIVE)
def test_a_ratio_outside_of_the_interval_is_significant_at_its_level(
    pairs: list[tuple[float, float]], level: float, ratio: float
) -> None:
    found = LogRatio.paired(*zip(*pairs, strict=True))
    assume(found.error > 1e-6)
    p_value = found.p_differs(ratio)
    assume(abs(p_value - (1 - level)) > 1e-9)
    _mean, low, high = found.interval(level)
    assert (low <= ratio <= high) == (p_value > 1 - level)


def test_one_repetition_is_never_significant() -> None:
    for found in (LogRatio.paired([5.0], [1.0]), LogRatio.independent([5.0], [1.0, 1.1])):
        assert math.isnan(found.p_differs())
        assert math.isnan(found.p_above(1.05))
        assert math.isnan(found.interval().low)
        assert found.interval().mean > 4.5


def test_sides_without_any_spread() -> None:
    for estimate in (LogRatio.paired, LogRatio.independent):
        same, more = estimate([2.0, 2.0], [2.0, 2.0]), estimate([4.0, 4.0], [2.0, 2.0])
        assert (same.p_differs(), same.p_above(1.0), same.p_below(1.0)) == (1.0, 1.0, 1.0)
        assert (more.p_differs(), more.p_above(1.05), more.p_below(1.05)) == (0.0, 0.0, 1.0)
        assert more.interval() == pytest.approx((2.0, 2.0, 2.0))


# Many tests at once


def test_holm_by_hand() -> None:
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1 is .02, .03, .06, .04, never falling: .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested() -> None:
    adjusted = holm([0.02, math.nan, 0.04])
    assert math.isnan(adjusted[1])
    assert [adjusted[0], adjusted[2]] == pytest.approx([0.04, 0.04])


P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(P_VALUES, st.randoms())
def test_holm_lies_between_no_adjustment_and_bonferroni_s(values: list[float], rng) -> None:
    adjusted = holm(values)
    for value, result in zip(values, adjusted, strict=True):
        assert value <= result <= min(1.0, len(values) * value)
    order = list(range(len(values)))
    rng.shuffle(order)
    assert holm([values[n] for n in order]) == [adjusted[n] for n in order]


# The estimator's proof: runs against itself, and changes of a known size
#
# Noise as on a busy machine: what is common to a pair doubles or halves it (and cancels out), and
# each side has 3 % of its own. With n pairs the log ratio's error is .042/sqrt(n).

OWN_NOISE = 0.03


def simulated(slower: float, pairs: int, trials: int) -> list[LogRatio]:
    rng = np.random.default_rng([20130204, pairs, round(1000 * slower)])
    common = rng.normal(0, 0.7, (trials, pairs))
    ours, theirs = common + rng.normal(0, OWN_NOISE, (2, trials, pairs))
    ours += math.log(slower)
    return [
        LogRatio.paired(one, other)
        for one, other in zip(np.exp(ours).tolist(), np.exp(theirs).tolist(), strict=True)
    ]


def share(found: list[LogRatio], significant: Callable[[LogRatio], bool]) -> float:
    return sum(map(significant, found)) / len(found)


@pytest.mark.parametrize("pairs", [3, 5, 8])
def test_of_10_000_runs_against_itself_one_in_twenty_is_significant(pairs: int) -> None:
    # Binomial with p = .05: a standard deviation of sqrt(.05 · .95 / 10,000) = .0022 of the
    # share; 4 to 6 % is 4.6 of them either way. A right test leaves it with a probability of
    # 5e-6, and the seed is fixed. (The normal's quantile gives 19 % at 3 pairs, 9 % at 8.)
    found = simulated(1.0, pairs, 10_000)
    assert 0.04 <= share(found, lambda one: one.p_differs() <= ALPHA) <= 0.06

    def misses(one: LogRatio) -> bool:
        _mean, low, high = one.interval(1 - ALPHA)
        return not low <= 1.0 <= high

    assert 0.04 <= share(found, misses) <= 0.06


def power(slower: float, margin: float, pairs: int) -> float:
    """Return the chance that the one-sided test finds it, by the noncentral t."""
    error = OWN_NOISE * math.sqrt(2 / pairs)
    shift = (math.log(slower) - math.log(1 + margin)) / error
    return float(stats.nct.sf(stats.t.ppf(1 - ALPHA, pairs - 1), pairs - 1, shift))


@pytest.mark.parametrize(
    ("slower", "margin", "pairs"), [(1.10, 0.0, 8), (1.10, 0.05, 8), (1.10, 0.05, 16)]
)
def test_what_is_10_per_cent_slower_is_found_as_often_as_theory_says(
    slower: float, margin: float, pairs: int
) -> None:
    # The share of 2,000 has a standard deviation of at most .0112; .056 is five of them: a right
    # test fails with a probability below 6e-7.
    expected = power(slower, margin, pairs)
    found = simulated(slower, pairs, 2_000)
    assert share(found, lambda one: one.p_above(1 + margin) <= ALPHA) == pytest.approx(
        expected, abs=0.056
    )
    # Against no margin it is as good as always found; against one of 5 % it takes 16 pairs.
    assert expected > {(0.0, 8): 0.99, (0.05, 8): 0.8, (0.05, 16): 0.95}[margin, pairs]


def test_what_is_2_per_cent_slower_is_no_regression_beyond_5() -> None:
    # By theory .03 % of the comparisons claim it: more than 10 of 2,000 with p = 1e-10.
    assert power(1.02, 0.05, 8) < 0.0005
    found = simulated(1.02, 8, 2_000)
    assert share(found, lambda one: one.p_above(1.05) <= ALPHA) <= 0.005
    assert share(found, lambda one: one.p_above(1.0) <= ALPHA) > 0.2, "though it often shows"
