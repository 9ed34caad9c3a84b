from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from statecache.study import display
from statecache.study.pages import badge

HOSTILE = '<script>alert("1")</script>'
ESCAPED = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;"

Shown = list[tuple[dict[str, str], dict[str, Any]]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What a notebook would be given to show."""
    outputs: Shown = []

    def keep(data: dict[str, str], *, metadata: dict[str, Any], raw: bool) -> None:
        assert raw
        outputs.append((data, metadata))

    monkeypatch.setattr(display, "display", keep)
    return outputs


def drawn() -> Figure:
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3], [2, 4, 9], label="a line")
    axes.set_xlabel("TTL (s)")
    axes.legend()
    return figure


class TestShow:
    def test_a_figure_carries_its_description(self, shown: Shown) -> None:
        figure = drawn()
        display.show(figure, alt=HOSTILE, caption="It rises.")
        data, metadata = shown[0]
        assert data["image/svg+xml"].startswith("<svg")
        assert metadata["image/svg+xml"] == {"alt": HOSTILE, "caption": "It rises."}
        assert data["text/plain"] == HOSTILE
        assert not plt.fignum_exists(figure.number)

    def test_the_caption_is_below_and_marked_for_the_page_to_drop(self, shown: Shown) -> None:
        display.show(drawn(), alt="A line rises", caption=HOSTILE)
        data, metadata = shown[1]
        assert ESCAPED in data["text/html"]
        assert metadata["text/html"] == {"role": "caption"}
        assert len(shown) == 2

    def test_the_data_is_folded_below(self, shown: Shown) -> None:
        table = pd.DataFrame({"TTL (s)": [60], HOSTILE: [HOSTILE]})
        display.show(drawn(), alt="A line rises", caption="It rises.", table=table)
        html = shown[2][0]["text/html"]
        assert html.startswith('<details class="data"><summary>The figure’s data</summary>')
        assert html.count(ESCAPED) == 2
        assert "<script" not in html

    @pytest.mark.parametrize("texts", [{"alt": " ", "caption": "a"}, {"alt": "a", "caption": ""}])
    def test_neither_text_may_be_empty(self, shown: Shown, texts: dict[str, str]) -> None:
        figure = drawn()
        with pytest.raises(ValueError, match=r"^A figure needs [^.]*\.$"):
            display.show(figure, **texts)
        plt.close(figure)
        assert not shown


class TestSvg:
    def test_the_same_figure_is_the_same_bytes(self) -> None:
        first, second = drawn(), drawn()
        assert display.figure_svg(first) == display.figure_svg(second)
        plt.close("all")

    def test_it_needs_no_font_and_names_no_address(self) -> None:
        with mpl.rc_context():
            display.apply_style()
            figure = drawn()
            svg = display.figure_svg(figure)
        plt.close(figure)
        assert "<text" not in svg
        assert "font-family" not in svg
        assert "<metadata" not in svg
        assert "<!DOCTYPE" not in svg
        assert "#ffffff" not in svg  # transparent: the page is the background

    def test_the_style_is_the_house_s(self) -> None:
        with mpl.rc_context():
            display.apply_style()
            cycle = list(mpl.rcParams["axes.prop_cycle"])
            assert mpl.rcParams["svg.hashsalt"] == "statecache"
            assert mpl.rcParams["figure.constrained_layout.use"]
        assert len(cycle) == 5
        for part in ("color", "linestyle", "marker"):
            assert len({str(entry[part]) for entry in cycle}) == 5
        assert min(contrast_on_white(entry["color"]) for entry in cycle) >= 3


def contrast_on_white(color: str) -> float:
    channels = np.array(mpl.colors.to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return 1.05 / (float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)


class TestTable:
    def cells(self, shown: Shown, row: int = 0) -> list[str]:
        body = shown[-1][0]["text/html"].split("<tbody>")[1]
        cells = body.split("<tr>")[row + 1].split("</t")[:-2]
        return [cell.rsplit(">", 1)[1] for cell in cells if cell.rsplit(">", 1)[1].strip()]

    def test_numbers_are_to_the_right_and_text_is_escaped(self, shown: Shown) -> None:
        display.show_table(pd.DataFrame({HOSTILE: [HOSTILE], "n": [1]}), caption=HOSTILE)
        html = shown[0][0]["text/html"]
        assert html.count(ESCAPED) == 4  # caption, name of the box, column, cell
        assert '<td class="num">1</td>' in html
        assert 'class="scroll"' in html

    def test_each_kind_of_value(self, shown: Shown) -> None:
        frame = pd.DataFrame({
            "whole": [27004, 12],
            "year": [2013, 2014],
            "share": [0.081234, -12.5],
            "gap": [np.nan, 1.0],
            "yes": [True, False],
            "word": ["-x", None],
            "tiny": [1.5e-9, 2.0],
            "none": [np.nan, np.nan],
        })  # fmt: skip
        display.show_table(frame, caption="Kinds")
        assert self.cells(shown, 0) == [
            "27,004", "2013", "0.081", "–", "yes", "-x", "1.5e-09", "–",
        ]  # fmt: skip
        assert self.cells(shown, 1) == ["12", "2014", "−12.500", "1", "no", "–", "2", "–"]

    def test_formats_of_both_forms(self, shown: Shown) -> None:
        frame = pd.DataFrame({"a": [0.5], "b": [0.5]})
        display.show_table(frame, caption="Formats", formats={"a": ".3f", "b": "{:.0%} (b)"})
        assert self.cells(shown) == ["0.500", "50% (b)"]

    def test_a_meaningful_index_becomes_row_headers(self, shown: Shown) -> None:
        frame = pd.DataFrame(
            {("hit rate", "mean"): [0.5], "n": [3]}, index=pd.Index(["300 s"], name="TTL")
        )
        display.show_table(frame, caption="Index")
        html = shown[0][0]["text/html"]
        assert '<th scope="row">300 s</th>' in html
        assert '<th scope="col">TTL</th>' in html
        assert ">hit rate, mean</th>" in html

    def test_an_empty_table_is_a_table(self, shown: Shown) -> None:
        display.show_table(pd.DataFrame({"a": []}), caption="Nothing")
        assert ">a</th>" in shown[0][0]["text/html"]

    def test_what_is_refused(self, shown: Shown) -> None:
        frame = pd.DataFrame({"a": [1]})
        with pytest.raises(ValueError, match=r"^A table needs a caption: .*\.$"):
            display.show_table(frame, caption=" ")
        with pytest.raises(ValueError, match=r"^The table has no column 'b' to format\.$"):
            display.show_table(frame, caption="a", formats={"b": ".1f"})
        assert not shown


def test_text_is_markdown(shown: Shown) -> None:
    display.show_text("Some *prose*.")
    assert shown == [({"text/markdown": "Some *prose*.", "text/plain": "Some *prose*."}, {})]


def test_verdicts_are_words_with_marks(shown: Shown) -> None:
    display.show_verdicts([
        {"claim": HOSTILE, "verdict": "does not hold", "measured": "8 %", "interval": None},
        {"claim": "Another"},
    ])  # fmt: skip
    data = shown[0][0]
    assert '<span aria-hidden="true">×</span> does not hold</span>' in data["text/html"]
    assert "not decided" in data["text/html"]
    assert ESCAPED in data["text/html"]
    assert "None" not in data["text/html"]
    assert data["text/plain"].startswith("does not hold: <script>")


@pytest.mark.parametrize(
    ("verdict", "tone"),
    [("holds", "good"), ("holds in part", "part"), ("does not hold", "bad"),
     ("cannot hold", "bad"), ("not decided", "open"), ("<odd>", "open")],
)  # fmt: skip
def test_a_badge_always_has_the_word(verdict: str, tone: str) -> None:
    html = badge(verdict)
    assert f'class="badge {tone}"' in html
    assert html.striptags().endswith(verdict)
