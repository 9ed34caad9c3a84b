"""Pages people send around: one notebook, one run, all runs; each a single file.

A page needs no script and makes no request; ``check_page`` holds the rules, and nothing that
breaks one of them is written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import ReportError
from .notebook_page import render_notebook
from .pagecheck import check_page
from .pages import instant, lasted, moment, render, status_tone, svg_address, tally, write_page

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_page", "render_again", "render_notebook", "render_results_index", "render_run"]

_FORMAT = 1
_NOTICES = {
    "complete": "",
    "interrupted": "This run was interrupted before its end. What is shown was measured until "
    "then; the rest is missing, and a verdict may rest on fewer repetitions than planned.",
    "running": "This run had not ended when the page was written. Its figures may still change.",
    "failed": "This run failed. What is shown was measured before the failure; "
    "no conclusion should rest on it.",
}
_VERDICT = (
    "id",
    "claim",
    "measured",
    "interval",
    "band",
    "bound",
    "profile",
    "verdict",
    "why",
    "changes_if",
    "command",
    "notebook",
)


def render_run(run_dir: Path) -> Path:
    """Write a run's ``index.html``: the answer first, then what it rests on."""
    run = _read_run(run_dir)
    path = run_dir / "verdicts.json"
    found = _read(path) if path.exists() else {}
    names = {notebook["name"] for notebook in run["notebooks"]}
    rows = [
        {**row, "href": _page_of(run_dir, row["notebook"]) if row["notebook"] in names else ""}
        for row in map(_verdict, _records(found.get("verdicts")))
    ]
    html = render(
        "run.html.j2",
        title=run["title"],
        home="../index.html",
        home_label="All runs",
        run=run,
        took=lasted(run["started"], run["finished"]),
        notice=_NOTICES.get(run["status"], f"The status of this run is “{run['status']}”."),
        answer=_texts(found.get("answer")),
        rows=rows,
        tally=tally(rows),
        figures=[_figure(run_dir, figure) for figure in _records(found.get("figures"))],
        limits=_texts(found.get("limits")),
        limits_by=_limits_by(run, found),
        noise=[_noise(one) for one in _records(found.get("noise"))],
        notebooks=[
            {
                **notebook,
                "page": _page_of(run_dir, notebook["name"]),
                "source": _link(run_dir, f"{notebook['name']}.ipynb"),
            }
            for notebook in run["notebooks"]
        ],
        facts=_facts(run),
        parameters=[
            (notebook, [(name, _text(value)) for name, value in values.items()])
            for notebook, values in run["parameters"].items()
            if isinstance(values, dict) and values
        ],
        files=[
            {"name": file.name, "href": quote(file.name)}
            for pattern in ("*.parquet", "verdicts.json", "run.json")
            for file in sorted(run_dir.glob(pattern))
        ],
    )
    return write_page(run_dir / "index.html", html)


def render_again(run_dir: Path, results_dir: Path) -> Path:
    """Write all pages of a run from what its folder holds, and the index of the runs around it.

    Returns the run's ``index.html``. The index is that of ``results_dir`` if the run lies in it.
    """
    for notebook in _read_run(run_dir)["notebooks"]:
        executed = run_dir / f"{notebook['name']}.ipynb"
        if executed.is_file():
            render_notebook(executed, executed.with_suffix(".html"), title=notebook["title"])
    page = render_run(run_dir)
    inside = results_dir.resolve() in run_dir.resolve().parents
    render_results_index(results_dir if inside else run_dir.parent)
    return page


def render_results_index(results_dir: Path) -> Path:
    """Write ``index.html`` of a results folder: its runs, newest first.

    A folder without a readable ``run.json`` is no run and is left out; runs may lie one folder
    deeper, as in ``results/reference``.
    """
    runs = []
    for pattern in ("*/run.json", "*/*/run.json"):
        for path in results_dir.glob(pattern):
            try:
                run = _read_run(path.parent)
            except ReportError:
                continue
            try:
                found = _read(path.with_name("verdicts.json"))
            except ReportError:
                found = {}
            folder = path.parent.relative_to(results_dir).as_posix()
            runs.append(
                {
                    **run,
                    "page": _link(results_dir, f"{folder}/index.html"),
                    "folder": folder,
                    "tone": status_tone(run["status"]),
                    "tally": tally(_records(found.get("verdicts"))),
                    "answer": next(iter(_texts(found.get("answer"))), ""),
                }
            )
    runs.sort(key=_newest_first)
    html = render("results.html.j2", title="Runs of the study", home=None, runs=runs)
    return write_page(results_dir / "index.html", html)


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run, version 1."""
    where = f"{path.parent.name}/{path.name}"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{where} does not exist, so there is no run to report.") from None
    except OSError as error:
        raise ReportError(f"{where} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{where} is not readable JSON.") from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise ReportError(f"{where} is not of format {_FORMAT}, the only one this version reads.")
    return value


def _read_run(run_dir: Path) -> dict[str, Any]:
    """Read ``run.json`` with every part present, empty where it was left out."""
    run = _read(run_dir / "run.json")
    for name in ("study", "status", "started"):
        if not isinstance(run.get(name), str) or not run[name]:
            raise ReportError(f"{run_dir.name}/run.json does not say its {name}.")
    texts = {
        name: _text(run.get(name))
        for name in ("study", "status", "started", "finished", "command", "profile", "git_commit")
    }
    parts = {
        name: run[name] if isinstance(run.get(name), dict) else {}
        for name in ("parameters", "packages", "servers", "machine")
    }
    notebooks = [
        {
            "name": _text(notebook.get("name")),
            "title": _text(notebook.get("title") or notebook.get("name")),
            "summary": _text(notebook.get("summary")),
        }
        for notebook in _records(run.get("notebooks"))
        if notebook.get("name")
    ]
    title = _text(run.get("title")) or texts["study"]
    return {**texts, **parts, "title": title, "notebooks": notebooks, "seed": run.get("seed")}


def _verdict(row: dict[str, Any]) -> dict[str, str]:
    return {name: _text(row.get(name)) for name in _VERDICT}


def _limits_by(run: dict[str, Any], found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return a notebook's title and its limits, where there are those of several."""
    titles = {notebook["name"]: notebook["title"] for notebook in run["notebooks"]}
    groups = [
        (titles.get(name, name), _texts(one.get("limits")))
        for one in _records(found.get("limits_by_notebook"))
        if (name := _text(one.get("notebook")))
    ]
    return groups if len(groups) > 1 else []


def _noise(one: dict[str, Any]) -> dict[str, str]:
    return {name: _text(one.get(name)) for name in ("notebook", "text")}


def _figure(run_dir: Path, figure: dict[str, Any]) -> dict[str, str]:
    """Return a figure with its SVG as a data address: an image runs and fetches nothing."""
    name = _text(figure.get("file"))
    path = run_dir / name
    if path.suffix != ".svg" or path.resolve().parent != run_dir.resolve():
        raise ReportError(f"The figure “{name}” is not an SVG file in the folder of its run.")
    source = ""
    if path.is_file():
        source = svg_address(path.read_text(encoding="utf-8"))
    return {
        "file": name,
        "source": source,
        "alt": _text(figure.get("alt")),
        "caption": _text(figure.get("caption")),
    }


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the set-up as pairs of a name and a value; what is not known is left out."""
    machine, servers = run["machine"], run["servers"]
    units = {"cores": "{} cores", "memory_gib": "{} GiB", "load_1m": "load {} at the start"}
    shown = [
        units.get(name, "{}").format(_text(value))
        for name, value in machine.items()
        if value is not None and name != "python"
    ]
    running = [_server(name, about) for name, about in servers.items() if name != "embedded"]
    if servers:
        own = servers.get("embedded") is True
        running.append("started by the study" if own else "given by the environment")
    packages = [f"{name} {_text(version)}" for name, version in sorted(run["packages"].items())]
    python = f"Python {_text(machine['python'])}" if machine.get("python") else ""
    facts = {
        "Machine": ", ".join(shown),
        "Servers": "; ".join(running),
        "Deployment profile": run["profile"],
        "Versions": ", ".join(filter(None, [python, *packages])),
        "Seed": _text(run["seed"]),
        "Commit": run["git_commit"],
        "Started": moment(run["started"]),
        "Finished": moment(run["finished"]),
    }
    return [(name, value) for name, value in facts.items() if value]


def _server(key: str, about: Any) -> str:
    """Return a server's name and version, and the settings that are known."""
    if not isinstance(about, dict):
        return f"{key} {_text(about)}"
    settings = ", ".join(
        f"{name} {_text(value)}"
        for name, value in about.items()
        if name not in ("name", "version", "redis_version") and value not in (None, "")
    )
    named = f"{about.get('name', key)} {about.get('version', '')}".strip()
    return f"{named} ({settings})" if settings else named


def _link(folder: Path, name: str) -> str:
    return quote(name) if (folder / name).is_file() else ""


def _page_of(run_dir: Path, notebook: str) -> str:
    return _link(run_dir, f"{notebook}.html")


def _newest_first(run: dict[str, Any]) -> tuple[float, str]:
    started = instant(run["started"])
    return (-started.timestamp() if started else 0.0, run["folder"])


def _text(value: Any) -> str:
    """Return a value as text: a string as it is, None as nothing, the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [text for text in map(_text, items) if text.strip()]


def _records(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]
