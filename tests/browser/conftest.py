"""A headless Chromium that the machine already has, and the pages it opens."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib import rc_context
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from statecache.study import display
from statecache.study.report import render_notebook, render_results_index, render_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing but the page itself may be fetched, the browser's own errands included.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _find_chromium() -> str:
    """Return the path of a Chromium, or skip; fail where one is required."""
    wanted = os.environ.get("CHROMIUM")
    found = shutil.which(wanted) if wanted else next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    looked = f"CHROMIUM={wanted} is not a program" if wanted else f"none of {', '.join(NAMES)}"
    sentence = (
        f"The browser tests of the report's pages are left out: no Chromium was found ({looked}); "
        "install the package chromium or set CHROMIUM to the path of one."
    )
    if os.environ.get("STATECACHE_REQUIRE_BROWSER") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


@pytest.fixture(scope="module")
def find_chromium() -> Callable[[], str]:
    return _find_chromium


@pytest.fixture(scope="module")
def browser(find_chromium: Callable[[], str]) -> Iterator[Browser]:
    """Give one browser to a module; closed with it, since playwright keeps an event loop open."""
    path = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """An open page, and all that happened since it was opened."""

    page: Page
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def opened(pages: dict[str, Path], browser: Browser) -> Iterator[dict[str, Visit]]:
    """Open every page once, and lay open everything folded on it."""
    visits = {}
    for kind, file in pages.items():
        visit = visits[kind] = Visit(browser.new_page(), file.as_uri())
        visit.page.on("request", lambda request, seen=visit: seen.requests.append(request.url))
        visit.page.on("console", lambda message, seen=visit: seen.complaints.append(message.text))
        visit.page.on("pageerror", lambda error, seen=visit: seen.complaints.append(str(error)))
        visit.page.goto(visit.address)
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    yield visits
    for visit in visits.values():
        visit.page.close()


@pytest.fixture
def visit(opened: dict[str, Visit]) -> Callable[..., Visit]:
    """Show a page as a telephone or a desktop would, in light or dark, on screen or on paper."""

    def seen(
        kind: str, *, width: int = 1280, scheme: Any = "light", media: Any = "screen"
    ) -> Visit:
        visit = opened[kind]
        visit.page.set_viewport_size({"width": width, "height": 800})
        visit.page.emulate_media(color_scheme=scheme, media=media)
        return visit

    return seen


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write every kind of page, with long code, wide tables, figures and an error in them."""
    results = tmp_path_factory.mktemp("results")
    run = results / "ttl-20261123T160000Z"
    run.mkdir()
    _write_json(run / "run.json", RUN)
    _write_json(run / "verdicts.json", FOUND)
    (run / "sweep.hit_rate.svg").write_text(_sample_svg())
    for name, cells in (("sweep", _good_cells()), ("mixed", _failed_cells())):
        nbformat.write(new_notebook(cells=cells), run / f"{name}.ipynb")
        render_notebook(run / f"{name}.ipynb", run / f"{name}.html", title=name)
    cut_off = results / "mixed-20261122T090000Z"
    cut_off.mkdir()
    _write_json(cut_off / "run.json", {**RUN, "status": "interrupted", "notebooks": []})
    return {
        "notebook": run / "sweep.html",
        "failed notebook": run / "mixed.html",
        "run": render_run(run),
        "interrupted run": render_run(cut_off),
        "results": render_results_index(results),
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps({"format": 1} | value))


def _sample_figure() -> Any:
    figure, axes = plt.subplots()
    ttl = np.geomspace(60, 43_200, 30)
    for scale in (600, 1800, 5400, 16_200):
        axes.plot(ttl, 1 - np.exp(-ttl / scale), label=f"{scale} s between reads")
    axes.set(xscale="log", xlabel="TTL (s)", ylabel="hit rate")
    axes.legend()
    return figure


def _sample_svg() -> str:
    with rc_context():
        display.apply_style()
        figure = _sample_figure()
        svg = display.figure_svg(figure)
    plt.close(figure)
    return svg


def _good_cells() -> list[Any]:
    wide = pd.DataFrame({f"a rather long column, number {n} (ms)": [n * 1.5] for n in range(12)})
    shown: list[Any] = []

    def keep(data: dict[str, str], *, metadata: dict[str, Any], raw: bool) -> None:
        assert raw
        shown.append(new_output("display_data", data=data, metadata=metadata))

    with pytest.MonkeyPatch.context() as patch, rc_context():
        patch.setattr(display, "display", keep)
        display.apply_style()
        display.show(_sample_figure(), alt=ALT, caption="Hit rate against TTL.", table=wide)
        display.show_table(wide, caption="A wide table, profile loopback")
        display.show_verdicts(FOUND["verdicts"])
    return [
        new_markdown_cell(
            "# What hit rate does a TTL buy?\n\nText with `code`, a [link](https://example.org/) "
            f"and {'averylongword' * 12}.\n\n> quoted\n\n|{'| '.join(wide.columns)}|\n"
            f"|{'--:|' * 12}\n|{'1|' * 12}\n"
        ),
        new_code_cell(
            "import this  # a comment\n\ndef f(x: int = 3) -> str:\n"
            f"    return {' + '.join(['x'] * 80)}",
            outputs=[
                *shown,
                new_output("stream", name="stdout", text="a long line " * 30),
                new_output("display_data", {"text/html": wide.to_html(), "text/plain": ""}),
            ],
        ),
    ]


def _failed_cells() -> list[Any]:
    error = new_output(
        "error", ename="KeyError", evalue="'trigger'", traceback=["\x1b[31m" + "deep " * 60]
    )
    noise = new_output("stream", name="stderr", text="a warning " * 30)
    return [new_markdown_cell("# It stops"), new_code_cell("1 / 0", outputs=[noise, error])]


ALT = "Hit rate against TTL for four read rates: each curve rises from 0 to 1."
VERDICTS = ("holds", "holds in part", "does not hold", "cannot hold", "not decided")
RUN: dict[str, Any] = {
    "study": "ttl",
    "title": "Which TTL should I run, and what will I get for it?",
    "status": "complete",
    "started": "2026-11-23T16:00:00Z",
    "finished": "2026-11-23T16:12:41Z",
    "command": "statecache study run ttl --profile loopback --seed 1 --set " + "a=1," * 40,
    "profile": "loopback",
    "seed": 1,
    "git_commit": "4f2a9c1d0b" * 4,
    "parameters": {"sweep": {"ttl_s": list(range(60, 6000, 60)), "gather": False}},
    "notebooks": [
        {"name": "sweep", "title": "The sweep", "summary": "Nine TTLs, eight repetitions."},
        {"name": "mixed", "title": "The mixed load", "summary": "It failed."},
        {"name": "absent", "title": "Not run", "summary": ""},
    ],
    "packages": {f"package-{n}": "8.1.0" for n in range(20)},
    "servers": {
        "embedded": True,
        "postgresql": {"name": "PostgreSQL", "version": "18.6", "fsync": "on"},
        "redis": {"name": "Valkey", "version": "9.1.2", "save": ""},
    },
    "machine": {"cpu": "A processor", "cores": 2, "memory_gib": 23.4, "python": "3.11.7"},
}
FOUND: dict[str, Any] = {
    "answer": ["At 5 minutes 8 % of the reads are hits.", "Run 4 hours."],
    "verdicts": [
        {
            "id": f"claim_{n}",
            "claim": "PostgreSQL load falls by 70–90 % with the default TTL of five minutes",
            "measured": "4.0 %",
            "interval": "3.6–4.5 %",
            "bound": "at most 50 %",
            "profile": "loopback",
            "verdict": verdict,
            "why": "Every write reaches PostgreSQL, and half of the operations are writes.",
            "notebook": "sweep",
        }
        for n, verdict in enumerate(VERDICTS)
    ],
    "limits": ["Measured on loopback."],
    "figures": [{"file": "sweep.hit_rate.svg", "alt": ALT, "caption": "Hit rate against TTL."}],
}
