"""Commands on runs that exist: ``study compare`` and ``study report``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from statecache._terminal import UsageError, out, study_installed

if TYPE_CHECKING:
    from statecache.study.compare import Comparison, Line

__all__ = ["register"]

_STYLES = {"regression": "bold red", "worse": "yellow", "better": "green", "not decided": "dim"}

_Results = Annotated[
    Path | None, typer.Option(help="Where runs are looked for; default: results/ of the checkout.")
]


def register(study: typer.Typer) -> None:
    """Add the commands to ``statecache study``."""
    study.command("compare")(compare_command)
    study.command("report")(report_command)


def compare_command(
    before: Annotated[str, typer.Argument(metavar="A", help="A run: its folder, or its name.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The run that is compared with it.")],
    *,
    margin: Annotated[
        float, typer.Option(min=0, help="What is tolerated, in per cent for the worse.")
    ] = 5.0,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare runs of different set-ups all the same.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also show metrics without a difference.")
    ] = False,
    results: _Results = None,
) -> None:
    """Compare run B with run A; exit 1 where B is worse by more than the margin."""
    with study_installed():
        from statecache.study.compare import compare_runs
        from statecache.study.errors import StudyError
        from statecache.study.runfolder import find_run
    try:
        folder = _results_folder(results)
        runs = find_run(folder, before), find_run(folder, after)
        comparison = compare_runs(*runs, margin=margin / 100, anyway=anyway)
    except StudyError as error:  # exit code 1 is kept for a regression
        raise UsageError(str(error)) from error
    names = [run.path.name for run in runs]
    title = f"{names[1]} (B) against {names[0]} (A), 95 % intervals, margin {margin:g} %"
    if comparison.despite:
        title += f"; compared anyway, though they differ in {'; '.join(comparison.despite)}"
    shown = comparison.lines if everything else comparison.of("regression", "worse", "better")
    out.print(title, style="bold", markup=False)
    if shown:
        out.print(_table(shown))
    out.print(_summary(comparison, margin), markup=False)
    raise typer.Exit(1 if comparison.of("regression") else 0)


def report_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: its folder, or its name.")],
    results: _Results = None,
) -> None:
    """Render the pages of a run again, and the index of all runs."""
    with study_installed():
        from statecache.study.report import render_again
        from statecache.study.runfolder import NoSuchRun, find_run
    folder = _results_folder(results)
    try:
        found = find_run(folder, run)
    except NoSuchRun as error:
        raise UsageError(str(error)) from error
    with found.locked():
        page = render_again(found.path, folder)
    out.print(f"Report: {page}", markup=False)


def _results_folder(chosen: Path | None) -> Path:
    from statecache.study.checkout import find_root

    return chosen or find_root() / "results"


def _table(lines: list[Line]) -> Table:
    from statecache.study.quantities import show_number

    table = Table(box=None, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for heading in ("A", "B", "B/A", "p (Holm)"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    last = ""
    for line in lines:
        cell = f"{line.notebook}: {line.cell}"
        if cell != last:
            table.add_row(Text(cell, style="bold"))
        last = cell
        value, low, high = map(show_number, line.ratio)
        cells = (
            f"  {line.metric}",
            show_number(line.before),
            show_number(line.after),
            f"{value} ({low}–{high})",
            "–" if math.isnan(line.p_value) else f"{line.p_value:.2g}",
            "" if line.word == "no difference shown" else line.word,
        )
        table.add_row(*map(Text, cells), style=_STYLES.get(line.word, ""))
    return table


def _summary(comparison: Comparison, margin: float) -> str:
    worse, better = comparison.of("worse"), comparison.of("better")
    undecided = comparison.of("not decided")
    said = (
        f"{len(comparison.lines)} metrics compared: {len(comparison.of('regression'))} worse by "
        f"more than {margin:g} %, {len(worse)} worse by less or not shown to be more, "
        f"{len(better)} better"
    )
    return said + (f"; {len(undecided)} have too few repetitions." if undecided else ".")
