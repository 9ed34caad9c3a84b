"""The report's pages in a real browser: alone, whole, legible, on a telephone and a desktop."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = ("notebook", "failed notebook", "run", "interrupted run", "results")

# Every element that has text of its own: its contrast with what lies behind it.
CONTRASTS = """() => {
  const parse = text => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return {rgb: [r, g, b], a};
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const over = (top, below) => top.rgb.map((c, i) => c * top.a + below[i] * (1 - top.a));
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      layers.push(parse(getComputedStyle(e).backgroundColor));
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const ground = behind(element);
    const ink = over(parse(getComputedStyle(element).color), ground);
    const [high, low] = [luminance(ink), luminance(ground)].sort((a, b) => b - a);
    found.push({
      what: `${element.tagName.toLowerCase()}.${element.className}`,
      text: element.textContent.trim().slice(0, 30),
      contrast: (high + .05) / (low + .05),
    });
  }
  return found;
}"""


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_fetched_and_nothing_complains(visit: Callable[..., Any], kind: str) -> None:
    seen = visit(kind)
    assert [url for url in seen.requests if not url.startswith("data:")] == [seen.address]
    assert seen.complaints == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_never_scrolls_sideways(visit: Callable[..., Any], kind: str, width: int) -> None:
    page = visit(kind, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nothing sticks out of the page either, except inside a box that scrolls.
    assert (
        page.evaluate(
            """() => [...document.body.querySelectorAll('*')]
              .filter(e => !e.closest('.scroll, pre, .highlight, thead'))
              .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
              .map(e => e.outerHTML.slice(0, 80))"""
        )
        == []
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_a_wide_table_scrolls_in_its_box(visit: Callable[..., Any], width: int) -> None:
    boxes = visit("notebook", width=width).page.locator(".scroll")
    sizes = boxes.evaluate_all("all => all.map(e => [e.scrollWidth, e.clientWidth])")
    assert len(sizes) == 5
    assert sum(inner > outer for inner, outer in sizes) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_text_has_contrast(visit: Callable[..., Any], kind: str, scheme: str) -> None:
    found = visit(kind, scheme=scheme).page.evaluate(CONTRASTS)
    assert len(found) > 5
    assert [text for text in found if text["contrast"] < 4.5] == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["notebook", "run"])
def test_every_figure_is_there_to_see(visit: Callable[..., Any], kind: str, width: int) -> None:
    images = visit(kind, width=width).page.locator("img")
    assert images.count() == 1
    for image in images.all():
        assert image.is_visible()
        box = image.bounding_box()
        assert box["width"] > 0.85 * min(width, 600)
        assert box["height"] > 150
        assert image.evaluate("e => e.complete && e.naturalWidth > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_figure_s_ink_stands_out(visit: Callable[..., Any], scheme: str) -> None:
    picture = visit("run", scheme=scheme).page.locator("img").screenshot()
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L")) / 255
    ground, ink = np.median(grey), np.quantile(grey, 0.002 if scheme == "light" else 0.998)
    if scheme == "light":
        assert ground > 0.9
        assert ink < 0.3
    else:
        assert ground < 0.15
        assert ink > 0.7


@pytest.mark.parametrize("kind", ["notebook", "run"])
def test_descriptions_reach_who_cannot_see(visit: Callable[..., Any], kind: str) -> None:
    page = visit(kind, width=390).page
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    names: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            name = node.get("name", {}).get("value", "")
            names.setdefault(node["role"]["value"], []).append(name)
    assert names["image"] == [
        "Hit rate against TTL for four read rates: each curve rises from 0 to 1."
    ]
    # Stacked for a telephone, the verdicts are a table all the same.
    assert "Verdicts" in names["table"]
    assert "Claim, as documented" in names["columnheader"]
    assert len(names["main"]) == 1
    assert len(names["navigation"]) == 1


def test_paper_is_light_and_whole(visit: Callable[..., Any]) -> None:
    page = visit("run", width=680, scheme="dark", media="print").page
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('img')).filter") == "none"
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
    assert page.pdf(format="A4").startswith(b"%PDF")


class TestWithoutBrowser:
    """What is said on a machine that has no Chromium."""

    @pytest.fixture(autouse=True)
    def no_chromium(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CHROMIUM", raising=False)
        monkeypatch.delenv("STATECACHE_REQUIRE_BROWSER", raising=False)

    def test_a_sentence_says_what_is_left_out(self, find_chromium: Callable[[], str]) -> None:
        with pytest.raises(pytest.skip.Exception, match=r"left out: no Chromium .* install the"):
            find_chromium()

    def test_a_wrong_path_is_named(
        self, find_chromium: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHROMIUM", "no-such-browser")
        with pytest.raises(pytest.skip.Exception, match="CHROMIUM=no-such-browser"):
            find_chromium()

    def test_it_fails_where_a_browser_is_required(
        self, find_chromium: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STATECACHE_REQUIRE_BROWSER", "1")
        with pytest.raises(pytest.fail.Exception, match="install the package chromium"):
            find_chromium()

    def test_the_first_one_on_the_path_is_taken(
        self, find_chromium: Callable[[], str], tmp_path: Path
    ) -> None:
        program = tmp_path / "google-chrome"
        program.touch(mode=0o755)
        assert find_chromium() == str(program)
