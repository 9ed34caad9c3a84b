"""An executed notebook as a page: prose, figures and tables; its code folded away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter
from traitlets.config import Config

from .errors import ReportError
from .pages import TEMPLATES, plain_text, render, svg_address, write_page

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["render_notebook"]

_NOISE_IS_NOT = re.compile(r"Traceback \(most recent call last\)|^(ERROR|CRITICAL|FATAL)\b", re.M)


def render_notebook(
    executed: Path, html: Path, *, title: str, home: str | None = "index.html"
) -> None:
    """Write an executed notebook as a page.

    The notebook's first H1 is the title; ``title`` stands in where it has none. Standard error
    is left out unless its cell failed or it reports an error.
    """
    try:
        notebook = nbformat.read(executed, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat raises a new kind for every way to be broken
        raise ReportError(f"{executed.name} is not a readable notebook.") from error
    errors = _prepare(notebook)
    body, _ = _exporter().from_notebook_node(
        notebook, {"metadata": {"path": str(executed.resolve().parent)}}
    )
    found = re.search(r"<h1\b[^>]*>(.*?)</h1>", body, re.S)
    if found:
        body = body[: found.start()] + body[found.end() :]
    page = render(
        "notebook.html.j2",
        title=plain_text(found[1]) if found else title,
        # The notebook's own HTML: check_page judges it before anything is written.
        heading=Markup(found[0]) if found else Markup("<h1>{}</h1>").format(title),  # noqa: S704
        body=Markup(body),  # noqa: S704
        errors=errors,
        home=home,
        home_label="Overview of this run",
    )
    write_page(html, page)


def _prepare(notebook: nbformat.NotebookNode) -> list[str]:
    """Take out what no reader needs; return a sentence for each cell that failed."""
    errors = []
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        failures = [output for output in outputs if output.output_type == "error"]
        errors += [f"{output.ename}: {output.evalue}" for output in failures]
        if outputs:
            cell.outputs = [output for output in outputs if _is_shown(output, bool(failures))]
    return errors


def _is_shown(output: nbformat.NotebookNode, cell_failed: bool) -> bool:
    if output.output_type == "stream":
        text = output.text
        return output.name == "stdout" or cell_failed or bool(_NOISE_IS_NOT.search(text))
    data = output.get("data", {})
    # The caption is part of its figure here; a live widget (a progress bar) is over.
    is_caption = output.get("metadata", {}).get("text/html", {}).get("role") == "caption"
    return not is_caption and "application/vnd.jupyter.widget-view+json" not in data


def _boxed(html: str) -> str:
    """Let a wide table scroll inside its own box, not the page."""
    if 'class="scroll"' in html:
        return html
    return re.sub(
        r"<table\b.*?</table>",
        lambda table: (
            f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{table[0]}</div>'
        ),
        html,
        flags=re.S,
    )


def _exporter() -> HTMLExporter:
    config = Config()
    config.NbConvertBase.display_data_priority = [
        "image/svg+xml", "image/png", "image/jpeg", "text/html", "text/markdown", "text/plain",
    ]  # fmt: skip
    return HTMLExporter(  # type: ignore[no-untyped-call]
        config=config,
        template_name="notebook",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_anchor_links=True,
        embed_images=True,
        filters={"boxed": _boxed, "svg_address": svg_address},
    )
