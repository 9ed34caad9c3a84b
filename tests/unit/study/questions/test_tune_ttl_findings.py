"""What the tuning says and shows, from made-up cells on a real advice; no server."""

from __future__ import annotations

import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from statecache.study.advisor.advice import advise
from statecache.study.display import Picture, apply_style, show_table
from statecache.study.errors import StudyError
from statecache.study.questions.tune_ttl import figures, sentences, tables
from statecache.study.questions.tune_ttl.findings import assert_agreement
from statecache.study.questions.tune_ttl.measure import Tuning, TuningSettings
from statecache.study.questions.tune_ttl.slices import TTLS, cut
from statecache.study.replay import hit_curve
from statecache.study.traces import READ, Trace

SETTINGS = TuningSettings(
    trace="made up",
    max_db_qps=0.0,
    min_hit_rate="30%",
    max_staleness="20min",
    bypass_share="",
    max_memory="",
    state_bytes=190.0,
    live_s=2.0,
    rate_per_s=300.0,
    timeout_ms=1_000,
)


def stream() -> Trace:
    draw = np.random.default_rng(5)
    return Trace(
        time_s=100 + np.sort(draw.uniform(0, 40_000, 6_000)),
        key=draw.zipf(1.5, 6_000) % 40,
        op=(draw.random(6_000) < 0.2).astype(np.uint8),
    )


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    """A run in which live and replay agree to the operation."""
    trace = stream()
    advice = advise(trace, SETTINGS.limits, SETTINGS.policy)
    part = cut(trace, advice.ttl_s, live_s=SETTINGS.live_s, rate_per_s=SETTINGS.rate_per_s)
    rows = []
    for row in hit_curve(part.trace, advice.around["ttl_s"]).to_dict("records"):
        rate, count = row["hit_rate"], row["db_statements"]
        rows.append(
            {
                "variant": f"ttl_{row['ttl_s']:g}s",
                "ttl_s": row["ttl_s"],
                "live_ttl_ms": float(part.live_ttl_ms(row["ttl_s"])),
                "reads": row["reads"],
                "writes": row["writes"],
                "hits": row["hits"],
                **dict.fromkeys(
                    ("hit_rate", "served_rate", "hit_rate_executed", "hit_rate_planned"), rate
                ),
                **dict.fromkeys(("statements", "statements_executed", "statements_planned"), count),
                "counted_by": "PostgreSQL",
                "coalesced": 0,
                "quiet": True,
                "void": False,
                "attempt": 1,
            }
        )
    return Tuning(SETTINGS, trace, advice, part, pd.DataFrame(rows), pd.DataFrame())


def changed(tuning: Tuning, **columns: object) -> Tuning:
    return replace(tuning, cells=tuning.cells.assign(**columns))


def test_agreement_is_said(tuning: Tuning) -> None:
    assert "0.00 points" in assert_agreement(tuning)
    assert "at every TTL" in assert_agreement(tuning)
    noisy = changed(tuning, quiet=False, hit_rate_planned=0.0)
    assert "too noisy" in assert_agreement(noisy)
    assert any("not quiet" in limit for limit in sentences.limits(noisy))


@pytest.mark.parametrize(
    ("column", "factor", "fails"),
    [
        ("hit_rate_executed", 1.02, True),
        ("hit_rate_planned", 1.05, True),
        ("statements_executed", 1.03, True),
        ("statements_planned", 0.97, True),
        ("statements_executed", 1.01, False),
    ],
)
def test_disagreement_fails(tuning: Tuning, column: str, factor: float, fails: bool) -> None:
    off = changed(tuning, **{column: tuning.cells[column] * factor})
    if fails:
        with pytest.raises(AssertionError, match="are allowed"):
            assert_agreement(off)
    else:
        assert_agreement(off)


def test_what_the_machine_spoilt_is_not_judged(tuning: Tuning) -> None:
    off = tuning.cells["hit_rate"] - [0.0, 0.0, 0.1]
    spoilt = changed(tuning, hit_rate=off, void=[False, False, True], quiet=[True, True, False])
    assert "at the 2 of 3 TTLs" in assert_agreement(spoilt)
    nothing = changed(tuning, hit_rate=0.0, void=True, quiet=False)
    assert "no proof" in assert_agreement(nothing)


def test_of_few_reads_three_may_differ(tuning: Tuning) -> None:
    few = changed(tuning, reads=100, hit_rate=0.529, hit_rate_executed=0.5)
    assert "2.90 points" in assert_agreement(few)
    with pytest.raises(AssertionError, match="are allowed"):
        assert_agreement(changed(few, hit_rate=0.54))


def test_every_sentence_stands_for_itself(tuning: Tuning) -> None:
    said = [*sentences.answer(tuning), *sentences.reasons(tuning), *sentences.limits(tuning)]
    assert said[0].startswith("Run a TTL of")
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in said)


def test_figures_and_tables_are_drawn_without_a_warning(tuning: Tuning) -> None:
    apply_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = [
            figures.curve_picture(tuning),
            figures.halves_picture(tuning),
            figures.groups_picture(tuning),
            figures.proof_picture(tuning),
        ]
        for picture in pictures:
            assert isinstance(picture, Picture)
            assert picture.alt
            assert picture.caption
            picture.figure.canvas.draw()
            plt.close(picture.figure)
        show_table(tables.curve_table(tuning), caption="x", formats=tables.CURVE_FORMATS)
        show_table(tables.proof_table(tuning), caption="x", formats=tables.PROOF_FORMATS)
        show_table(tables.group_table(tuning), caption="x")


def test_an_infeasible_advice_can_be_drawn_and_said(tuning: Tuning) -> None:
    settings = replace(SETTINGS, min_hit_rate="99.9%", max_staleness="1s")
    hopeless = replace(tuning, advice=advise(tuning.trace, settings.limits, settings.policy))
    assert sentences.answer(hopeless)[0].startswith("No TTL meets all limits")
    plt.close(figures.curve_picture(hopeless).figure)


def test_a_slice_lasts_four_ttls_on_as_many_keys_as_fit() -> None:
    trace = stream()
    part = cut(trace, 2_000.0, live_s=10.0, rate_per_s=100.0)
    assert part.trace.time_s[0] == 0
    assert part.trace.duration_s == pytest.approx(TTLS * 2_000, rel=0.05)
    assert part.live_ttl_ms(2_000.0) == pytest.approx(10_000 / TTLS, rel=0.05)
    assert len(part.trace) <= 1_000
    assert 0 < part.key_share < 1
    begin, end = part.begins_s, part.begins_s + part.trace.duration_s
    for key in np.unique(part.trace.key):  # of a key all operations, or none
        own = (trace.key == key) & (trace.time_s >= begin) & (trace.time_s <= end)
        assert (part.trace.key == key).sum() == own.sum()


def test_a_slice_of_a_short_trace_is_all_of_it() -> None:
    trace = stream()
    part = cut(trace, 20_000.0, live_s=100.0, rate_per_s=300.0)
    assert len(part.trace) == len(trace)
    assert part.key_share == 1
    assert part.begins_s == trace.time_s[0]


def test_a_slice_without_reads_is_refused() -> None:
    trace = Trace(
        time_s=np.arange(100.0), key=np.zeros(100, int), op=np.full(100, READ + 1, dtype=np.uint8)
    )
    with pytest.raises(StudyError, match="no reads"):
        cut(trace, 5.0, live_s=1.0, rate_per_s=50.0)
