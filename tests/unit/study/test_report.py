from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from statecache.study.errors import ReportError, StudyError
from statecache.study.pages import lasted, moment, tally
from statecache.study.report import (
    check_page,
    render_notebook,
    render_results_index,
    render_run,
)

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script>\"' onload=x {{ 7*7 }} javascript:alert(1) \ud800"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    '<path d="M0 0h9" fill="url(#a)"/></svg>'
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
GOOD = f"""<!doctype html><html lang="en"><head>
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>A page</title>
<style>p {{ background: url(data:,) }} a {{ clip-path: url(#a) }}</style></head><body>
<p>It costs $5 and $6; <a href="https://example.org/">a guide</a>,
<a href="a.html#b">a page</a>.</p>
<pre>echo $HOME$PATH \\frac</pre><p><code>postgresql://user:***@host/db</code></p>
<img src="data:image/svg+xml;base64,{base64.b64encode(SVG.encode()).decode()}" alt="A line">
<svg role="img" aria-label="A dot"><circle r="1"/></svg>
<svg aria-hidden="true"></svg>
</body></html>"""


def data_svg(body: str) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def make_run(folder: Path, verdicts: dict[str, Any] | None = None, **run: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    required = {
        "format": 1,
        "study": "ttl",
        "status": "complete",
        "started": "2026-11-23T16:00:00Z",
    }
    (folder / "run.json").write_text(json.dumps(required | run))
    if verdicts is not None:
        (folder / "verdicts.json").write_text(json.dumps({"format": 1} | verdicts))
    return folder


def write_notebook(path: Path, *cells: Any) -> Path:
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


class TestCheckPage:
    def test_a_good_page_has_nothing_wrong(self) -> None:
        assert check_page(GOOD) == []

    @pytest.mark.parametrize(
        ("old", "new", "sentence"),
        [
            ("</body>", "<script>1</script></body>", "<script> element"),
            ("</body>", "<ScRiPt src=x></ScRiPt></body>", "<script> element"),
            ("</body>", "<iframe src='data:,'></iframe></body>", "<iframe> element"),
            ("</body>", "<object data='data:,'></object></body>", "<object> element"),
            ("<title>", "<base href='https://x.org/'><title>", "<base> element"),
            ("<body>", "<body onload='x()'>", "event handler (onload)"),
            ("<body>", "<body><img src='//x.org/a.png' alt='a'>", "fetches //x.org/a.png"),
            ("<body>", "<body><img src='a.png' alt='a'>", "fetches a.png"),
            ("<body>", "<body><img src='https://a:hunter2@x.org/' alt='a'>", "https://…@x.org/"),
            ("<body>", "<body><img srcset='https://x.org/a.png' alt='a'>", "(srcset)"),
            (
                "<title>",
                "<link rel='stylesheet' href='https://x.org/a.css'><title>",
                "a.css (href)",
            ),
            ("<body>", "<body><form action='https://x.org/'></form>", "(action)"),
            ("<body>", "<body><a href='#' ping='https://x.org/'>x</a>", "(ping)"),
            ("<body>", "<body><a href='java&#9;script:alert(1)'>x</a>", "not a web address"),
            ("<body>", "<body><a href='file:///etc/passwd'>x</a>", "not a web address"),
            ("<body>", "<body><a href='//x.org'>x</a>", "out of the results folder"),
            (
                "<body>",
                "<body><p style='background: URL( \"https://x.org/a\")'>",
                "A style fetches",
            ),
            ("url(data:,)", "url(https://x.org/a)", "A style fetches https://x.org/a"),
            ("url(data:,)", "image-set('https://x.org/a' 1x)", "A style fetches https://x.org/a"),
            ("<style>", "<style>@import 'https://x.org/a.css';", "A style fetches"),
            ("<circle", "<image href='https://x.org/a'/><circle", "<image> element fetches"),
            ("<circle", "<rect fill='url(https://x.org/a)'/><circle", "A style fetches"),
            ("<title>", "<meta http-equiv='refresh' content='0; url=/'><title>", "elsewhere"),
            ("Content-Security-Policy", "x-nothing", "no content security policy"),
            ("default-src 'none'; ", "", "default-src 'none'"),
            ("default-src 'none'", "default-src 'self'", "default-src 'none'"),
            ("img-src data:", "img-src data: https:", "allows https: in img-src"),
            ("img-src data:", "img-src data:; script-src 'unsafe-inline'", "in script-src"),
            ("<head>", "<head><style></style>", "comes after"),
            (' alt="A line"', "", "no description"),
            ('alt="A line"', 'alt=" "', "no description"),
            ("A line", "No description has been provided for this image", "no description"),
            (' role="img"', "", 'role="img"'),
            (' aria-label="A dot"', "", 'role="img"'),
            (' lang="en"', "", "language"),
            ("A page</title>", "</title>", "no title"),
            ("width=device-width", "width=1000", "viewport"),
            ("<body>", "<body><p>so that $h = 1 - e^{-x}$ holds</p>", "raw TeX"),
            ("<body>", "<body><p>$\\lambda$</p>", "raw TeX"),
            ("<body>", "<body><p>\\frac{1}{2}</p>", "raw TeX"),
            ("<body>", "<body><p>$$x$$</p>", "raw TeX"),
            ("user:***@", "user:hunter2@", "password"),
            ("<body>", "<body><pre>redis://:hunter2@localhost</pre>", "password"),
            ("<body>", "<body><pre>redis://:<b>hunter2</b>@localhost</pre>", "password"),
            ("<body>", "<body><pre>x?sslmode=a&amp;password=hunter2</pre>", "password"),
        ],
    )
    def test_each_rule_is_seen_broken(self, old: str, new: str, sentence: str) -> None:
        assert old in GOOD
        problems = check_page(GOOD.replace(old, new, 1))
        assert any(sentence in problem for problem in problems), problems
        assert "hunter2" not in "".join(problems)

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ("<script>1</script>", "Inside an image: The page holds a <script>"),
            ("<path onclick='x'/>", "Inside an image: The <path> element has an event handler"),
            ("<image href='https://x.org/a.png'/>", "Inside an image: The <image> element fetches"),
            ("<text>redis://:hunter2@h</text>", "password"),
        ],
    )
    def test_images_are_looked_into(self, body: str, sentence: str) -> None:
        page = GOOD.replace("<body>", f"<body><img alt='a' src='{data_svg(body)}'>")
        assert any(sentence in problem for problem in check_page(page))


class TestRun:
    def test_the_least_run_has_a_page(self, tmp_path: Path) -> None:
        page = render_run(make_run(tmp_path / "ttl-1")).read_text()
        assert "<h1>ttl</h1>" in page
        assert "recorded no verdicts" in page
        assert "2026-11-23 16:00 UTC" in page
        for absent in (
            "Key figures",
            "Where it does not hold",
            "Notebooks",
            "Run it again",
            "None",
        ):
            assert absent not in page

    def test_the_answer_comes_first_and_all_parts_are_there(self, tmp_path: Path) -> None:
        run = make_run(
            tmp_path / "ttl-1",
            verdicts={
                "answer": ["Run four hours.", "It saves 38 %."],
                "verdicts": [
                    {"claim": "A hit rate of 70 %", "verdict": "does not hold", "measured": "8.1 %",
                     "interval": "7.2–9.0 %", "bound": None, "profile": "loopback",
                     "why": "Entries expire first.", "notebook": "sweep"},
                    {"claim": "A hit takes 0.1 ms", "verdict": "holds"},
                    {"claim": "Another", "verdict": "holds"},
                ],
                "limits": ["Loopback only."],
                "figures": [{"file": "a.svg", "alt": "A line rises", "caption": "It rises."}],
            },
            title="Which TTL?",
            finished="2026-11-23T16:12:41Z",
            command="statecache study run ttl",
            profile="loopback",
            seed=0,
            parameters={"sweep": {"ttl_s": [60, 300], "gather": False}},
            notebooks=[{"name": "sweep", "title": "The sweep", "summary": "Nine TTLs."}],
            packages={"redis": "8.1.0"},
            servers={
                "embedded": True,
                "postgresql": {"name": "PostgreSQL", "version": "18.6", "fsync": "on", "jit": None},
                "redis": {"name": "Valkey", "version": "9.1.2", "redis_version": "7.2.4"},
            },
            machine={"cpu": "EPYC", "cores": 2, "memory_gib": 23.4, "load_1m": None},
        )  # fmt: skip
        (run / "a.svg").write_text(SVG)
        (run / "sweep.html").touch()
        (run / "sweep.measurements.parquet").touch()
        page = render_run(run).read_text()
        places = [
            page.index(text)
            for text in ("Which TTL?</h1>", "Run four hours.", "A hit rate of 70 %", "A line rises",
                         "Loopback only.", "The sweep", "EPYC, 2 cores, 23.4 GiB", "[60, 300]",
                         "statecache study run ttl</pre>", "sweep.measurements.parquet")
        ]  # fmt: skip
        assert places == sorted(places)
        assert "in which it was measured: 2 hold, 1 does not hold." in page
        assert 'href="sweep.html"' in page
        assert "took 12 min 41 s" in page
        assert "PostgreSQL 18.6 (fsync on); Valkey 9.1.2; started by the study" in page
        assert "<dt>Seed</dt><dd>0</dd>" in page

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ("interrupted", "This run was interrupted"),
            ("running", "had not ended"),
            ("failed", "This run failed"),
            ("odd", "“odd”"),
        ],
    )
    def test_a_run_that_is_not_complete_says_so(
        self, tmp_path: Path, status: str, words: str
    ) -> None:
        assert words in render_run(make_run(tmp_path / "ttl-1", status=status)).read_text()

    def test_hostile_strings_stay_text(self, tmp_path: Path) -> None:
        run = make_run(
            tmp_path / "ttl-1",
            verdicts={
                "answer": [HOSTILE],
                "limits": HOSTILE,
                "figures": [{"file": "a.svg", "alt": HOSTILE, "caption": HOSTILE}],
                "verdicts": [
                    dict.fromkeys(("id", "claim", "measured", "interval", "bound", "profile",
                                   "verdict", "why", "notebook"), HOSTILE)
                ],
            },
            study=HOSTILE,
            status=HOSTILE,
            started=HOSTILE,
            command=HOSTILE,
            parameters={HOSTILE: {HOSTILE: HOSTILE}},
            notebooks=[dict.fromkeys(("name", "title", "summary"), HOSTILE),
                       {"name": "javascript:alert(1)//"}],
            packages={HOSTILE: HOSTILE},
            servers={HOSTILE: HOSTILE},
            machine={HOSTILE: HOSTILE, "python": HOSTILE},
        )  # fmt: skip
        (run / "a.svg").write_text(SVG)
        for page in (render_run(run), render_results_index(tmp_path)):
            html = page.read_text()
            assert check_page(html) == []
            assert "<script" not in html
            assert "{{ 7*7 }}" in html
            assert "&lt;script&gt;" in html

    def test_parts_of_the_wrong_kind_are_left_out(self, tmp_path: Path) -> None:
        run = make_run(
            tmp_path / "ttl-1",
            verdicts={"verdicts": {"a": 1}, "figures": "x", "limits": [None, " "], "answer": 3},
            parameters=[1],
            notebooks=[{"title": "nameless"}, "x"],
            machine="x",
        )
        page = render_run(run).read_text()
        assert "nameless" not in page
        assert "<p>3</p>" in page

    def test_a_figure_that_is_missing_is_named(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "ttl-1", verdicts={"figures": [{"file": "a.svg", "alt": "a"}]})
        assert "The figure a.svg is not in the run’s folder." in render_run(run).read_text()

    @pytest.mark.parametrize(
        ("files", "sentence"),
        [
            ({"run.json": None}, "ttl-1/run.json does not exist, so there is no run to report."),
            ({"run.json": "{"}, "ttl-1/run.json is not readable JSON."),
            ({"run.json": b"\xff"}, "ttl-1/run.json is not readable JSON."),
            ({"run.json": "[]"}, "ttl-1/run.json is not of format 1"),
            ({"run.json": '{"format": 2}'}, "ttl-1/run.json is not of format 1"),
            ({"run.json": '{"format": 1, "study": "a", "status": 3}'}, "does not say its status."),
            ({"verdicts.json": "nonsense"}, "ttl-1/verdicts.json is not readable JSON."),
            ({"verdicts.json": '{"format": 1, "figures": [{"file": "../x.svg"}]}'}, "“../x.svg”"),
            ({"verdicts.json": '{"format": 1, "figures": [{"file": "a.svg"}]}'}, "no description"),
            ({"verdicts.json": '{"format": 1, "answer": ["a://b:secret@c"]}'}, "a password"),
        ],
    )
    def test_a_broken_folder_is_one_sentence(
        self, tmp_path: Path, files: dict[str, str | bytes | None], sentence: str
    ) -> None:
        run = make_run(tmp_path / "ttl-1")
        (run / "a.svg").write_text(SVG)
        (tmp_path / "x.svg").write_text(SVG)
        for name, content in files.items():
            if content is None:
                (run / name).unlink()
            else:
                (run / name).write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(ReportError) as caught:
            render_run(run)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value, StudyError)
        assert not (run / "index.html").exists()

    def test_a_page_that_cannot_be_written_is_one_sentence(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "ttl-1")
        (run / "index.html").mkdir()
        with pytest.raises(ReportError, match=r"^index\.html cannot be written: .*\.$"):
            render_run(run)
        assert not list(run.glob(".*"))


class TestResultsIndex:
    def test_runs_are_listed_newest_first_and_other_folders_ignored(self, tmp_path: Path) -> None:
        old = make_run(tmp_path / "reference" / "old", title="The old", started="2026-01-01T00:00Z")
        make_run(tmp_path / "new", {"answer": ["Four hours.", "More."]}, title="The new")
        make_run(tmp_path / "odd", title="The odd", started="yesterday", status="interrupted")
        (make_run(tmp_path / "bad") / "run.json").write_text("{")
        (tmp_path / "notes").mkdir()
        (tmp_path / "README.md").touch()
        render_run(old)
        page = render_results_index(tmp_path).read_text()
        places = [page.index(text) for text in ("The new", "Four hours.", "The old", "The odd")]
        assert places == sorted(places)
        assert "3 runs, newest first" in page
        assert "More." not in page
        assert 'href="reference/old/index.html"' in page
        assert 'href="new/index.html"' not in page  # no page was written there
        assert "interrupted" in page

    def test_no_run_yet(self, tmp_path: Path) -> None:
        assert "There is no run here yet" in render_results_index(tmp_path).read_text()


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook that ran in a real kernel and failed in its last cell but one."""
    path = tmp_path_factory.mktemp("run") / "sweep.ipynb"
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# What does a *TTL* buy? <3\n\n| a | b |\n|---|--:|\n| 1 | 2 |"),
            new_code_cell(
                "import sys\n"
                "import pandas as pd\n"
                "from matplotlib import pyplot as plt\n"
                "from statecache.study.display import *\n"
                "apply_style()\n"
                "print('noise', file=sys.stderr)\n"
                "frame = pd.DataFrame({'TTL (s)': [60, 300], 'hit rate (%)': [2.1, 7.7]})\n"
                "fig, ax = plt.subplots()\n"
                "ax.plot(frame['TTL (s)'], frame['hit rate (%)'])\n"
                "show(fig, alt='It rises & <rises>', caption='Rising <fast>', table=frame)\n"
                "show_table(frame, caption='Hit rate by TTL')\n"
                "show_text('Some *prose*.')\n"
                "print('<b>out</b>')\n"
                "frame"
            ),
            new_code_cell("print('last words', file=sys.stderr)\n{}['<trigger>']"),
            new_code_cell("print('ERROR disk full', file=sys.stderr)"),
        ]
    )
    NotebookClient(notebook, kernel_name="python3", timeout=60, allow_errors=True).execute()
    nbformat.write(notebook, path)
    render_notebook(path, path.with_suffix(".html"), title="not used")
    return path.with_suffix(".html")


class TestNotebook:
    def test_the_first_heading_is_the_title(self, executed: Path) -> None:
        page = executed.read_text()
        assert "<title>What does a TTL buy? &lt;3</title>" in page
        assert page.count("<h1") == 1
        assert "not used" not in page
        assert '<a href="index.html">' in page

    def test_figures_have_descriptions_captions_and_data(self, executed: Path) -> None:
        page = executed.read_text()
        assert 'alt="It rises &amp; &lt;rises&gt;"' in page
        assert "<figcaption>Rising &lt;fast&gt;</figcaption>" in page
        assert page.count("Rising &lt;fast&gt;</") == 1  # not the editors' copy as well
        assert "The figure’s data" in page
        assert "<figcaption>Hit rate by TTL</figcaption>" in page

    def test_tables_scroll_in_a_box_of_their_own(self, executed: Path) -> None:
        page = executed.read_text()
        assert page.count("<table") == page.count('class="scroll"') == 4

    def test_code_is_folded_and_output_is_text(self, executed: Path) -> None:
        page = executed.read_text()
        assert "<summary>Code, 14 lines</summary>" in page
        assert "&lt;b&gt;out&lt;/b&gt;" in page
        assert "<em>prose</em>" in page

    def test_errors_are_plain_to_see_and_noise_is_hidden(self, executed: Path) -> None:
        page = executed.read_text()
        assert '<a href="#error-1">KeyError: &#39;&lt;trigger&gt;&#39;</a>' in page
        assert 'class="errorbox" id="error-1"' in page
        assert "noise\n</pre>" not in page
        assert "last words\n</pre>" in page
        assert "ERROR disk full\n</pre>" in page
        assert "\x1b" not in page

    def test_what_papermill_adds_and_live_widgets_are_left_out(self, tmp_path: Path) -> None:
        bar = new_output(
            "display_data",
            data={
                "application/vnd.jupyter.widget-view+json": {"model_id": "a"},
                "text/plain": "0%|",
            },
        )
        cell = new_code_cell("run()", outputs=[bar, new_output("stream", name="stdout", text="ok")])
        note = new_markdown_cell("An Exception", metadata={"tags": ["papermill-error-cell-tag"]})
        raw = write_notebook(tmp_path / "a.ipynb", note, cell)
        render_notebook(raw, tmp_path / "a.html", title="A <title>", home=None)
        page = (tmp_path / "a.html").read_text()
        assert "<h1>A &lt;title&gt;</h1>" in page
        assert "An Exception" not in page
        assert "0%|" not in page
        assert "<nav" not in page

    @pytest.mark.parametrize(
        ("cell", "sentence"),
        [
            (new_markdown_cell("# A\n\n$h = 1$"), "raw TeX"),
            (new_markdown_cell("# A\n\n<script>1</script>"), "<script> element"),
            (new_markdown_cell("# A\n\n![a](https://x.org/a.png)"), "fetches https://x.org/a.png"),
            (new_code_cell("1", outputs=[new_output("display_data", {"image/png": "aaaa"})]),
             "no description"),
            (new_code_cell("'redis://:hunter2@host'"), "a password"),
        ],
    )  # fmt: skip
    def test_a_page_that_breaks_a_rule_is_not_written(
        self, tmp_path: Path, cell: Any, sentence: str
    ) -> None:
        path = write_notebook(tmp_path / "a.ipynb", cell)
        with pytest.raises(ReportError, match=r"^a\.html breaks ") as caught:
            render_notebook(path, tmp_path / "a.html", title="A")
        assert sentence in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert not (tmp_path / "a.html").exists()

    @pytest.mark.parametrize("content", [None, "", "{", '{"cells": 3}'])
    def test_a_broken_notebook_is_one_sentence(self, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "a.ipynb"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ReportError, match=r"^a\.ipynb is not a readable notebook\.$"):
            render_notebook(path, tmp_path / "a.html", title="A")


def test_times_are_written_for_people() -> None:
    assert moment("2026-11-23T17:00:00+01:00") == "2026-11-23 16:00 UTC"
    assert moment("2026-11-23T16:00:00") == "2026-11-23 16:00 UTC"
    assert moment("soon") == "soon"
    assert lasted("2026-11-23T16:00:00Z", "2026-11-23T16:00:41Z") == "41 s"
    assert lasted("2026-11-23T16:00:00Z", "2026-11-23T18:03:41Z") == "2 h 3 min"
    assert lasted("2026-11-23T16:00:00Z", "") == ""
    assert lasted("2026-11-23T16:00:00Z", "2026-11-23T15:00:00Z") == ""


def test_verdicts_are_counted_in_words() -> None:
    rows = [{"verdict": "holds"}, {"verdict": "holds"}, {"verdict": None}, {"verdict": "odd"}]
    assert tally(rows) == "2 hold, 1 not decided, 1 odd"
    assert tally([]) == ""
