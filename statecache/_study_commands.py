"""The study's commands: ``study list``, ``run``, ``bench`` and ``lab``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from statecache._terminal import UsageError, err, out, study_installed

if TYPE_CHECKING:
    from statecache.study.runner import OnProgress, Outcome

__all__ = ["register"]

INTERRUPTED = 130

#: Of a stream of which more is malformed, the format was probably mistaken.
MOST_MALFORMED = 0.1

#: Orders of rounds and draws of keys; kept, so that two runs do the same.
BENCH_SEED = 20130204


def register(study: typer.Typer) -> None:
    """Add the commands to ``statecache study``."""
    study.command("list")(list_command)
    study.command("run")(run_command)
    study.command("bench")(bench_command)
    study.command("lab", context_settings={"ignore_unknown_options": True})(lab_command)


def list_command() -> None:
    """List the experiments that can be run."""
    with study_installed():
        from statecache.study.checkout import find_root
        from statecache.study.experiments import list_experiments
    experiments = list_experiments(find_root() / "experiments")
    width = max(map(len, experiments), default=0)
    for name, title in experiments.items():
        out.print(f"{name:{width}}  {title}", markup=False)


def run_command(
    name: Annotated[str, typer.Argument(help="An experiment; see `statecache study list`.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", help="name=value, or notebook.name=value; repeatable."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            help="A recorded stream that takes the place of the drawn requests; what needs "
            "--columns is first converted by `statecache trace`.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run.")
    ] = False,
    results: Annotated[
        Path | None, typer.Option(help="Where run folders go; default: results/ of the checkout.")
    ] = None,
) -> None:
    """Run an experiment and write its report."""
    with study_installed():
        from statecache.study.checkout import find_root
        from statecache.study.experiments import parse_override
        from statecache.study.runner import resume_study, run_study
    if resume and (parameter or trace):
        raise UsageError(
            "--resume goes on with the run's own parameters: leave out -p and --trace."
        )
    root = find_root()
    folder = results or root / "results"
    overrides = dict(parse_override(text) for text in parameter or [])
    if trace is not None:
        overrides["trace"] = _checked_trace(trace)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as cleanly as Ctrl-C
    try:
        with _progress() as on_progress:
            if resume:
                outcome = resume_study(name, root, folder, on_progress)
            else:
                outcome = run_study(name, root, folder, overrides, on_progress)
    except KeyboardInterrupt:
        err.print(
            "Interrupted; what was measured is kept. "
            f"Go on with: statecache study run {name} --resume"
        )
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(_print_outcome(outcome))


def _checked_trace(trace: str) -> str:
    """Return where notebooks find the stream; refuse what cannot be meant."""
    from statecache.study.traces import TraceError, read_recording

    try:
        recording = read_recording(trace)
    except TraceError as error:
        raise UsageError(str(error)) from error
    if not len(recording.trace):
        raise UsageError(f"{trace} holds no operation: give a stream that was recorded.")
    if recording.malformed > MOST_MALFORMED * recording.lines:
        raise UsageError(
            f"{recording.malformed} of {recording.lines} lines of {trace} cannot be read as "
            f"{recording.format}: convert it with `statecache trace`, which can be told more."
        )
    return str(Path(trace).resolve()) if Path(trace).exists() else trace


def bench_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="What to measure; default: all.", show_default=False
        ),
    ] = None,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", help="Where the figures go; default: results/bench-<time>.json."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="See that it works; too short to decide anything.")
    ] = False,
) -> None:
    """Measure the managers against what they are to beat."""
    with study_installed("bench"):
        from statecache.study.bench.report import Report
        from statecache.study.bench.run import BENCHES, run_benches
        from statecache.study.checkout import find_root
        from statecache.study.progress import report_progress
        from statecache.study.servers import describe, running_servers
    for name in names or []:
        if name not in BENCHES:
            raise UsageError(f"no benchmark is called {name!r}: take {', '.join(BENCHES)}.")
    chosen = [name for name in BENCHES if not names or name in names]
    root = find_root()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as cleanly as Ctrl-C
    with running_servers() as servers:
        report = Report(quick, BENCH_SEED, describe(servers))
        try:
            with report_progress() as progress:
                run_benches(chosen, servers, report, progress)
        except KeyboardInterrupt:
            err.print("Interrupted; what was measured is kept.")
    report.print(out)
    stamp = report.started.translate({ord("-"): None, ord(":"): None})
    path = json_path or root / "results" / f"bench-{stamp}.json"
    report.write(path, root)
    out.print(f"Figures: {path}", markup=False)
    codes = {"complete": 0, "failed": 1, "interrupted": INTERRUPTED}
    raise typer.Exit(codes[report.status])


def lab_command(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Passed on to JupyterLab.", show_default=False)
    ] = None,
) -> None:
    """Open JupyterLab on the notebooks, with the servers running."""
    with study_installed():
        from statecache.study.checkout import find_root
        from statecache.study.servers import running_servers
    command = [sys.executable, "-m", "jupyterlab", str(find_root() / "notebooks")]
    if os.geteuid() == 0:  # in a container, say; JupyterLab refuses root unless told
        command.append("--allow-root")
    with running_servers() as servers:
        lab = subprocess.Popen(  # noqa: S603
            [*command, *(arguments or [])], env=os.environ | servers.environment()
        )
        # A terminal's Ctrl-C reaches the lab, too, which asks and then ends: wait for it.
        while True:
            try:
                raise typer.Exit(lab.wait())
            except KeyboardInterrupt:
                continue


def _print_outcome(outcome: Outcome) -> int:
    from statecache.study.runner import summary_lines

    for line in summary_lines(outcome.folder):
        out.print(line, markup=False)
    if outcome.failure is not None:
        err.print(f"statecache: {outcome.failure}", markup=False)
    if outcome.advice is not None:
        err.print(outcome.advice, markup=False)
    if outcome.page is not None:
        try:
            page = outcome.page.resolve().relative_to(Path.cwd().resolve())
        except ValueError:
            page = outcome.page
        out.print(f"Report: {page}", markup=False)
    return 0 if outcome.failure is None else 1


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Yield where progress goes: a bar on a terminal, a line a quarter elsewhere."""
    if not err.is_terminal:
        yield _quarters()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=what or "running")


def _quarters() -> OnProgress:
    told = -1

    def on_progress(share: float, what: str) -> None:
        nonlocal told
        if int(share * 4) > told:
            told = int(share * 4)
            err.print(f"{share:4.0%}  {what}".rstrip(), markup=False)

    return on_progress
