from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from statecache.study.checkout import find_root
from statecache.study.claims import Band, Claim, load_claims
from statecache.study.contradictions import contradictions
from statecache.study.errors import StudyError

CLAIMS = load_claims(find_root(Path(__file__).parent))


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("read_gain", ("4–50x", "8–100x")),
        ("event_capacity_gain", ("10x", "7.3x")),
        ("event_capacity_gain", ("1.54–1.82x",)),
        # (5.2 − .8 · 2.5) / .2 = 16 ms, .2 · 16 = 3.2 ms, 5.2 / 3.2 = 1.62
        ("mixed_gain", ("5.21 ms", "writes of 16 ms", "3.21 ms", "1.62x", "6.5x")),
        ("database_queries", ("At 80 % reads", "56 % to 72 %")),
        ("database_queries", ("At 50 % reads", "35 % to 45 %")),
        ("throughput_cached", ("1,400 ops/s", "1,250 ops/s")),
    ],
)
def test_the_documents_contradict_themselves(name: str, figures: tuple[str, ...]) -> None:
    sentences = contradictions(CLAIMS)[name]
    assert any(all(figure in sentence for figure in figures) for sentence in sentences), sentences


def test_every_sentence_is_computed_from_the_figures() -> None:
    slower = replace(CLAIMS["read_cached"], band=Band(200.0, 500.0, "at most"))
    (sentence,) = contradictions(CLAIMS | {"read_cached": slower})["read_gain"]
    assert "is 4–25x" in sentence


def with_rule(name: str, rule: str, *others: str) -> dict[str, Claim]:
    changed = replace(CLAIMS[name], contradicts=({"rule": rule, "with": [*others]},))
    return {one: CLAIMS[one] for one in others} | {name: changed}


def test_figures_that_agree_are_no_contradiction() -> None:
    # 2500 over 150 µs is 16.67: the quoted 16.7x.
    open_ends = {
        "single_read_uncached": Band(2_500.0, 2_500.0, "within"),
        "single_read_cached": Band(150.0, 150.0, "within"),
        "single_read_gain": Band(16.7, 16.7, "within"),
    }
    claims = with_rule("single_read_gain", "quotient", "single_read_uncached", "single_read_cached")
    claims = {name: replace(one, band=open_ends[name]) for name, one in claims.items()}
    for wrong in (claims, with_rule("throughput_uncached", "same quantity", "mixed_uncached")):
        with pytest.raises(StudyError, match="does not contradict"):
            contradictions(wrong)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(StudyError, match="choose from quotient"):
        contradictions(with_rule("read_gain", "quotinet", "read_uncached"))
