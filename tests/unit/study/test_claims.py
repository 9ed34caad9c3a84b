from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from statecache.study.checkout import find_root
from statecache.study.claims import Band, load_claims, load_unjudged
from statecache.study.errors import StudyError

REPOSITORY = find_root(Path(__file__).parent)

ENTRY: dict[str, Any] = {
    "id": "a",
    "text": "Hit rate: 70–90 %",
    "where": "Targets",
    "statistic": "hit rate at 300 s",
    "kind": "share",
    "unit": "share",
    "band": [0.7, 0.9],
    "promise": "at least",
    "notebooks": ["ttl_sweep"],
    "profiles": ["loopback"],
    "changes_if": "Another stream.",
}
ASIDE = {"text": "15 tests", "where": "Tests", "why": "They are not here."}


def write(root: Path, *entries: Any, unjudged: Any = ()) -> Path:
    (root / "experiments").mkdir(exist_ok=True)
    content = {"claims": list(entries), "unjudged": list(unjudged)}
    (root / "experiments" / "claims.yaml").write_text(yaml.safe_dump(content))
    return root


def test_a_claim_is_read_with_all_its_fields(tmp_path: Path) -> None:
    more = {
        "id": "b",
        "band": [None, 5],
        "promise": "at most",
        "profiles": ["loopback", "documented"],
        "fixed_by": ["documented"],
        "bound": "statements saved",
        "contradicts": [{"rule": "saved by hits", "with": ["a"], "read_share": 0.8}],
    }
    claims = load_claims(write(tmp_path, ENTRY, ENTRY | more))
    assert list(claims) == ["a", "b"]
    assert claims["a"].band == Band(0.7, 0.9, "at least")
    assert claims["a"].band_text == "70–90 %"
    assert (claims["a"].fixed_by, claims["a"].bound, claims["a"].contradicts) == ((), None, ())
    b = claims["b"]
    assert b.band == Band(-math.inf, 5.0, "at most")
    assert (b.notebooks, b.fixed_by) == (("ttl_sweep",), ("documented",))
    assert b.contradicts[0]["with"] == ["a"]


def test_figures_that_are_not_judged_are_read_with_the_reason(tmp_path: Path) -> None:
    (only,) = load_unjudged(write(tmp_path, ENTRY, unjudged=[ASIDE]))
    assert (only.text, only.where, only.why) == ("15 tests", "Tests", "They are not here.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extra": 1}, "has an entry 'extra'"),
        ({"changes": "x"}, "did you mean 'changes_if'"),
        ({"text": None}, "text None: give a text"),
        ({"text": " "}, "text ' '"),
        ({"kind": "ration"}, "did you mean 'ratio'"),
        ({"unit": "ms"}, "unit 'ms': choose from share"),
        ({"promise": "atleast"}, "did you mean 'at least'"),
        ({"band": 0.7}, "band 0.7: give"),
        ({"band": [0.7]}, "give .low, high."),
        ({"band": ["a", 1]}, "give .low, high."),
        ({"band": [True, 1]}, "give .low, high."),
        ({"band": [0.9, 0.7]}, "the low end comes first"),
        ({"band": [None, 0.7]}, "needs the end that it promises"),
        ({"band": [0.7, None], "promise": "at most"}, "needs the end that it promises"),
        ({"band": [0.7, None], "promise": "within"}, "needs the end that it promises"),
        ({"bound": "statement saved"}, "did you mean 'statements saved'"),
        ({"notebooks": "ttl_sweep"}, "notebooks 'ttl_sweep': give a list"),
        ({"notebooks": ["ttl_swep"]}, "did you mean 'ttl_sweep'"),
        ({"notebooks": []}, "name where it is judged"),
        ({"profiles": ["loop"]}, "did you mean 'loopback'"),
        ({"fixed_by": ["documented"]}, "choose from loopback"),
        ({"contradicts": ["hit_rate"]}, "give {rule"),
        ({"contradicts": [{"rule": "quotient", "with": ["z"]}]}, "contradicts 'z'"),
        ({"contradicts": [{"rule": "quotient", "with": ["a"], "by": 1}]}, "give {rule"),
    ],
)
def test_a_claim_of_another_form_is_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyError, match=said) as caught:
        load_claims(write(tmp_path, ENTRY | changes))
    assert str(caught.value).startswith("claims.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ENTRY)
def test_nothing_may_be_left_out(tmp_path: Path, missing: str) -> None:
    entry = {name: value for name, value in ENTRY.items() if name != missing}
    with pytest.raises(StudyError, match=missing):
        load_claims(write(tmp_path, entry))


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="two claims 'a'"):
        load_claims(write(tmp_path, ENTRY, ENTRY))


@pytest.mark.parametrize(
    "text", [None, "", "[]", "claims:", "claims: 3", "claims: []", "claims: [", "claims: [a]"]
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "experiments").mkdir()
    if text is not None:
        (tmp_path / "experiments" / "claims.yaml").write_text(text)
    for load in (load_claims, load_unjudged):
        with pytest.raises(StudyError, match=r"claims\.yaml"):
            load(tmp_path)


@pytest.mark.parametrize("entry", ["text", {"text": "t"}, ASIDE | {"how": "x"}, ASIDE | {"why": 1}])
def test_a_reason_of_another_form_is_refused(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(StudyError, match="unjudged figure 1"):
        load_unjudged(write(tmp_path, ENTRY, unjudged=[entry]))


@pytest.mark.parametrize("entry", ["a", 3, None, []])
def test_a_claim_that_is_no_mapping_is_refused(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(StudyError, match="claim number 1"):
        load_claims(write(tmp_path, entry))


# The repository's own


def test_the_repository_s_claims_cover_the_documented_figures() -> None:
    claims = load_claims(REPOSITORY)
    said = " ".join(claim.text for claim in claims.values())
    for figure in (
        *("2–5 ms", "0.1–0.5 ms", "8–100x", "200 ops/s", "1400 ops/s", "7x", "70–90 %", "10–30 %"),
        *("100 events/s", "1000+ events/s", "10x", "2500 µs", "150 µs", "16.7x", "5.2 s", "0.8 s"),
        *("192 ops/s", "1250 ops/s", "550 %", "15.3 s", "65 events/s", "2.1 s", "476 events/s"),
        *("632.3 %", "<1 ms", "1 KB per trigger", "600 s", "even if Redis is down"),
    ):
        assert figure in said, figure
    aside = " ".join(one.text for one in load_unjudged(REPOSITORY))
    for figure in ("~2,550", "15 unit tests", ">80 %", "3–8 s", "~4 hours", "<50 %", "=300"):
        assert figure in aside, figure


def test_nothing_is_judged_where_every_profile_sets_it() -> None:
    for claim in load_claims(REPOSITORY).values():
        assert set(claim.profiles) - set(claim.fixed_by), claim.id
        assert claim.kind != "duration" or claim.bound is None, "latency has no bound"
        assert claim.changes_if.endswith("."), claim.id
