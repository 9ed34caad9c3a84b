from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.study.checkout import find_root
from statecache.study.claims import Claim, load_claims
from statecache.study.display import figure_svg
from statecache.study.intervals import Interval
from statecache.study.verdict_figures import kept, verdicts_picture
from statecache.study.verdicts import Measured, judge_all

CLAIMS = load_claims(find_root(Path(__file__).parent))


def rows(**values: Any) -> list[dict[str, Any]]:
    """Return the rows of these claims, each from a value or from (value, low, high)."""
    return judge_all(
        {name: CLAIMS[name] for name in values},
        [
            Measured(
                claim=name,
                interval=Interval(*value) if isinstance(value, tuple) else Interval(*[value] * 3),
                pairs=8,
                profile="loopback",
                conditions="one caller",
                notebook=CLAIMS[name].notebooks[0],
            )
            for name, value in values.items()
            if value is not None
        ],
    )


def only(**values: Any) -> dict[str, Any]:
    (row,) = rows(**values)
    return row


def test_a_gain_is_shown_over_what_was_promised() -> None:
    assert kept(only(read_gain=(4.0, 2.0, 6.0))) == (0.5, 0.25, 0.75, 12.5)
    assert kept(only(throughput_gain=(14.0, 7.0, 21.0))) == (2.0, 1.0, 3.0, math.inf)


def test_of_a_time_the_promise_is_shown_over_it() -> None:
    # At most 500 µs, documented from 100.
    assert kept(only(read_cached=(250.0, 200.0, 1_000.0))) == (2.0, 0.5, 2.5, 5.0)
    assert kept(only(single_read_cached=(300.0, 150.0, 600.0)))[:3] == (0.5, 0.25, 1.0)


def test_what_was_not_measured_is_no_number() -> None:
    assert all(map(math.isnan, kept(only(read_gain=None))[:3]))
    one_repetition = kept(only(read_gain=(16.0, math.nan, math.nan)))
    assert one_repetition.value == 2.0
    assert math.isnan(one_repetition.low)


def test_an_interval_that_is_open_at_an_end_reaches_to_the_edge() -> None:
    assert kept(only(throughput_gain=(14.0, 7.0, math.inf))) == (2.0, 1.0, math.inf, math.inf)
    assert kept(only(throughput_gain=(14.0, 0.0, 21.0))) == (2.0, 0.0, 3.0, math.inf)
    assert kept(only(read_cached=(250.0, 200.0, math.inf))) == (2.0, 0.0, 2.5, 5.0)
    plt.close(verdicts_picture(rows(throughput_gain=(14.0, 7.0, math.inf))).figure)


def test_a_yes_lies_on_the_line() -> None:
    assert kept(only(survives_redis=1.0)) == (1.0, 1.0, 1.0, math.inf)
    assert kept(only(survives_redis=0.99)).value == 0.99


@settings(deadline=None)
@given(
    st.sampled_from([one for one in CLAIMS.values() if one.kind != "yes-no"]),
    st.lists(st.floats(1e-3, 1e7), min_size=3, max_size=3).map(sorted),
)
def test_right_of_1_is_where_the_promise_is_kept(claim: Claim, ends: list[float]) -> None:
    low, value, high = ends
    row = only(**{claim.id: (value, low, high)})
    promise = kept(row)
    assert promise.low <= promise.value <= promise.high
    if row["verdict"] == "holds":
        assert promise.low >= 1 - 1e-9
    if row["verdict"] == "does not hold" and claim.band.promise != "within":
        assert promise.high < 1


def test_the_picture_shows_every_row_with_its_word() -> None:
    found = rows(read_gain=(4.0, 2.0, 6.0), read_cached=150.0, rollback=None, hit_rate=0.7)
    picture = verdicts_picture(found)
    (axes,) = picture.figure.axes
    written = [text.get_text() for text in axes.texts]
    for row in found:
        assert any(text.startswith(row["claim"][:40]) for text in written)
        assert row["verdict"] in written
        assert (row["measured"] or "not measured") in written
    assert axes.get_xscale() == "log"
    assert picture.table["verdict"].tolist() == [row["verdict"] for row in found]
    assert picture.table["documented"].tolist() == [row["band"] for row in found]
    plt.close(picture.figure)


def test_alt_text_and_caption_are_computed_from_the_rows() -> None:
    picture = verdicts_picture(rows(read_gain=(4.0, 2.0, 6.0), read_cached=150.0, rollback=None))
    counted = "1 holds, 1 does not hold, 1 not decided"
    assert counted in picture.caption
    assert "profile loopback" in picture.caption
    assert counted in picture.alt
    assert "does not hold: Read latency: 8–100x faster (4x)" in picture.alt
    plt.close(picture.figure)


@pytest.mark.parametrize("value", [1e-9, 1e9, 8.0])
def test_what_lies_beyond_the_axis_stays_on_it(value: float) -> None:
    picture = verdicts_picture(rows(read_gain=(value, value / 2, value * 2), hit_rate=0.8))
    (axes,) = picture.figure.axes
    left, right = axes.get_xlim()
    assert left > 0
    assert right / left < 1e6
    for line in axes.lines:
        assert all(left <= x <= right for x in line.get_xdata())
    assert "nan" not in figure_svg(picture.figure)
    plt.close(picture.figure)


def test_rows_read_from_a_file_give_the_same_picture() -> None:
    found = rows(read_gain=(4.0, 2.0, 6.0), read_cached=150.0, rollback=None)
    again = json.loads(json.dumps(found))
    pictures = [verdicts_picture(one) for one in (found, again)]
    first, second = (figure_svg(picture.figure) for picture in pictures)
    assert first == second
    for picture in pictures:
        plt.close(picture.figure)


def test_all_claims_are_legible_on_a_telephone() -> None:
    picture = verdicts_picture(judge_all(CLAIMS, []))
    width = picture.figure.get_size_inches()[0]
    picture.figure.set_dpi(390 / width)
    picture.figure.canvas.draw()
    (axes,) = picture.figure.axes
    for text in axes.texts:
        assert text.get_fontsize() * 390 / width / 72 >= 8, "at least 8 pixels"
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= 390 + 1, text.get_text()
    plt.close(picture.figure)


def test_nothing_is_no_picture() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        verdicts_picture([])
