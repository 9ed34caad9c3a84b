from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.errors import StudyError
from statecache.study.intervals import Interval
from statecache.study.verdicts import Claim, judge, load_claims, verdict_row

REPOSITORY = Path(__file__).parents[3]
BAND = (0.70, 0.90)
CLAIM = Claim("hits", "Hit rate: 70–90 %", "Targets", "hit rate at 300 s", BAND, "ttl_sweep")
NONE = float("nan")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.75, 0.85, "holds"),
        (0.70, 0.90, "holds"),
        (0.85, 0.95, "holds"),  # more than was promised, too
        (0.95, 0.99, "holds"),
        (0.50, 0.69, "does not hold"),
        (0.50, 0.70, "not decided"),  # the band's limit is in the interval
        (0.69, 0.80, "not decided"),
        (0.60, 0.95, "not decided"),
        (NONE, NONE, "not decided"),
    ],
)
def test_a_verdict_from_interval_and_band(low: float, high: float, verdict: str) -> None:
    assert judge(Interval((low + high) / 2, low, high), BAND) == verdict
    assert judge(Interval((low + high) / 2, low, high), BAND, bound=0.70) == verdict


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.6), (0.6, 0.8), (0.8, 0.9), (NONE, NONE)])
def test_what_the_bound_excludes_cannot_hold_whatever_was_measured(low: float, high: float) -> None:
    assert judge(Interval((low + high) / 2, low, high), BAND, bound=0.699) == "cannot hold"


SHARES = st.floats(0, 1)


@settings(deadline=None)
@given(SHARES, SHARES, st.tuples(SHARES, SHARES).map(sorted), st.one_of(st.none(), SHARES))
def test_a_verdict_never_says_more_than_the_interval(
    one: float, two: float, band: list[float], bound: float | None
) -> None:
    low, high = sorted((one, two))
    promised = band[0]
    verdict = judge(Interval((low + high) / 2, low, high), (band[0], band[1]), bound)
    if verdict == "holds":
        assert low >= promised
    elif verdict == "does not hold":
        assert high < promised
    elif verdict == "cannot hold":
        assert bound is not None
        assert bound < promised
    else:
        assert verdict == "not decided"
        assert low < promised <= high


def test_a_row_shows_shares_in_per_cent_with_everything_a_reader_needs() -> None:
    row = verdict_row(
        CLAIM,
        Interval(0.6543, 0.6, 0.7086),
        bound=0.67,
        bound_text="67.0 % (reads)",
        why="Because.",
        profile="documented",
    )
    assert row["id"] == "hits"
    assert row["claim"] == "Hit rate: 70–90 %"
    assert row["measured"] == "65.4 %"
    assert row["interval"] == "60.0–70.9 %"
    assert row["bound"] == "67.0 % (reads)"
    assert row["profile"] == "documented"
    assert row["verdict"] == "cannot hold"
    assert row["why"].endswith("Because.")
    assert row["notebook"] == "ttl_sweep"


def test_a_row_of_one_pass_has_no_interval_and_says_so() -> None:
    row = verdict_row(CLAIM, Interval(0.8, NONE, NONE), bound=None, bound_text=None, why="x.")
    assert (row["measured"], row["verdict"]) == ("80.0 %", "not decided")
    assert "one pass" in row["interval"]
    assert "nan" not in row["interval"]


def test_a_row_without_a_bound_on_loopback() -> None:
    row = verdict_row(CLAIM, Interval(0.8, 0.75, 0.85), bound=None, bound_text=None, why="x.")
    assert (row["verdict"], row["bound"], row["profile"]) == ("holds", None, "loopback")


# The list of claims


def test_the_repository_s_claims_are_well_formed() -> None:
    claims = load_claims(REPOSITORY)
    assert {"hit_rate", "database_load"} <= set(claims)
    for name, claim in claims.items():
        assert claim.id == name
        low, high = claim.band
        assert low <= high
        assert not math.isnan(low + high)
        assert (REPOSITORY / "notebooks" / f"{claim.notebook}.ipynb").is_file()
        for text in (claim.text, claim.where, claim.statistic):
            assert text.strip()


ENTRY = "{id: a, text: t, where: w, statistic: s, band: [0.7, 0.9], notebook: n}"


def test_claims_are_read_by_id(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    path = tmp_path / "experiments" / "claims.yaml"
    path.write_text(f"claims: [{ENTRY}, {ENTRY.replace('id: a', 'id: b')}]")
    claims = load_claims(tmp_path)
    assert list(claims) == ["a", "b"]
    assert claims["a"] == Claim("a", "t", "w", "s", (0.7, 0.9), "n")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "claims:",
        "claims: 3",
        "claims: [a]",
        "claims: [",
        "claims: [{id: a}]",
        f"claims: [{ENTRY.replace('}', ', extra: 1}')}]",
        f"claims: [{ENTRY.replace('[0.7, 0.9]', '0.7')}]",
    ],
)
def test_a_list_of_another_form_is_refused(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "experiments").mkdir()
    if text is not None:
        (tmp_path / "experiments" / "claims.yaml").write_text(text)
    with pytest.raises(StudyError, match=r"claims\.yaml"):
        load_claims(tmp_path)
