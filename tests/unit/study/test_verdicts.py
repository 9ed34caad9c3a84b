from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.claims import Band, Claim, Promise
from statecache.study.errors import StudyError
from statecache.study.intervals import Interval
from statecache.study.verdicts import Measured, judge, judge_all, over_conditions

NONE = float("nan")
AT_LEAST = Band(0.70, 0.90, "at least")
AT_MOST = Band(0.70, 0.90, "at most")
WITHIN = Band(0.70, 0.90, "within")


def around(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high)


# One word from one interval


@pytest.mark.parametrize(
    ("low", "high", "at_least", "at_most", "within"),
    [
        (0.75, 0.85, "holds", "holds", "holds"),
        (0.70, 0.90, "holds", "holds", "holds"),
        (0.85, 0.95, "holds", "not decided", "not decided"),
        (0.95, 0.99, "holds", "does not hold", "does not hold"),
        (0.50, 0.69, "does not hold", "holds", "does not hold"),
        (0.50, 0.70, "not decided", "holds", "not decided"),
        (0.69, 0.80, "not decided", "holds", "not decided"),
        (0.60, 0.95, "not decided", "not decided", "not decided"),
        (NONE, NONE, "not decided", "not decided", "not decided"),
    ],
)
def test_a_verdict_from_interval_and_band(
    low: float, high: float, at_least: str, at_most: str, within: str
) -> None:
    for band, word in ((AT_LEAST, at_least), (AT_MOST, at_most), (WITHIN, within)):
        assert judge(around(low, high), band) == word, band.promise


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.6), (0.6, 0.699), (0.6, 0.8), (NONE, NONE)])
def test_what_the_bound_excludes_cannot_hold(low: float, high: float) -> None:
    assert judge(around(low, high), AT_LEAST, bound=0.699) == "cannot hold"
    assert judge(around(low, high), WITHIN, bound=0.699) == "cannot hold"
    assert judge(around(low, high), AT_LEAST, bound=0.701) == judge(around(low, high), AT_LEAST)


def test_the_bound_of_what_is_promised_at_most_is_its_smallest_value() -> None:
    assert judge(around(0.92, 0.99), AT_MOST, bound=0.91) == "cannot hold"
    assert judge(around(0.92, 0.99), AT_MOST, bound=0.89) == "does not hold"


@pytest.mark.parametrize("bound", [0.60, 0.75])
def test_a_measurement_beyond_its_own_bound_decides_nothing(bound: float) -> None:
    assert judge(around(0.80, 0.85), AT_LEAST, bound) == "not decided"
    assert judge(around(0.80, 0.85), AT_MOST, 0.86) == "not decided"
    assert judge(around(bound, bound + 0.1), AT_LEAST, bound) != "not decided", "at its bound"


SHARES = st.floats(0, 1)
BANDS = st.builds(
    lambda ends, promise: Band(*ends, promise),
    st.tuples(SHARES, SHARES).map(sorted),
    st.sampled_from(["at least", "at most", "within"]),
)


@settings(deadline=None)
@given(SHARES, SHARES, BANDS, st.one_of(st.none(), SHARES))
def test_a_verdict_never_says_more_than_the_interval(
    one: float, two: float, band: Band, bound: float | None
) -> None:
    low, high = sorted((one, two))
    word = judge(around(low, high), band, bound)
    kept = [band.kept_from <= end <= band.kept_to for end in (low, high)]
    if word == "holds":
        assert all(kept)
    elif word == "does not hold":
        assert not any(kept)
        assert high < band.kept_from or low > band.kept_to
    elif word == "cannot hold":
        assert bound is not None
        assert not all(kept), "what was measured would refute the bound"
    else:
        assert word == "not decided"


@settings(deadline=None)
@given(SHARES, SHARES, BANDS, st.floats(0.01, 100))
def test_another_unit_changes_no_verdict(one: float, two: float, band: Band, factor: float) -> None:
    low, high = sorted((one, two))
    ends = {low * factor, high * factor} & {band.low * factor, band.high * factor}
    if ends:  # at a limit, rounding decides
        return
    scaled = Band(band.low * factor, band.high * factor, band.promise)
    assert judge(around(low * factor, high * factor), scaled) == judge(around(low, high), band)


@settings(deadline=None)
@given(SHARES, SHARES, st.tuples(SHARES, SHARES).map(sorted))
def test_at_most_is_at_least_in_the_mirror(one: float, two: float, ends: list[float]) -> None:
    low, high = sorted((one, two))
    mirrored = Band(-ends[1], -ends[0], "at least")
    assert judge(around(-high, -low), mirrored) == judge(around(low, high), Band(*ends, "at most"))


# One word from several conditions


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "does not hold"], "holds in part"),
        (["cannot hold", "holds", "not decided"], "holds in part"),
        (["holds", "not decided"], "not decided"),  # it may hold everywhere, or in part
        (["does not hold", "not decided"], "not decided"),
        (["does not hold", "cannot hold"], "does not hold"),
        (["cannot hold", "cannot hold"], "cannot hold"),
        (["assumed", "assumed"], "assumed"),
    ],
)
def test_several_conditions_make_one_word(words: Any, word: str) -> None:
    assert over_conditions(words) == word
    assert over_conditions(words[::-1]) == word


WORDS = st.sampled_from(["holds", "does not hold", "cannot hold", "not decided"])


@given(st.lists(WORDS, min_size=1, max_size=5), st.data())
def test_an_undecided_condition_changes_no_decided_word(words: Any, data: Any) -> None:
    word = over_conditions(words)
    if word == "not decided":
        return
    decided = [
        data.draw(st.sampled_from(["holds", "does not hold"])) if one == "not decided" else one
        for one in words
    ]
    assert over_conditions(decided) == word


# Rows


def claim(promise: Promise = "at least", **changes: Any) -> Claim:
    about = {
        "id": "gain",
        "text": "Reads: 8–100x faster",
        "where": "Targets",
        "statistic": "median ratio",
        "kind": "ratio",
        "unit": "x",
        "band": Band(8.0, 100.0, promise),
        "notebooks": ("latency",),
        "profiles": ("loopback", "documented"),
        "fixed_by": ("documented",),
        "bound": "capacity",
        "changes_if": "A distant database.",
    }
    return Claim(**about | changes)


def measured(low: float, high: float, **changes: Any) -> Measured:
    about = {
        "claim": "gain",
        "interval": around(low, high),
        "pairs": 8,
        "profile": "loopback",
        "conditions": "one caller",
        "notebook": "latency",
        "command": "statecache study run standard",
    }
    return Measured(**about | changes)


def row(*found: Measured, of: Claim | None = None) -> dict[str, Any]:
    (only,) = judge_all({"gain": of or claim()}, found)
    return only


def test_a_row_has_everything_a_reader_needs() -> None:
    assert row(measured(2.0, 3.0, bound=5.0, why="Because.")) == {
        "id": "gain",
        "claim": "Reads: 8–100x faster",
        "statistic": "median ratio",
        "kind": "ratio",
        "unit": "x",
        "band": "8–100x",
        "band_low": 8.0,
        "band_high": 100.0,
        "promise": "at least",
        "measured": "2.5x",
        "interval": "2–3x",
        "bound": "5x: 1/(1 − φ·h), the database's cost that is left; without gathering",
        "profile": "loopback",
        "verdict": "cannot hold",
        "why": "Median ratio (one caller). Because.",
        "changes_if": "A distant database.",
        "command": "statecache study run standard",
        "notebook": "latency",
        "numbers": {"value": 2.5, "low": 2.0, "high": 3.0, "bound": 5.0},
    }


def test_every_claim_has_a_row_and_one_for_each_profile_it_was_measured_in() -> None:
    claims = {"gain": claim(), "other": claim(id="other"), "third": claim(id="third")}
    found = [
        measured(9, 10, claim="third", profile="documented"),
        measured(9, 10, profile="documented"),
        measured(2, 3),
    ]
    rows = judge_all(claims, found)
    assert [(one["id"], one["profile"], one["verdict"]) for one in rows] == [
        ("gain", "loopback", "does not hold"),
        ("gain", "documented", "assumed"),
        ("other", "loopback, documented", "not decided"),
        ("third", "documented", "assumed"),
    ]
    assert "Not measured in this run" in rows[2]["why"]
    assert "sets this figure itself" in rows[1]["why"]


def test_what_a_profile_fixes_is_assumed_whatever_was_measured() -> None:
    for low, high in ((1.0, 2.0), (10.0, 20.0), (NONE, NONE)):
        assert row(measured(low, high, profile="documented"))["verdict"] == "assumed"


def test_a_claim_that_holds_under_some_conditions_holds_in_part_and_says_where() -> None:
    found = row(measured(9, 12), measured(2, 3, conditions="100 callers"))
    assert found["verdict"] == "holds in part"
    assert found["measured"] == "10.5x"
    assert "Holds at 10.5x (one caller); does not hold at 2.5x (100 callers)." in found["why"]


def test_few_pairs_decide_nothing_unless_counted_or_excluded_by_the_bound() -> None:
    few = row(measured(9, 10, pairs=7))
    assert few["verdict"] == "not decided"
    assert "rests on 7 pairs; 8 are needed" in few["why"]
    assert row(measured(9, 10, pairs=3, counted=True))["verdict"] == "holds"
    assert row(measured(2, 3, pairs=3, bound=5.0))["verdict"] == "cannot hold"


def test_a_row_beyond_its_bound_says_so() -> None:
    found = row(measured(9, 10, bound=5.0))
    assert found["verdict"] == "not decided"
    assert "beyond its own bound" in found["why"]


def test_a_single_repetition_has_no_interval_and_says_so() -> None:
    found = row(measured(NONE, NONE, interval=Interval(10.0, NONE, NONE), pairs=1))
    assert (found["verdict"], found["measured"]) == ("not decided", "10x")
    assert found["interval"] == "limits unknown"
    assert found["numbers"] == {"value": 10.0, "low": None, "high": None, "bound": None}
    assert "1 pair;" in found["why"]
    json.dumps(found, allow_nan=False)


def test_what_never_failed_is_a_yes_and_what_failed_once_is_not() -> None:
    never = claim(kind="yes-no", unit="share", band=Band(1.0, 1.0, "at least"), bound=None)
    found = row(measured(1.0, 1.0, pairs=1, counted=True), of=never)
    assert (found["verdict"], found["measured"], found["band"]) == ("holds", "yes", "yes")
    assert found["interval"] == "none, counted"
    once = row(measured(0.999, 0.999, pairs=1, counted=True), of=never)
    assert (once["verdict"], once["measured"]) == ("does not hold", "99.9 %")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"claim": "gian"}, "no claim is called 'gian'"),
        ({"profile": "same-zone"}, "not judged in the profile 'same-zone'"),
        ({"notebook": "ttl_sweep"}, "not judged by the notebook 'ttl_sweep'"),
    ],
)
def test_a_measurement_that_no_claim_asks_for_is_refused(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyError, match=said):
        row(replace(measured(9, 10), **changes))


def test_a_bound_that_no_claim_names_is_refused() -> None:
    with pytest.raises(StudyError, match="has no bound"):
        row(measured(9, 10, bound=12.0), of=claim(bound=None))


def test_conditions_are_always_said() -> None:
    with pytest.raises(ValueError, match="conditions in words"):
        measured(9, 10, conditions=" ")


def test_an_open_band_is_null_in_the_row() -> None:
    found = row(measured(9, 10), of=claim(band=Band(7.0, math.inf, "at least")))
    assert (found["band"], found["band_low"], found["band_high"]) == ("≥ 7x", 7.0, None)
